"""The judgement on a chaos run: pure, from what was sent and what was found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from infra.local.chaos.calls import MARK, PlannedCall
from infra.local.chaos.evidence import CrmEntry, Evidence, Key
from infra.local.chaos.sender import Ledger
from infra.local.chaos.tenants import ChaosTenant
from shared.dead_letters import UNASSIGNED_TENANT, DeadLetter
from stages.crm_sync.logic import NOT_ANALYZED

FINAL = frozenset({"done", "not_processed"})
MOST_PAID_TWICE = 0.01
"""Of the calls with audio: Speech takes no key that would tell a repeated submission from a new one, so a death between
its answer and our commit may pay once more (docs/operations/chaos.md)."""
_SHOWN = 5


@dataclass(frozen=True)
class Invariant:
    """One promise. `broken` names what broke it; empty when it held."""

    name: str
    found: str
    broken: tuple[str, ...] = ()
    allowed: int = 0
    """How many breaches are no failure."""

    @property
    def holds(self) -> bool:
        return len(self.broken) <= self.allowed

    def line(self) -> str:
        """For people."""
        shown = ", ".join(self.broken[:_SHOWN]) + (" …" if len(self.broken) > _SHOWN else "")
        return f"{'ok  ' if self.holds else 'FAIL'}  {self.name}: {self.found}" + (f" ({shown})" if shown else "")


@dataclass(frozen=True)
class Verdict:
    """Every invariant, and the four figures that matter."""

    invariants: tuple[Invariant, ...]
    lost: int
    duplicated: int
    double_paid: int
    stuck: int

    @property
    def holds(self) -> bool:
        return all(invariant.holds for invariant in self.invariants)

    def summary(self) -> str:
        return f"lost={self.lost} duplicated={self.duplicated} double_paid={self.double_paid} stuck={self.stuck}"


def judge(evidence: Evidence, ledger: Ledger, calls: Sequence[PlannedCall], tenants: Sequence[ChaosTenant]) -> Verdict:
    """Compare what was promised with what is there."""
    expected = _expected(ledger, tenants)
    activities = evidence.activities
    lost = [*_unknown_requests(evidence, ledger), *_missing(activities, expected)]
    twice = [*_repeated(activities, "call"), *_repeated(evidence.people, "person")]
    strangers = [_named(key) for key in activities if key not in expected]
    stuck = _unfinished(evidence)
    paid_twice = _paid_twice(evidence)
    with_audio = sum(call.has_audio for call in calls)
    counted = Counter(provider for _, provider, _ in activities)
    accepted_calls = {(one.tenant, one.call_id) for one in ledger.accepted}
    in_crms = ", ".join(f"{provider} {counted[provider]}" for provider in ("hubspot", "salesforce"))
    lines = (
        Invariant(
            "every webhook was taken in the end",
            f"{len(ledger.accepted)} taken, {len(ledger.refused)} sent again",
            tuple(f"{post.kind} of {post.call}" for post in ledger.given_up),
        ),
        Invariant(
            "no taken call is lost", f"{len(accepted_calls)} calls, {len(expected)} expected, {in_crms}", tuple(lost)
        ),
        Invariant(
            "one record for a call, one person for a caller", f"{sum(evidence.people.values())} people", tuple(twice)
        ),
        Invariant(
            "every record tells the whole call",
            f"{len(evidence.entries)} records",
            tuple(_half_told(evidence, ledger, expected)),
        ),
        Invariant("no tenant's call in another's account", f"{len(tenants)} tenants", tuple(strangers)),
        Invariant("every request has ended", f"{len(evidence.requests)} requests", tuple(stuck)),
        Invariant(
            "every synced call is announced", f"{len(evidence.announced)} call-synced", tuple(_unannounced(evidence))
        ),
        Invariant("no dead letter is left", f"{len(evidence.letters)} letters", tuple(_open_letters(evidence))),
        Invariant(
            "no audio is paid for twice",
            f"{len(evidence.recognitions)} operations for {with_audio} calls with audio",
            tuple(paid_twice),
            allowed=int(with_audio * MOST_PAID_TWICE),
        ),
        Invariant("no object belongs to nobody", f"{len(evidence.objects)} objects", tuple(_orphans(evidence))),
        Invariant(
            "every call with audio has words and an analysis",
            f"{sum(call.has_transcript for call in evidence.calls)} transcripts",
            tuple(_incomplete(evidence, calls, accepted_calls)),
        ),
    )
    return Verdict(lines, lost=len(lost), duplicated=len(twice), double_paid=len(paid_twice), stuck=len(stuck))


def _named(key: Key | tuple[str, str]) -> str:
    return "/".join(key)


def _expected(ledger: Ledger, tenants: Sequence[ChaosTenant]) -> set[Key]:
    """(tenant, provider, call) for every call whose end was told and taken."""
    providers: Mapping[str, tuple[str, ...]] = {tenant.tenant_id: tenant.providers for tenant in tenants}
    return {
        (one.tenant, provider, one.call_id)
        for one in ledger.accepted
        if one.kind == "post_call"
        for provider in providers[one.tenant]
    }


def _unknown_requests(evidence: Evidence, ledger: Ledger) -> list[str]:
    """Webhooks that were answered 2xx and of which no row tells."""
    known = {(row.tenant, row.request_id) for row in evidence.requests}
    return sorted(
        {f"{one.kind} {one.request_id}" for one in ledger.accepted if (one.tenant, one.request_id) not in known}
    )


def _missing(activities: Counter[Key], expected: set[Key]) -> list[str]:
    return sorted(_named(key) for key in expected if not activities[key])


def _half_told(evidence: Evidence, ledger: Ledger, expected: set[Key]) -> list[str]:
    """Records that stayed behind the call: marked as unfinished, without what people noted later, or of nobody."""
    noted = {(one.tenant, one.call_id) for one in ledger.accepted if one.kind == "call_modified"}
    return sorted(
        f"{_named(key)} {missing}"
        for key, entry in evidence.entries
        if key in expected and (missing := _missing_in(entry, was_noted=(key[0], key[2]) in noted))
    )


def _missing_in(entry: CrmEntry, *, was_noted: bool) -> str:
    if NOT_ANALYZED in entry.text:
        return NOT_ANALYZED
    if was_noted and MARK not in entry.text:
        return "without its note"
    return "" if entry.has_person else "of nobody"


def _repeated(records: Counter[Key], what: str) -> list[str]:
    return [f"{what} {_named(key)} × {count}" for key, count in sorted(records.items()) if count > 1]


def _unfinished(evidence: Evidence) -> list[str]:
    """Rows that are not final; a request that failed counts, because every dead letter was replayed."""
    open_requests = [row for row in evidence.requests if row.state not in FINAL]
    open_runs = {(run.tenant, run.request_id): run for run in evidence.runs if run.state != "done"}
    named = [
        f"{row.request_id} {row.state} at {row.stage}" + _why(open_runs.pop((row.tenant, row.request_id), None))
        for row in open_requests
    ]
    return named + [f"{run.request_id} is over, its {run.stage} is {run.state}" for run in open_runs.values()]


def _why(run: object) -> str:
    state, code = getattr(run, "state", ""), getattr(run, "error_code", "")
    return f": {state} {code}" if run else ""


def _unannounced(evidence: Evidence) -> list[str]:
    """Requests that told the CRM the whole call, and no consumer of a customer's."""
    whole = {(row.tenant, row.request_id) for row in evidence.requests if row.kind != "incomplete"}
    synced = {(run.tenant, run.request_id) for run in evidence.runs if (run.stage, run.state) == ("crm_sync", "done")}
    return sorted(_named(request) for request in (synced & whole) - evidence.announced)


