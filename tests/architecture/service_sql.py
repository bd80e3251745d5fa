"""What each service really does in Spanner: its stores run against a client that only keeps what it is asked.

Which role opens which store is read from `handlers/wiring*.py`; which of a store's methods a service calls is read from
the modules that it gives the store to.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from schemas.calls import CallDetails
from shared.call_merge import Merged
from shared.claims import Admission, CallVersion, NewRun, RunKey, Sleep, StageRun
from shared.dead_letters import DeadLetter, DeadLetterBody, NewDeadLetter
from shared.desk_jobs import ReplayStart
from shared.gateways.backfill_store import SpannerBackfillStore
from shared.gateways.call_merger import SpannerCallMerger
from shared.gateways.calls import SpannerConversations, SpannerCrmCalls, SpannerRecordedCalls
from shared.gateways.circuit_store import SpannerCircuits
from shared.gateways.dead_letter_store import SpannerDeadLetters
from shared.gateways.queries import SQL_DIR, query
from shared.gateways.run_store import SpannerRunStore
from shared.gateways.story import SpannerStories
from shared.gateways.sweep_store import SpannerSweepStore
from shared.gateways.tenants import SpannerTenantDirectory
from shared.gateways.vault import Vault
from shared.stage import CallChanges, Completed
from shared.sweeper import OverdueRun, StuckRequest
from tests.architecture.sql_columns import Reader, Touch, keys_of_tables
from tests.support.keys import key_maker
from tests.support.recording_spanner import RecordingSpanner
from tests.support.samples import SOME_TIME, arguments_of, public_methods, sample

ROOT = SQL_DIR.parent
STAGES = ("download", "transcribe", "analyze", "crm_sync")
STORES: dict[str, type] = {
    store.__name__: store
    for store in (
        SpannerBackfillStore,
        SpannerCallMerger,
        SpannerCircuits,
        SpannerConversations,
        SpannerCrmCalls,
        SpannerDeadLetters,
        SpannerRecordedCalls,
        SpannerRunStore,
        SpannerStories,
        SpannerSweepStore,
        SpannerTenantDirectory,
    )
}
_CALLERS: dict[str, tuple[str, ...]] = {
    "SpannerBackfillStore": ("shared/reconciliation.py", "shared/backfill_run.py:Inspector"),
    "SpannerCallMerger": ("stages/download/intake.py",),
    "SpannerCircuits": ("shared/circuits.py",),
    "SpannerConversations": ("stages/{role}/*.py",),
    "SpannerCrmCalls": ("stages/{role}/*.py",),
    "SpannerRecordedCalls": ("stages/{role}/*.py",),
    "SpannerRunStore": ("shared/runner.py",),
    "SpannerSweepStore": ("shared/sweeper.py",),
    "SpannerStories": ("handlers/cli/why.py", "handlers/cli/calls.py", "shared/why.py"),
    "SpannerTenantDirectory": ("shared/runner.py",),
}
_CALLERS_OF_ROLE: dict[tuple[str, str], tuple[str, ...]] = {
    ("download", "SpannerRunStore"): ("shared/runner.py", "shared/request_ends.py"),
    ("crm_sync", "SpannerRunStore"): ("shared/runner.py", "shared/request_ends.py"),
    ("webhook", "SpannerTenantDirectory"): ("handlers/receiver.py",),
    ("dead_letter", "SpannerDeadLetters"): ("shared/desk.py:Desk.record",),
    ("operator", "SpannerDeadLetters"): ("shared/desk*.py",),
}


# --- which role opens which store ---------------------------------------------------------------------


def stores_of_roles() -> dict[str, set[str]]:
    """Role → names of the stores that the wiring opens in it."""
    functions = {
        node.name: node
        for path in sorted((ROOT / "handlers").glob("*wiring*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    }
    found: dict[str, set[str]] = {}
    for name, function in functions.items():
        for call in (node for node in ast.walk(function) if isinstance(node, ast.Call)):
            store = _called(call)
            opened = [one for one in call.args if isinstance(one, ast.Call) and _called(one) == "database"]
            if store in STORES and opened:
                for role in _roles(opened[0], name, functions):
                    found.setdefault(role, set()).add(store)
    return found


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _roles(call: ast.Call, inside: str, functions: dict[str, ast.FunctionDef]) -> Iterator[str]:
    """The roles that `role=…` of a call may have; a parameter is followed to its default and to all callers."""
    given = next((keyword.value for keyword in call.keywords if keyword.arg == "role"), None)
    if isinstance(given, ast.Constant) and isinstance(given.value, str):
        yield given.value
    elif isinstance(given, ast.Name) and given.id == "name":
        yield from STAGES
    elif isinstance(given, ast.Name) and given.id == "role":
        for default in functions[inside].args.kw_defaults:
            if isinstance(default, ast.Constant) and isinstance(default.value, str):
                yield default.value
        for caller, function in functions.items():
            for other in (node for node in ast.walk(function) if isinstance(node, ast.Call)):
                if _called(other) == inside and any(keyword.arg == "role" for keyword in other.keywords):
                    yield from _roles(other, caller, functions)


# --- which methods a service calls --------------------------------------------------------------------


def methods_called(role: str, store: str) -> list[str]:
    """The store's methods that the modules which get the store mention."""
    places = _CALLERS_OF_ROLE.get((role, store)) or _CALLERS[store]
    mentioned = {name for place in places for name in _attributes(place.format(role=role))}
    return [name for name in public_methods(STORES[store]) if name in mentioned]


