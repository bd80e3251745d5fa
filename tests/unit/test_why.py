"""Every error code has its plain words, and the words are chosen as they should be."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import pytest

from shared.gateways import gemini_errors, secrets_errors, speech_errors
from shared.gateways.salesforce_errors import ERROR_TABLE
from shared.meanings.registry import CHAPTERS, meaning_of
from shared.moments import duration, moment
from shared.pipeline import PIPELINE_FILE, load_pipeline
from shared.story import CallStory, LetterFacts, RequestFacts, RunFacts
from shared.whereabouts.registry import WORDS
from shared.whereabouts.situations import FINISHED, Pace, Situation, situation_of, worst
from shared.why import explain

ROOT = PIPELINE_FILE.parents[1]
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
PACE = Pace.of(load_pipeline(), stale_after=timedelta(minutes=25))

# --- the code base's codes ------------------------------------------------------------------------------

FORMATTED = {
    # An f-string as a code: what can stand in its place.
    "f'hubspot_{status}'": [f"hubspot_{status}" for status in (401, 403, 408, 477, 500, 502, 503, 504)],
    "f'secret_manager_{code.lower()}'": ["secret_manager_unavailable", "secret_manager_unknown"],
    "f'vertex_{code.lower()}'": [
        *(f"vertex_{code.lower()}" for code in gemini_errors._MENDED_BY_TIME),
        "vertex_failed_precondition",
        "vertex_out_of_range",
    ],
    "f'{vendor}_{kind}'": [
        f"{vendor}_{kind}" for vendor in ("hubspot", "salesforce") for kind in ("timeout", "unreachable")
    ],
    # A variable as a code: the table it comes from.
    "OPERATION_UNKNOWN": ["speech_operation_unknown"],
    "_TRANSIENT[code]": list(speech_errors._TRANSIENT.values()),
    "name": [code for code, _ in gemini_errors._FINAL.values()],
    "kind": [code for code, _, _ in secrets_errors._REFUSALS.values()],
    "self._our_code": [f"salesforce_{code.lower()}" for code in ERROR_TABLE] + ["salesforce_404", "salesforce_503"],
    "run.error_code or 'attempts_exhausted'": ["attempts_exhausted"],
    # `objects.py` chooses between two; `secrets.py` repeats one it raised before.
    "code": ["storage_unreachable", "storage_unavailable"],
}
"""Codes that are no literal at the place where they are raised. A new kind of expression fails the test below."""

PASSED_ON = {"circuit.reason", "missing.code", "refusal.code", "run.error_code", "report.error_code"}
"""A code that was raised elsewhere before."""

_CODE_OF_CALL = {"GivenUp": 1}
"""Calls that take a code and are no error: which argument it is."""


@cache
def trees() -> Sequence[tuple[Path, ast.Module]]:
    """The whole code base, parsed once: that takes half a second."""
    return [
        (path, ast.parse(path.read_text(encoding="utf-8")))
        for folder in ("shared", "stages", "handlers", "infra/load", "infra/cost")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if "meanings" not in path.parts
    ]


def error_classes() -> set[str]:
    """`PipelineError` and everything that descends from it, by name."""
    bases: dict[str, set[str]] = defaultdict(set)
    for _, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                bases[node.name] |= {name_of(base) for base in node.bases}
    found, grown = {"PipelineError"}, True
    while grown:
        more = {name for name, above in bases.items() if above & found} - found
        grown, found = bool(more), found | more
    return found


def name_of(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else getattr(node, "attr", "")


@cache
def code_expressions() -> Mapping[str, str]:
    """Every expression that is given as a code, and a place where it is."""
    classes = error_classes()
    found: dict[str, str] = {}
    for path, tree in trees():
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            for expression in _codes_of(call, classes):
                found[ast.unparse(expression)] = f"{path.relative_to(ROOT)}:{call.lineno}"
    return found


def _codes_of(call: ast.Call, classes: set[str]) -> Iterator[ast.expr]:
    name = name_of(call.func)
    if name in classes and call.args:
        yield call.args[0]
    if name in _CODE_OF_CALL and len(call.args) > _CODE_OF_CALL[name]:
        yield call.args[_CODE_OF_CALL[name]]
    yield from (keyword.value for keyword in call.keywords if name == "Sleep" and keyword.arg == "error_code")


def test_every_error_code_of_the_code_base_has_plain_words() -> None:
    missing = []
    for expression, place in code_expressions().items():
        if expression in PASSED_ON or expression == "error.code":
            continue
        literal = ast.literal_eval(expression) if expression[:1] in "'\"" else None
        codes = [literal] if literal else FORMATTED.get(expression)
        if codes is None:
            missing.append(f"{place}: add what {expression} can be to FORMATTED in this test")
            continue
        missing += [f"{place}: no entry for {code} in shared/meanings" for code in codes if meaning_of(code) is None]
    assert missing == []


def test_the_search_finds_codes_of_every_kind() -> None:
    expressions = code_expressions()

    for expected in ("'recording_not_ready'", "'worker_stopped'", "'inbox_unreadable'", "self._our_code"):
        assert expected in expressions


def test_no_entry_outlives_its_code() -> None:
    """A table that explains what nobody raises any more misleads whoever reads the runbook."""
    source = "\n".join(ast.unparse(tree) for _, tree in trees()).lower()
    raised = {code for codes in FORMATTED.values() for code in codes}
    idle = [
        code for chapter in CHAPTERS for code in chapter.meanings if f"'{code}'" not in source and code not in raised
    ]
    assert idle == []


def test_no_code_is_explained_twice() -> None:
    codes = [code for chapter in CHAPTERS for code in chapter.meanings]

    assert sorted(codes) == sorted(set(codes))


def test_a_code_that_nobody_explained_has_no_meaning_and_is_still_shown() -> None:
    assert meaning_of("hubspotty_thing") is None

    answer = explain(story(run(state="retrying", code="hubspotty_thing", detail="what it said")), now=NOW, pace=PACE)

    assert "hubspotty_thing: what it said" in answer.because
    assert answer.last_error is not None
    assert answer.last_error.means == "nobody has explained this code yet"


@pytest.mark.parametrize("code", [code for chapter in CHAPTERS for code in chapter.meanings])
def test_the_words_are_filled_in_and_end_without_a_full_stop(code: str) -> None:
    meaning = meaning_of(code)
    assert meaning is not None
    for text in (meaning.means, meaning.helps):
        assert text.strip()
        assert not text.endswith(".")


# --- situations -------------------------------------------------------------------------------------------


def run(**changes: object) -> RunFacts:
    facts: dict[str, object] = {
        "request_id": "r-1",
        "stage": "download",
        "state": "running",
        "attempt": 1,
        "worker": "w",
        "lease_until": NOW + timedelta(minutes=10),
        "created_at": NOW,
        "updated_at": NOW,
    }
    return RunFacts(**{**facts, **changes})  # type: ignore[arg-type] # the test's own values


def request(*runs: RunFacts, **changes: object) -> RequestFacts:
    facts: dict[str, object] = {
        "request_id": runs[0].request_id if runs else "r-1",
        "kind": "post_call",
        "origin": "webhook",
        "state": "active",
        "stage": "download",
        "received_at": NOW,
        "updated_at": NOW,
        "finished_at": None,
    }
    return RequestFacts(**{**facts, **changes}, runs=runs)  # type: ignore[arg-type] # the test's own values


def letter(**changes: object) -> LetterFacts:
    facts: dict[str, object] = {
        "dead_letter_id": "d-1",
        "first_request_id": "r-1",
        "request_id": "r-1",
        "stage": "download",
        "state": "open",
        "reason": "recording_refused",
        "detail": "x",
        "fix": "",
        "attempts": 1,
        "occurrences": 1,
        "replays": 0,
        "created_at": NOW,
        "updated_at": NOW,
    }
    return LetterFacts(**{**facts, **changes})  # type: ignore[arg-type] # the test's own values


def story(*runs: RunFacts, letters: tuple[LetterFacts, ...] = (), **changes: object) -> CallStory:
    return CallStory("acme", "CAL1", "active", requests=(request(*runs, **changes),), letters=letters)


def test_every_situation_of_a_request_has_words() -> None:
    of_calls = {
        Situation.NEVER_ARRIVED,
        Situation.IN_INBOX,
        Situation.GIVEN_UP_UNCLAIMED,
        Situation.AWAITING_POST_CALL,
        Situation.SCHEMA_BEHIND,
    }
    assert set(WORDS) == set(Situation) - of_calls


def test_a_re_run_that_nobody_claimed_yet_says_which_stage_is_to_begin() -> None:
    answer = explain(story(stage="analyze"), now=NOW, pace=PACE)

    assert (answer.situation, answer.where) == (Situation.RECEIVED, "analyze has not begun")


def test_a_lease_is_over_at_its_very_end() -> None:
    before = story(run(lease_until=NOW + timedelta(seconds=1)))
    after = story(run(lease_until=NOW))

    assert situation_of(before.requests[0], before, now=NOW) is Situation.RUNNING
    assert situation_of(after.requests[0], after, now=NOW) is Situation.LEASE_OVER


def test_a_letter_that_is_still_to_be_dealt_with_goes_before_its_discarded_copy() -> None:
    both = story(run(state="failed"), letters=(letter(state="discarded"), letter(dead_letter_id="e-2")))

    assert explain(both, now=NOW, pace=PACE).situation is Situation.FAILED
    assert "e-2" in explain(both, now=NOW, pace=PACE).where


def test_what_is_mended_by_time_while_retried_needs_a_replay_once_given_up() -> None:
    failing = run(state="failed", code="hubspot_timeout")

    retried = explain(story(run(state="retrying", code="hubspot_timeout")), now=NOW, pace=PACE)
    given_up = explain(story(failing, letters=(letter(),)), now=NOW, pace=PACE)

    assert retried.helps.startswith("nothing")
    assert given_up.helps == "wait until what failed is well again, then replay"


def test_the_worst_request_is_told_first() -> None:
    fine = request(run(request_id="r-1", state="done", stage="crm_sync"), state="done")
    blocked = request(run(request_id="w-2", state="blocked"), request_id="w-2", kind="call_modified")
    both = CallStory("acme", "CAL1", "active", requests=(fine, blocked))

    assert worst(both.requests, both, now=NOW) is blocked
    assert any("r-1" in note for note in explain(both, now=NOW, pace=PACE).notes)


def test_a_dead_letter_whose_stage_is_done_is_to_be_discarded() -> None:
    arrived = story(run(state="done", stage="download"), letters=(letter(),), state="done")

    notes = explain(arrived, now=NOW, pace=PACE).notes

    assert notes == ("dead letter d-1 is open although download is done: the next sweep closes it",)


def test_a_call_of_a_suspended_tenant_says_so_wherever_it_is() -> None:
    waiting = replace(story(run(state="waiting")), tenant_status="suspended")

    notes = explain(waiting, now=NOW, pace=PACE).notes

    assert notes == ("the tenant is suspended: the next attempt will not be made before it is resumed",)


def test_a_letter_without_a_claim_does_not_hide_what_is_known_of_the_call() -> None:
    merged = story(run(state="done"), letters=(letter(request_id="r-other"),), kind="pre_call", state="done")

    answer = explain(merged, now=NOW, pace=PACE)

    assert answer.situation is Situation.AWAITING_POST_CALL
    assert any("request r-1 (pre_call): merged" in note for note in answer.notes)


def test_finished_situations_are_those_in_which_nothing_more_happens() -> None:
    for situation in FINISHED:
        assert situation not in {Situation.FAILED, Situation.BLOCKED, Situation.RUNNING, Situation.BETWEEN_STAGES}


# --- times ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-5, "0 s"), (59, "59 s"), (60, "1 min"), (3600, "1 h"), (7500, "2 h 5 min"), (172800, "2 days")],
)
def test_durations_are_written_as_people_say_them(seconds: int, words: str) -> None:
    assert duration(timedelta(seconds=seconds)) == words


@pytest.mark.parametrize(
    ("ahead_s", "words"),
    [
        (0, "12:00:00 UTC (now)"),
        (240, "12:04:00 UTC (in 4 min)"),
        (-240, "11:56:00 UTC (4 min ago)"),
        (86400, "2026-11-24 12:00:00 UTC (in 24 h)"),
    ],
)
def test_moments_say_how_far_away_they_are(ahead_s: int, words: str) -> None:
    assert moment(NOW + timedelta(seconds=ahead_s), now=NOW) == words