def is_unresolved(letter: DeadLetter) -> bool:
    """Whether somebody still has to do something about it.

    What belongs to no request (a notice of Cloud Storage) cannot be traced to its end: sent again is all it can be.
    """
    if letter.tenant_id == UNASSIGNED_TENANT and letter.state == "replaying":
        return False
    return letter.state in {"open", "replaying"}


def _open_letters(evidence: Evidence) -> list[str]:
    return [f"{one.stage} {one.reason} {one.state}" for one in evidence.letters if is_unresolved(one)]


def _paid_twice(evidence: Evidence) -> list[str]:
    """Calls whose audio was recognised once more although a readable transcript lay there.

    An operation that failed is not billed, and one whose output was lost or spoiled has to be repeated.
    """
    usable: dict[str, list[str]] = {}
    for one in evidence.recognitions:
        if one.usable:
            usable.setdefault(one.call_id, []).append(one.request_id)
    return [f"{call} for {', '.join(ids)}" for call, ids in sorted(usable.items()) if len(ids) > 1]


def _orphans(evidence: Evidence) -> list[str]:
    """Recordings of no call, second recordings, transcripts of no request, webhooks left in the inbox."""
    recordings = {call.recording_object for call in evidence.calls}
    requests = {f"transcripts/{row.tenant}/{row.request_id}/" for row in evidence.requests}
    return [
        name
        for name in evidence.objects
        if name not in recordings and not any(name.startswith(prefix) for prefix in _folders(name) & requests)
    ]


def _folders(name: str) -> set[str]:
    parts = name.split("/")
    return {"/".join(parts[:depth]) + "/" for depth in range(1, len(parts))}


def _incomplete(evidence: Evidence, calls: Sequence[PlannedCall], accepted: set[tuple[str, str]]) -> list[str]:
    """Words that no recognition wrote count too: then the audit is blind to what is paid for."""
    known = {(call.tenant, call.call_id): call for call in evidence.calls}
    recognised = {one.call_id for one in evidence.recognitions if one.usable}
    found = []
    for call in calls:
        row = known.get((call.tenant, call.call_id))
        if (call.tenant, call.call_id) not in accepted:
            continue
        if row is None or not row.has_analysis or (call.has_audio and not row.has_transcript):
            found.append(f"{call.shape} {call.call_id}")
        elif call.has_audio and call.call_id not in recognised:
            found.append(f"{call.shape} {call.call_id} was never recognised")
    return found