def _attributes(place: str) -> Iterator[str]:
    """Names after a dot in `file` or `file:Class` or `file:Class.method`; the file may be a pattern."""
    pattern, _, inside = place.partition(":")
    paths = sorted(ROOT.glob(pattern))
    assert paths, f"{pattern} does not exist"
    for path in paths:
        scope: ast.AST = ast.parse(path.read_text(encoding="utf-8"))
        for name in filter(None, inside.split(".")):
            scope = next(node for node in ast.walk(scope) if getattr(node, "name", "") == name)
        for node in ast.walk(scope):
            if isinstance(node, ast.Attribute):
                yield node.attr


# --- what the methods do ------------------------------------------------------------------------------


def recorded(role: str) -> Iterator[RecordingSpanner]:
    """Every method that the role's service calls, run once for each way it can go."""
    for store in sorted(stores_of_roles().get(role, ())):
        for method in methods_called(role, store):
            for spanner, made, given in ways(STORES[store], method, role=role):
                bound = getattr(made, method)
                bound(**arguments_of(bound, **given))
                yield spanner


def ways(store: type, method: str, *, role: str = "download") -> Iterator[tuple[RecordingSpanner, Any, dict[str, Any]]]:
    """A store over a recording client, and the arguments that matter, for each way the method can go."""
    special = _WAYS.get((store, method), _plainly)
    for spanner, given in special(role):
        yield spanner, store(spanner.open, **_parts_of(store, spanner)), given


def _parts_of(store: type, spanner: RecordingSpanner) -> dict[str, Any]:
    """What a store takes beside the database."""
    if store is SpannerTenantDirectory:
        return {"ttl_s": 1, "negative_ttl_s": 1}
    takes_vault = "vault" in inspect.signature(store).parameters
    return {"vault": Vault(spanner.open, key_maker())} if takes_vault else {}


Way = tuple[RecordingSpanner, dict[str, Any]]


def _plainly(_role: str) -> Iterator[Way]:
    yield RecordingSpanner(), {}


