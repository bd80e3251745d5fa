"""Stand-in for HubSpot's date-versioned REST API: contacts, calls, associations, properties (reference/apis.md §1).

One portal per token. `python -m infra.local.standins.hubspot --port N` runs it; besides the admin interface of
`faults.py` it takes `POST /_standin/contacts` (a human types in a contact), `POST /_standin/lag` (search index) and
`POST /_standin/tokens` (which tokens are accepted, and for which portal). With `--state FILE` it outlives a restart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Flask

from infra.local.standins.faults import FaultPlan, admin_blueprint
from infra.local.standins.hubspot_hub import HubSpot, portal_name
from infra.local.standins.hubspot_protocol import json_document, properties_of, refusal
from infra.local.standins.hubspot_routes import add_associations, add_batches, add_objects, add_properties
from infra.local.standins.hubspot_schema import Refused
from infra.local.standins.hubspot_store import IndexLag
from infra.local.standins.keeping import keep
from infra.local.standins.serving import ConnectionDropped, http_arguments, make_http_server


def create_app(
    *, tokens: Mapping[str, str] | None = None, plan: FaultPlan | None = None, lag: IndexLag | None = None
) -> Flask:
    """The stand-in. `tokens` maps an accepted token to its portal's name; None takes any starting with `pat-`."""
    return app_of(HubSpot(tokens=tokens, plan=plan or FaultPlan(), lag=lag or IndexLag()))


def app_of(hub: HubSpot) -> Flask:
    """The stand-in in front of a hub that may hold something already."""
    app = Flask(__name__)
    app.register_blueprint(admin_blueprint(hub.plan, state=hub.state, reset=hub.reset))
    app.register_error_handler(Refused, refusal)
    app.register_error_handler(ConnectionDropped, lambda _: ("", 500))
    app.register_error_handler(404, lambda _: refusal(Refused(404, "OBJECT_NOT_FOUND", "No such path.")))
    _add_admin(app, hub)
    add_objects(app, hub)
    add_batches(app, hub)
    add_associations(app, hub)
    add_properties(app, hub)
    return app


def _add_admin(app: Flask, hub: HubSpot) -> None:
    @app.post("/_standin/contacts")
    def seed_contact() -> Any:
        """`{"portal" or "token", "properties"}`: a contact typed in by a human, in the index at once."""
        document = json_document()
        portal = hub.portal(document.get("portal") or portal_name(document["token"]))
        record = portal.create("contacts", properties_of(document), lag=IndexLag())
        return {"id": record.record_id}, 201

    @app.post("/_standin/lag")
    def set_lag() -> Any:
        """`{"searches": n, "seconds": s}`: how far behind the search index is for what is written from now on."""
        hub.set_lag(IndexLag(**json_document()))
        return "", 204

    @app.post("/_standin/tokens")
    def set_tokens() -> Any:
        """`{"tokens": {token: portal} or null, "lacks": {token: [scopes]}}`."""
        document = json_document()
        hub.accept_tokens(document["tokens"], document.get("lacks"))
        return "", 204


def main() -> None:
    options = http_arguments("hubspot")
    hub = HubSpot(tokens=None, plan=FaultPlan(), lag=IndexLag())
    keep(options.state, {"hubspot": hub})
    make_http_server(app_of(hub), options.port).serve_forever()


if __name__ == "__main__":
    main()
