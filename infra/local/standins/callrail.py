"""CallRail's API v3 and recording hosts for the laptop: `python -m infra.local.standins.callrail --port N`.

One server plays api.callrail.com, app.callrail.com and the storage host (under `/s3/`). Besides the shared admin
interface: `POST /_standin/recordings`, `POST /_standin/calls` and `DELETE /_standin/calls/<id>` (a call marked as spam
disappears), `PUT /_standin/api_keys`, `PUT /_standin/budget`, `PUT /_standin/companies` (callrail_companies.py), and
`PUT /_standin/webhooks` (`url`, `key`): from then on a call that is put with its `webhook` is announced there, signed;
`{}` ends it. With `--state FILE` it outlives a restart.

Operations for faults: `webhook` (`drop` loses one for ever), `accounts.list`, `companies.get`, `integrations.list`,
`integrations.get`, `calls.list`, `calls.get`, `recording.json`, `recording.redirect`, `recording.file`. On the last,
`drop_after` closes the connection in the middle of the audio.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Any

from flask import Flask, Response, abort, jsonify, request

from infra.local.standins.callrail_calls import api_call, with_recording
from infra.local.standins.callrail_companies import add_companies, add_companies_admin
from infra.local.standins.callrail_listing import ListingError, chosen_fields, list_calls, shown
from infra.local.standins.callrail_store import CallRailStore, Recording, WebhookTarget
from infra.local.standins.callrail_webhooks import announce
from infra.local.standins.faults import FaultPlan, FaultRule, admin_blueprint
from infra.local.standins.keeping import keep
from infra.local.standins.serving import drop_connection, http_arguments, make_http_server

View = Callable[..., Any]
_MAX_FORM_BYTES = 600_000_000


def create_app(store: CallRailStore | None = None, *, plan: FaultPlan | None = None) -> Flask:
    """The stand-in with its own, empty store and plan unless they are given."""
    store = store or CallRailStore()
    plan = plan or FaultPlan()
    app = Flask("callrail-standin")
    app.json.sort_keys = False  # type: ignore[attr-defined] # the default provider has it; its base class does not
    app.config["MAX_CONTENT_LENGTH"] = _MAX_FORM_BYTES
    app.register_blueprint(admin_blueprint(plan, state=store.state, reset=store.reset))
    _add_admin(app, store, plan)
    add_companies_admin(app, store)
    _add_api(app, store, plan)
    _add_recording_hosts(app, store, plan)
    return app


def _add_admin(app: Flask, store: CallRailStore, plan: FaultPlan) -> None:
    @app.post("/_standin/recordings")
    def put_recording() -> tuple[Response, int]:
        recording = _recording_from_request()
        store.put_recording(recording)
        return jsonify(call_id=recording.call_id, recording=_webhook_link(recording)), 201

    @app.post("/_standin/calls")
    def put_calls() -> tuple[str, int]:
        body = request.get_json()
        _put_calls(store, body)
        if store.target is not None and "webhook" in body:
            announce(store.target, body["webhook"], store=store, plan=plan)
        return "", 204

    @app.put("/_standin/webhooks")
    def put_webhooks() -> tuple[str, int]:
        body = request.get_json()
        store.send_webhooks_to(WebhookTarget(**body) if body else None)
        return "", 204

    @app.delete("/_standin/calls/<call_id>")
    def remove_call(call_id: str) -> tuple[str, int]:
        store.remove_call(call_id)
        return "", 204

    @app.put("/_standin/api_keys")
    def put_api_keys() -> tuple[str, int]:
        store.accept_keys({str(key) for key in request.get_json()})
        return "", 204

    @app.put("/_standin/budget")
    def put_budget() -> tuple[str, int]:
        store.set_budget(request.get_json()["requests"])
        return "", 204


def _put_calls(store: CallRailStore, body: dict[str, Any]) -> None:
    """`account_id` with `call` (the API's object), `calls` (several) or `webhook` (a post-call body to make it of).

    `recording` (options of `POST /_standin/recordings` but `call_id`) registers the audio of `call` or `webhook` too.
    """
    account_id = str(body["account_id"])
    for call in body.get("calls", []):
        store.put_call(account_id, call)
    call = api_call(body["webhook"], account_id=account_id) if "webhook" in body else body.get("call")
    if call is None:
        return
    if "recording" in body:
        store.put_recording(_recording({**body["recording"], "call_id": str(call["id"])}))
        call = with_recording(call, account_id=account_id)
    store.put_call(account_id, call)


def _recording_from_request() -> Recording:
    """JSON (`call_id` and `path` or `synthetic_bytes`), multipart (`file`), or the raw body with `?call_id=`."""
    options: dict[str, Any] = dict(request.args)
    data = b""
    if request.is_json:
        options |= request.get_json()
    elif "file" in request.files:
        options |= request.form.to_dict()
        data = request.files["file"].read()
    else:
        data = request.get_data()
    return _recording(options, data)


def _recording(options: dict[str, Any], data: bytes = b"") -> Recording:
    return Recording(
        call_id=str(options["call_id"]),
        data=data,
        path=Path(options["path"]) if options.get("path") else None,
        synthetic_bytes=int(options.get("synthetic_bytes", 0)),
        content_type=str(options.get("content_type", "audio/mpeg")),
        access_key=str(options.get("access_key", "")),
        not_ready_for=int(options.get("ready_after", 0)),
    )


def _webhook_link(recording: Recording) -> str:
    """The link as a webhook carries it: on CallRail's own host."""
    key = recording.access_key or "0000000000000000aaaa"
    return f"https://app.callrail.com/calls/{recording.call_id}/recording/redirect?access_key={key}"


def _add_api(app: Flask, store: CallRailStore, plan: FaultPlan) -> None:
    def api(operation: str) -> Callable[[View], View]:
        return _operation(store, plan, operation, before=lambda: _refusal(store))

    add_companies(app, store, api, key_of_request=_key_of_request)

    @app.get("/v3/a.json")
    @api("accounts.list")
    def list_accounts() -> Response:
        accounts = [{"id": account, "name": f"Account {account}"} for account in store.account_ids()]
        return jsonify(page=1, per_page=100, total_pages=1, total_records=len(accounts), accounts=accounts)

    @app.get("/v3/a/<account_id>/calls.json")
    @api("calls.list")
    def list_account_calls(account_id: str) -> Response:
        base_url = f"https://api.callrail.com/v3/a/{account_id}/calls.json"
        answer = list_calls(store.calls_of(account_id), request.args, base_url=base_url, now=datetime.now(UTC))
        return jsonify(answer)

    @app.get("/v3/a/<account_id>/calls/<call_id>.json")
    @api("calls.get")
    def get_call(account_id: str, call_id: str) -> Response:
        call = store.calls.get((account_id, call_id)) or abort(404)
        return jsonify(shown(call, chosen_fields(request.args)))

    @app.get("/v3/a/<account_id>/calls/<call_id>/recording.json")
    @api("recording.json")
    def get_recording_link(account_id: str, call_id: str) -> Response:
        del account_id  # recordings are registered by call alone
        recording = store.recording_if_ready(call_id) or abort(404)
        # CallRail's own sample shows this link without TLS; whoever follows it has to upgrade it.
        return jsonify(url=_webhook_link(recording).replace("https://", "http://"))

    @app.errorhandler(ListingError)
    def bad_request(error: ListingError) -> tuple[Response, int]:
        return jsonify(error=str(error)), 400


def _add_recording_hosts(app: Flask, store: CallRailStore, plan: FaultPlan) -> None:
    def host(operation: str) -> Callable[[View], View]:
        return _operation(store, plan, operation, before=lambda: None)

    @app.get("/calls/<call_id>/recording/redirect")
    @host("recording.redirect")
    def redirect_to_file(call_id: str) -> Response:
        recording = store.recording_if_ready(call_id) or abort(404)
        key = request.args.get("access_key", "")
        if not key or recording.access_key not in {"", key}:
            abort(403)
        location = f"/s3/recordings/{call_id}.mp3?X-Amz-Signature=standin"
        return Response(status=302, headers={"Location": location})

    @app.get("/s3/recordings/<call_id>.mp3")
    @host("recording.file")
    def send_file(call_id: str) -> Response:
        recording = store.recordings.get(call_id) or abort(404)
        headers = {"Content-Length": str(recording.size), "Accept-Ranges": "bytes"}
        return Response(recording.blocks(), content_type=recording.content_type, headers=headers)


def _refusal(store: CallRailStore) -> Response | None:
    """What CallRail's API answers before it looks at the request: a wrong key, an exhausted budget."""
    if _key_of_request() not in store.api_keys:
        return _json_answer({"error": "HTTP Token: Access denied."}, 401)
    if not store.spend():
        return _json_answer({"error": "Too many requests"}, 429)
    return None


def _key_of_request() -> str:
    """The API key; empty when none was sent in CallRail's form."""
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    return value.removeprefix("token=").strip('"') if scheme == "Token" else ""


def _json_answer(body: Any, status: int) -> Response:
    answer = jsonify(body)
    answer.status_code = status
    return answer


def _operation(
    store: CallRailStore, plan: FaultPlan, operation: str, *, before: Callable[[], Response | None]
) -> Callable[[View], View]:
    """Wrap a view: note the request, apply a fault, check what the host checks, then answer."""

    def wrap(view: View) -> View:
        @wraps(view)
        def answer(**arguments: str) -> Response:
            with_key = "Authorization" in request.headers
            store.note(operation, arguments.get("call_id", ""), with_api_key=with_key)
            rule = plan.take(operation)
            if rule is not None and rule.kind == "drop":
                drop_connection()
            if rule is not None and rule.kind != "drop_after":
                return _faulty(rule)
            made: Response = before() or view(**arguments)
            return made if rule is None else _cut_off(made)

        return answer

    return wrap


def _faulty(rule: FaultRule) -> Response:
    body = rule.body if isinstance(rule.body, str) else None
    status = rule.status if rule.kind == "status" else 200
    answer = Response(body, status=status) if body is not None else _json_answer(rule.body, status)
    answer.headers.update(rule.headers)
    return answer


def _cut_off(answer: Response) -> Response:
    """The answer with its announced length, but only half of its body."""
    length = answer.calculate_content_length() or int(answer.headers.get("Content-Length", 0))
    blocks = answer.iter_encoded()

    def half() -> Iterator[bytes]:
        sent = 0
        for piece in blocks:
            yield piece[: max(length // 2 - sent, 0)]
            sent += len(piece)
            if sent >= length // 2:
                return

    cut = Response(half(), status=answer.status_code, headers=answer.headers)
    cut.headers["Content-Length"] = str(length)
    # Without this the client would wait on the open connection for the rest.
    cut.headers["Connection"] = "close"
    return cut


def main() -> None:
    options, store = http_arguments("callrail"), CallRailStore()
    keep(options.state, {"callrail": store})
    make_http_server(create_app(store), options.port).serve_forever()


if __name__ == "__main__":
    main()