def _insert_run(role: str) -> Iterator[Way]:
    run = NewRun(**arguments_of(NewRun.__init__))
    if role == "download":
        said = Merged(CallDetails(call_id="x"), {})
        admission = Admission("post_call", "webhook", SOME_TIME, said=said)
        known = {"details": CallDetails(call_id="x").model_dump_json(), "details_ranks": "{}"}
        yield RecordingSpanner(), {"run": run, "admission": admission}
        yield RecordingSpanner(refuse_inserts=True), {"run": run, "admission": admission}
        yield RecordingSpanner(refuse_inserts=True, keyed={"call_records": known}), {"run": run, "admission": admission}
    if role == "crm_sync":
        admission = Admission("incomplete", "webhook", SOME_TIME, said=None)
        yield RecordingSpanner(), {"run": run, "admission": admission}
    yield RecordingSpanner(), {"run": run, "admission": None}


def _take_over(_role: str) -> Iterator[Way]:
    run = replace(sample(StageRun), state="blocked")
    yield RecordingSpanner(keyed={"stage_runs": {"claim_token": run.claim_token, "state": run.state}}), {"run": run}


def _sleep(_role: str) -> Iterator[Way]:
    ours = {"stage_runs": {"claim_token": "ours", "state": "running"}}
    yield RecordingSpanner(keyed=ours), {"claim_token": "ours"}
    yield RecordingSpanner(keyed=ours), {"claim_token": "ours", "sleep": replace(sample(Sleep), state="failed")}


def _save_checkpoint(role: str) -> Iterator[Way]:
    ours = {"stage_runs": {"claim_token": "ours", "state": "running"}}
    yield RecordingSpanner(keyed=ours), {"claim_token": "ours", "call": None}
    if role == "crm_sync":
        call = {"call_records": {"updated_at": SOME_TIME}}
        yield RecordingSpanner(keyed={**ours, **call}), {"claim_token": "ours", "call": CallVersion("x", SOME_TIME)}


def _end_request(_role: str) -> Iterator[Way]:
    key = sample(RunKey)
    active = {"processing_requests": {"state": "active", "stage": key.stage}}
    yield RecordingSpanner(keyed=active), {"key": key}


def _postpone(_role: str) -> Iterator[Way]:
    run = sample(OverdueRun)
    found = {"state": run.state, "updated_at": run.updated_at, "due_at": run.due_at}
    yield RecordingSpanner(keyed={"stage_runs": found}), {"run": run}


def _touch(_role: str) -> Iterator[Way]:
    request = sample(StuckRequest)
    found = {"state": "active", "updated_at": request.updated_at}
    yield RecordingSpanner(keyed={"processing_requests": found}), {"request": request}


def _finish(role: str) -> Iterator[Way]:
    """With everything that the stage puts into its `CallChanges`."""
    values = arguments_of(CallChanges.__init__, analysis_failed=True)
    changes = CallChanges(**{name: values[name] for name in _changes_of(role)})
    yield RecordingSpanner(), {"completed": Completed(next_event=None, changes=changes)}


def _changes_of(stage: str) -> set[str]:
    return {
        str(keyword.arg)
        for path in (ROOT / "stages" / stage).glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and _called(node) == "CallChanges"
        for keyword in node.keywords
    }


def _merge(_role: str) -> Iterator[Way]:
    said = Merged(CallDetails(call_id="x", recording_url="https://example.com/new"), {"recording_url": (3, "2026")})
    stored = [CallDetails(call_id="x").model_dump_json(), "{}", False, False, False, False, True]
    yield RecordingSpanner(), {"said": said}
    yield RecordingSpanner(rows={query("calls", "read_details"): [stored]}), {"said": said}


def _report(verb_of: str) -> Callable[[str], Iterator[Way]]:
    def ways(_role: str) -> Iterator[Way]:
        yield RecordingSpanner(counts={query("backfill", f"update_{verb_of}"): 0}), {}

    return ways


