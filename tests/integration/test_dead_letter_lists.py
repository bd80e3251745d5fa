"""The dead-letter desk on real Spanner: lists, groups and figures; letters go out and come back."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from shared.dead_letters import (
    DeadLetter,
    LetterFilter,
)
from shared.desk_transfer import export_letters, import_letters
from tests.support.desk_bench import OURS, THEIRS, DeskBench
from tests.support.desk_letters import ANY, NOT_AUDIO, filled
from tests.support.pipeline_database import PipelineDatabase

pytestmark = pytest.mark.emulators


@pytest.fixture
def bench(pipeline_database: PipelineDatabase) -> DeskBench:
    return DeskBench(pipeline_database)


@pytest.fixture
def crowd(bench: DeskBench) -> DeskBench:
    return filled(bench)


# -- list, groups, stats ------------------------------------------------------------------------------


def calls(letters: list[DeadLetter]) -> list[int]:
    return [int(letter.call_id.removeprefix("CAL")) for letter in letters]


@pytest.mark.parametrize(
    ("chosen", "found"),
    [
        ({}, [5, 4, 3, 2, 1]),
        ({"tenant_id": OURS}, [5, 3, 2, 1]),
        ({"tenant_id": THEIRS}, [4]),
        ({"stage": "download"}, [4, 2, 1]),
        ({"reason": "not_audio", "tenant_id": OURS}, [2, 1]),
        ({"error_code": "model_busy"}, [3]),
        ({"text": "SUBJECT is too"}, [5]),
        ({"text": "CAL00000000000000000000000000000002"}, [2]),
        ({"created_before": datetime(2020, 1, 1, tzinfo=UTC)}, []),
        ({"created_after": datetime(2020, 1, 1, tzinfo=UTC)}, [5, 4, 3, 2, 1]),
        ({"states": ("closed",)}, []),
        ({"sort": "oldest"}, [1, 2, 3, 4, 5]),
        ({"sort": "attempts", "limit": 1}, [3]),
        ({"sort": "newest", "limit": 2}, [5, 4]),
        ({"text": "100% _"}, []),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else None,
)
def test_letters_are_found_by_what_an_operator_knows(
    crowd: DeskBench, chosen: dict[str, Any], found: list[int]
) -> None:
    assert calls(crowd.desk.find(LetterFilter(**chosen))) == found


def test_groups_say_how_many_of_what(crowd: DeskBench) -> None:
    groups = crowd.desk.groups(LetterFilter())
    assert [(one.letters, one.tenant_id, one.stage, one.reason) for one in groups] == [
        (2, OURS, "download", "not_audio"),
        (1, OURS, "analyze", "model_busy"),
        (1, OURS, "crm_sync", "record_refused"),
        (1, THEIRS, "download", "not_audio"),
    ]
    assert groups[0].fix == "check the link"


def test_figures_by_tenant(crowd: DeskBench) -> None:
    letter = crowd.desk.find(LetterFilter(stage="analyze"))[0]
    crowd.replay(letter.dead_letter_id)
    crowd.desk.discard(THEIRS, crowd.letter(THEIRS).dead_letter_id, reason="a test", actor="op")
    ours, theirs = sorted(crowd.desk.stats(None), key=lambda one: one.tenant_id)
    assert (ours.open, ours.closed, ours.discarded, ours.replays) == (3, 1, 0, 1)
    assert (ours.new_lately, ours.closed_lately, ours.replay_outcomes) == (4, 1, {"arrived": 1})
    assert (theirs.open, theirs.discarded, theirs.oldest_open) == (0, 1, None)
    assert [one.tenant_id for one in crowd.desk.stats(OURS)] == [OURS]


# -- export and import --------------------------------------------------------------------------------


def remove_letters(bench: DeskBench) -> None:
    bench.database.database.run_in_transaction(
        lambda transaction: transaction.execute_update("DELETE FROM dead_letters WHERE true")
    )


def test_letters_go_out_and_come_back_once(crowd: DeskBench) -> None:
    note_on = crowd.desk.find(LetterFilter(stage="analyze"))[0]
    crowd.desk.note(OURS, note_on.dead_letter_id, "asked Google", actor="mo")
    before = {one.dead_letter_id: one for one in crowd.desk.find(ANY)}
    lines = [line.encode() for line in export_letters(crowd.desk, ANY)]
    assert len(lines) == 5
    assert import_letters(crowd.desk, lines, tenant_id=None, actor="op").known == 5
    remove_letters(crowd)

    for inserted in (5, 0):
        report = import_letters(crowd.desk, lines, tenant_id=None, actor="op")
        assert (report.inserted, report.known, report.refused) == (inserted, 5 - inserted, {})
    after = {one.dead_letter_id: one for one in crowd.desk.find(ANY)}
    for id_, letter in before.items():
        # The moment of the last change is the table's own, and nanoseconds do not survive JSON.
        same = {"updated_at": letter.updated_at, "created_at": letter.created_at, "failed_at": letter.failed_at}
        returned = replace(after[id_], **same, kept_until=letter.kept_until)  # type: ignore[arg-type] # by name
        assert returned == letter
    assert crowd.replay(note_on.dead_letter_id).remaining == 0, "what came back can be replayed"


def test_an_import_cannot_put_a_tenants_event_into_anothers_hands(bench: DeskBench) -> None:
    bench.fail("download", NOT_AUDIO)
    (line,) = export_letters(bench.desk, ANY)
    document = json.loads(line)
    remove_letters(bench)
    bad = [
        json.dumps({**document, "tenant_id": THEIRS}),
        json.dumps({**document, "call_id": "CAL9"}),
        json.dumps({**document, "event": "not json"}),
        json.dumps({**document, "dead_letter_id": "../etc"}),
        json.dumps({**document, "surprise": 1}),
        "not json",
    ]
    report = import_letters(bench.desk, [text.encode() for text in bad], tenant_id=None, actor="op")
    assert (report.inserted, sorted(report.refused)) == (0, [1, 2, 3, 4, 5, 6])
    assert "2025550142" not in str(report.refused)
    assert import_letters(bench.desk, [line.encode()], tenant_id=THEIRS, actor="op").refused
    assert bench.desk.find(ANY) == []
