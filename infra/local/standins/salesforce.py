"""A stand-in for Salesforce over HTTP: stateful, one org per consumer key, able to misbehave (`faults.py`).

Run it with `python -m infra.local.standins.salesforce --port N`. Besides the common admin interface it has
`POST /_standin/orgs` (an org's rules), `POST /_standin/persons` (people typed in by humans),
`DELETE /_standin/persons` (deleted by humans), `POST /_standin/conversions` (Leads made Contacts by humans) and
`POST /_standin/sessions/expire`. With `--state FILE` it outlives a restart, sessions included.
"""

from __future__ import annotations

from typing import Any, Literal

from flask import Flask, Response, jsonify, make_response, request
from pydantic import BaseModel, ConfigDict

from infra.local.standins.faults import FaultPlan, admin_blueprint
from infra.local.standins.keeping import keep
from infra.local.standins.salesforce_api import Api, Call, DropNow
from infra.local.standins.salesforce_checks import ApiError
from infra.local.standins.salesforce_composite import Answer
from infra.local.standins.salesforce_oauth import LoginRefused, Orgs
from infra.local.standins.salesforce_store import Org, OrgSettings
from infra.local.standins.serving import ConnectionDropped, drop_connection, http_arguments, make_http_server

_PLURAL = {"Lead": "leads", "Contact": "contacts", "Task": "tasks"}


class Person(BaseModel):
    """A record made by a human: stored as given, no checks, no API request counted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    consumer_key: str
    object: Literal["Lead", "Contact", "Task"] = "Lead"
    fields: dict[str, Any]


class PersonRef(BaseModel):
    """Which record a human deletes; a person's tasks go with it, as in Salesforce."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    consumer_key: str
    object: Literal["Lead", "Contact", "Task"] = "Lead"
    id: str


def create_app(*, orgs: Orgs | None = None, plan: FaultPlan | None = None) -> Flask:
    """The stand-in with no orgs and no faults unless they are given."""
    app = Flask(__name__)
    app.url_map.merge_slashes = False  # an encoded slash in an external id must not become a redirect
    orgs, plan = orgs or Orgs(), plan or FaultPlan()
    app.register_blueprint(admin_blueprint(plan, state=lambda: _state(orgs), reset=orgs.clear))
    app.register_error_handler(ConnectionDropped, lambda _: ("", 500))
    app.before_request(_read_body)
    _add_login(app, orgs, plan)
    _add_rest(app, orgs, plan)
    _add_admin(app, orgs)
    return app


def _read_body() -> None:
    """Read it before any refusal: an unread body would be taken for the next request of the connection."""
    request.get_data(parse_form_data=True)


def _add_login(app: Flask, orgs: Orgs, plan: FaultPlan) -> None:
    @app.post("/services/oauth2/token")
    def token() -> Response:
        rule = plan.take("oauth.token")
        if rule is not None and rule.kind == "drop":
            drop_connection()
        if rule is not None and rule.kind != "drop_after":
            return _respond(Answer(200 if rule.kind == "rubbish" else rule.status, rule.body), rule.headers)
        try:
            access_token, org = orgs.login(request.form)
        except LoginRefused as refusal:
            return _respond(Answer(400, refusal.body))
        with org.lock:
            org.requests["oauth.token"] += 1
        if rule is not None:
            drop_connection()
        instance = request.host_url.rstrip("/")
        identity = f"https://login.salesforce.com/id/00D5g0000000001AAA/{org.user_id}"
        body = {
            **{"access_token": access_token, "instance_url": instance, "token_type": "Bearer", "scope": "api"},
            "id": identity,
        }
        return _respond(Answer(200, body))


def _add_rest(app: Flask, orgs: Orgs, plan: FaultPlan) -> None:
    @app.route("/services/data/<path:_rest>", methods=["GET", "POST", "PATCH", "DELETE"])
    def rest(_rest: str) -> Response:
        scheme, _, access_token = request.headers.get("Authorization", "").partition(" ")
        org = orgs.by_token(access_token) if scheme == "Bearer" else None
        if org is None:
            expired = ApiError("INVALID_SESSION_ID", "Session expired or invalid", status=401)
            return _respond(Answer(401, expired.body))
        # The decoded path cannot tell `%2F` from `/`; the raw one can.
        call = Call(
            method=request.method,
            url=request.environ["RAW_URI"],
            body=request.get_json(silent=True),
            headers=dict(request.headers),
        )
        try:
            answer = Api(org, plan).answer(call)
        except DropNow:
            drop_connection()
            raise
        usage = f"api-usage={org.api_calls}/{org.settings.daily_limit}"
        return _respond(answer, {"Sforce-Limit-Info": usage, **answer.headers})


def _add_admin(app: Flask, orgs: Orgs) -> None:
    @app.post("/_standin/orgs")
    def configure() -> tuple[str, int]:
        document = dict(request.get_json())
        org = orgs.org(str(document.pop("consumer_key")))
        with org.lock:
            org.configure(OrgSettings.model_validate(document))
        return "", 204

    @app.post("/_standin/persons")
    def seed() -> Response:
        person = Person.model_validate(request.get_json())
        org = orgs.org(person.consumer_key)
        with org.lock:
            return jsonify({"id": org.plant(person.object, person.fields)})

    @app.delete("/_standin/persons")
    def remove() -> tuple[str, int]:
        ref = PersonRef.model_validate(request.get_json())
        org = orgs.org(ref.consumer_key)
        with org.lock:
            org.delete(ref.object, ref.id)
        return "", 204

    @app.post("/_standin/conversions")
    def convert() -> Response:
        ref = PersonRef.model_validate(request.get_json())
        org = orgs.org(ref.consumer_key)
        with org.lock:
            return jsonify({"id": org.convert(ref.id)})

    @app.post("/_standin/sessions/expire")
    def expire() -> tuple[str, int]:
        orgs.expire_sessions(str((request.get_json(silent=True) or {}).get("consumer_key", "")))
        return "", 204


def _state(orgs: Orgs) -> dict[str, Any]:
    """Per org, by consumer key: records and counters, never secrets or tokens."""
    return {"orgs": {key: _org_state(org) for key, org in orgs.items()}}


def _org_state(org: Org) -> dict[str, Any]:
    with org.lock:
        records = {plural: [dict(record) for record in org.all(name)] for name, plural in _PLURAL.items()}
        return {**records, "requests": dict(org.requests), "api_calls": org.api_calls}


def _respond(answer: Answer, headers: dict[str, str] | None = None) -> Response:
    response = make_response("") if answer.body is None else _with_body(answer.body)
    response.status_code = answer.status
    response.headers.update(headers or {})
    return response


def _with_body(body: Any) -> Response:
    """JSON, except a plain text, which stands for a proxy's error page."""
    return Response(body, mimetype="text/html") if isinstance(body, str) else jsonify(body)


def main() -> None:
    """Serve on 127.0.0.1 until stopped."""
    options, orgs = http_arguments("salesforce"), Orgs()
    keep(options.state, {"orgs": orgs})
    make_http_server(create_app(orgs=orgs), options.port).serve_forever()


if __name__ == "__main__":
    main()