def _record(_role: str) -> Iterator[Way]:
    letter = sample(NewDeadLetter)
    find = query("dead_letters", "find_for_failure")
    row = [letter.dead_letter_id, letter.request_id, None, letter.stage, "replaying", None, None, None, "x", False]
    late = [*row[:4], "open", SOME_TIME, *row[6:]]
    yield RecordingSpanner(), {"letter": letter}
    yield RecordingSpanner(has_keysets=False), {"letter": letter}
    yield RecordingSpanner(rows={find: [row]}), {"letter": letter}
    yield RecordingSpanner(rows={find: [late]}), {"letter": letter}


def _close_arrived(_role: str) -> Iterator[Way]:
    run = {"request_id": "r-1", "stage": "analyze"}
    keyed = {
        "dead_letters": {"dead_letter_id": "x", "state": "replaying", "replayed_by": "y", **run},
        "stage_runs": {"state": "done", **run},
        "processing_requests": {"request_id": run["request_id"], "state": "done"},
    }
    yield RecordingSpanner(rows={query("dead_letters", "arrived_letters"): [["x"]]}, keyed=keyed), {}


def _start_replay(_role: str) -> Iterator[Way]:
    start = sample(ReplayStart)
    keyed = {
        "dead_letters": {"state": "open", "replays": start.letter.replays},
        "stage_runs": {"state": "failed"},
        "processing_requests": {"state": "failed"},
    }
    for opens in (True, False):
        yield RecordingSpanner(keyed=keyed), {"start": replace(start, opens_request=opens, edited_event="{}")}


def _copy(_role: str) -> Iterator[Way]:
    body = replace(sample(DeadLetterBody), letter=sample(DeadLetter))
    yield RecordingSpanner(), {"body": body, "copy": body}


def _by_id(_role: str) -> Iterator[Way]:
    yield RecordingSpanner(), {"tenant_id": "tenant-x"}


_WAYS: dict[tuple[type, str], Callable[[str], Iterable[Way]]] = {
    (SpannerRunStore, "insert"): _insert_run,
    (SpannerRunStore, "take_over"): _take_over,
    (SpannerRunStore, "sleep"): _sleep,
    (SpannerRunStore, "save_checkpoint"): _save_checkpoint,
    (SpannerSweepStore, "postpone"): _postpone,
    (SpannerSweepStore, "touch"): _touch,
    (SpannerRunStore, "finish"): _finish,
    (SpannerRunStore, "end_request"): _end_request,
    (SpannerCallMerger, "merge"): _merge,
    (SpannerTenantDirectory, "by_id"): _by_id,
    (SpannerBackfillStore, "write_report"): _report("report"),
    (SpannerBackfillStore, "write_partial"): _report("stopped"),
    (SpannerBackfillStore, "write_trouble"): _report("stopped"),
    (SpannerDeadLetters, "record"): _record,
    (SpannerDeadLetters, "close_arrived"): _close_arrived,
    (SpannerDeadLetters, "start_replay"): _start_replay,
    (SpannerDeadLetters, "insert_copy"): _copy,
    (SpannerDeadLetters, "replace_with_copy"): _copy,
}


# --- as privileges ------------------------------------------------------------------------------------

_PRIVILEGES = {"insert": ("INSERT",), "update": ("UPDATE",), "insert_or_update": ("INSERT", "UPDATE")}


def touches_of(role: str, reader: Reader) -> frozenset[Touch]:
    """Everything that the role's service reads and writes."""
    found: set[Touch] = set()
    for spanner in recorded(role):
        for sql, _ in spanner.statements:
            found |= reader.touches(sql)
        for read in spanner.reads:
            columns = (*read.columns, *keys_of_tables()[read.table])
            found |= {Touch("SELECT", read.table, column) for column in columns}
        for mutation in spanner.mutations:
            if mutation.verb == "delete":
                found.add(Touch("DELETE", mutation.table, ""))
            for privilege in _PRIVILEGES.get(mutation.verb, ()):
                found |= {Touch(privilege, mutation.table, column) for column in mutation.columns}
    return frozenset(found)
