"""`pipeline dead-letters …` as an operator types it: looks, decisions, files, mistakes; output, exit status, rows."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from shared.dead_letters import TOPIC, GivenUp, dead_letter_attributes
from shared.deliveries import Delivery
from shared.gateways import dead_letter_archive
from shared.gateways.publisher import PubSubPublisher
from tests.support.desk_bench import OURS, THEIRS, received
from tests.support.desk_letters import NOT_AUDIO
from tests.support.desk_terminal import DeskTerminal, given_up, ids, letter, terminal

__all__ = ["terminal"]

pytestmark = pytest.mark.emulators


# -- look --------------------------------------------------------------------------------------------------------


def test_letters_and_groups_are_found_by_every_filter(terminal: DeskTerminal) -> None:
    (refused,) = given_up(terminal)
    terminal.bench.fail("download", NOT_AUDIO, received(2), received(3))
    (theirs,) = given_up(terminal, tenant_id=THEIRS, first=4)

    def found(*arguments: str) -> list[str]:
        return ids(terminal.type("list", "--json", *arguments).document())

    assert len(found()) == 4
    assert found("--tenant", THEIRS) == [theirs]
    assert sorted(found("--stage", "analyze")) == sorted([refused, theirs])
    assert found("--reason", "model_refused", "--tenant", OURS) == [refused]
    assert len(found("--error-code", "not_audio")) == 2
    assert found("--older-than", "1h") == []
    assert len(found("--newer-than", "1h")) == 4
    assert found("--text", "MODEL SAID", "--tenant", OURS) == [refused]
    assert found("--state", "closed") == []
    assert len(found("--limit", "2")) == 2
    assert found("--sort", "oldest")[0] == refused
    assert found("--sort", "newest") == list(reversed(found("--sort", "oldest")))

    listed = terminal.type("list", "--tenant", OURS)
    assert listed.status == 0
    assert f"3 dead letters of {OURS}" in listed.out
    assert refused in listed.out
    assert "another model" in listed.out

    groups = terminal.type("groups", "--json").document()
    assert [(one["tenant_id"], one["stage"], one["reason"], one["letters"]) for one in groups] == [
        (OURS, "download", "not_audio", 2),
        (OURS, "analyze", "model_refused", 1),
        (THEIRS, "analyze", "model_refused", 1),
    ]
    assert len(terminal.type("groups", "--json", "--tenant", THEIRS).document()) == 1
    assert "4 dead letters in 3 groups" in terminal.type("groups").out


def test_show_says_what_a_replay_would_do_and_cost_and_keeps_personal_data_off_the_screen(
    terminal: DeskTerminal,
) -> None:
    (refused,) = given_up(terminal)

    shown = terminal.type("show", refused, "--tenant", OURS)
    assert shown.status == 0
    assert "model_refused" in shown.out
    assert "the model said no" in shown.out
    assert "sends the event to call-transcribed again, for request r-0000000000000001" in shown.out
    assert "runs analyze, crm_sync" in shown.out
    assert "keeps download, transcribe" in shown.out
    assert "costs " in shown.out

    terminal.bench.fail("download", NOT_AUDIO, received(2))
    (webhook,) = ids(terminal.type("list", "--json", "--stage", "download").document())
    assert "+13035550142" not in terminal.type("show", webhook, "--tenant", OURS).out
    document = terminal.type("show", webhook, "--tenant", OURS, "--json").document()
    assert document["event"]["payload"]["customer_phone_number"] == "+13035550142"
    assert document["error_chain"]
    assert document["timeline"]
    assert document["replay"]["runs"][0] == "download"


def test_figures_by_tenant(terminal: DeskTerminal) -> None:
    given_up(terminal, 2)
    (one,) = terminal.type("stats", "--json").document()
    assert (one["tenant_id"], one["open"], one["new_lately"]) == (OURS, 2, 2)
    assert OURS in terminal.type("stats", "--tenant", OURS).out


# -- decide ------------------------------------------------------------------------------------------------------


def test_a_letter_is_discarded_with_a_reason_shown_with_its_date_and_restored(terminal: DeskTerminal) -> None:
    (refused,) = given_up(terminal)

    discarded = terminal.type("discard", refused, "--tenant", OURS, "--reason", "a test call")
    assert discarded.status == 0
    until = datetime.now(UTC) + timedelta(days=30)
    assert discarded.out == f"{refused}: discarded; can be restored until {until:%Y-%m-%d}\n"
    assert terminal.type("list", "--json").document() == []
    shown = terminal.type("show", refused, "--tenant", OURS).out
    assert "discarded because: a test call" in shown
    assert f"restorable until: {until:%Y-%m-%d}" in shown
    assert "is discarded, not open" in terminal.refused("discard", refused, "--tenant", OURS, "--reason", "again")

    assert terminal.type("restore", refused, "--tenant", OURS).out == f"{refused}: open\n"
    assert ids(terminal.type("list", "--json").document()) == [refused]
    assert "is open, not discarded" in terminal.refused("restore", refused, "--tenant", OURS)
    actions = [entry[2] for entry in terminal.bench.audit() if entry[3] == refused]
    assert actions == ["dead_letter.discard", "dead_letter.restore"]


def test_notes_are_kept_in_the_timeline(terminal: DeskTerminal) -> None:
    (refused,) = given_up(terminal)
    for text in ("asked the vendor", "vendor mends it on Monday"):
        assert terminal.type("note", refused, text, "--tenant", OURS).out == f"{refused}: noted\n"

    shown = terminal.type("show", refused, "--tenant", OURS).out

    assert "note: vendor mends it on Monday" in shown
    assert "asked the vendor" in shown
    assert ids(terminal.type("list", "--json", "--text", "monday").document()) == [refused]


def test_editing_is_off_and_when_on_makes_a_linked_copy_with_ids_locked(
    terminal: DeskTerminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal.bench.fail("download", NOT_AUDIO, received(1))
    (original,) = ids(terminal.type("list", "--json").document())
    event = terminal.type("show", original, "--tenant", OURS, "--json").document()["event"]
    file = tmp_path / "event.json"
    file.write_text(json.dumps({**event, "payload": {**event["payload"], "duration": "31"}}))
    requeue = ("requeue", original, "--tenant", OURS, "--edit", str(file), "--wait", "30s")

    assert "editing of dead letters is off" in terminal.refused(*requeue)

    monkeypatch.setenv("PIPELINE_DEAD_LETTER_EDITING", "true")
    stolen = tmp_path / "stolen.json"
    stolen.write_text(json.dumps({**event, "tenant_id": THEIRS, "call_id": "CAL9"}))
    locked = terminal.refused("requeue", original, "--tenant", OURS, "--edit", str(stolen))
    assert "these fields cannot be edited: tenant_id, call_id" in locked
    assert "cannot read" in terminal.refused("requeue", original, "--tenant", OURS, "--edit", str(tmp_path / "none"))
    with terminal.workers():
        ran = terminal.type(*requeue)

    assert ran.status == 0, ran
    copy_id = ran.out.partition(":")[0]
    assert f"{copy_id}: edited copy of {original}" in ran.out
    assert (letter(terminal, copy_id).copy_of, letter(terminal, copy_id).state) == (original, "closed")
    assert letter(terminal, original).state == "discarded"
    assert json.loads(terminal.sent[0].delivery.data)["payload"]["duration"] == "31"


# -- files and the archive ---------------------------------------------------------------------------------------


def test_letters_go_to_a_file_for_one_reader_and_come_back_once(terminal: DeskTerminal, tmp_path: Path) -> None:
    given_up(terminal, 2)
    file = tmp_path / "letters.jsonl"

    exported = terminal.type("export", "--out", str(file), "--tenant", OURS)
    assert (exported.status, exported.out) == (0, "")
    assert "2 letters written" in exported.err
    assert file.stat().st_mode & 0o777 == 0o600
    lines = file.read_text().splitlines()
    assert [json.loads(line)["tenant_id"] for line in lines] == [OURS, OURS]
    assert terminal.type("export", "--reason", "no_such").out == ""

    terminal.bench.database.database.execute_partitioned_dml("DELETE FROM dead_letters WHERE true")
    assert terminal.type("import", str(file)).out == "2 inserted, 0 known before, 0 refused\n"
    assert terminal.type("import", str(file), "--json").document()["known"] == 2
    file.write_text("\n".join([*lines, "not json"]))
    refused = terminal.type("import", str(file))
    assert refused.status == 1
    assert "line 3: " in refused.err
    assert "cannot read" in terminal.refused("import", str(tmp_path / "none"))


def test_letters_of_one_tenant_cannot_be_imported_as_anothers(terminal: DeskTerminal, tmp_path: Path) -> None:
    """Neither under another tenant's name, nor with the name in the line exchanged: it is also inside the event."""
    (ours,) = given_up(terminal)
    (theirs,) = given_up(terminal, tenant_id=THEIRS, first=4)
    file = tmp_path / "letters.jsonl"
    terminal.type("export", "--out", str(file), "--tenant", OURS)
    terminal.bench.database.database.execute_partitioned_dml(f"DELETE FROM dead_letters WHERE tenant_id = '{OURS}'")
    (before,) = terminal.bench.database.rows(f"SELECT * FROM dead_letters WHERE tenant_id = '{THEIRS}'")
    line = json.loads(file.read_text())

    elsewhere = terminal.type("import", str(file), "--tenant", THEIRS)
    assert (elsewhere.status, elsewhere.out) == (1, "0 inserted, 0 known before, 1 refused\n")
    for changes in ({"tenant_id": THEIRS}, {"tenant_id": THEIRS, "dead_letter_id": theirs}):
        file.write_text(json.dumps({**line, **changes}))
        assert terminal.type("import", str(file)).status == 1, changes

    assert terminal.bench.database.rows("SELECT * FROM dead_letters") == [before]
    file.write_text(json.dumps(line))
    assert terminal.type("import", str(file)).out == "1 inserted, 0 known before, 0 refused\n"
    assert letter(terminal, ours).state == "open"


def test_drain_records_what_waited_in_the_archive_and_nothing_twice(
    terminal: DeskTerminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letter_archive, "_PULL_TIMEOUT_S", 1.0)
    publisher = PubSubPublisher(project_id="test-project", topic_prefix=terminal.prefix, timeout_s=5, window_ms=2)
    for number in (1, 2):
        event = received(number)
        data = event.model_dump_json().encode()
        original = Delivery("m", data, event.attributes(), "projects/p/subscriptions/download-call-received")
        why = GivenUp("download", "not_audio", "the link leads to a page", "check the link", attempts=1)
        publisher.publish(TOPIC, data, dead_letter_attributes(original, why))

    assert terminal.type("drain").out == "2 read, 2 recorded, 0 known before\n"
    assert terminal.type("drain", "--json").document() == {"read": 0, "recorded": 0, "known": 0}
    assert len(terminal.type("list", "--json", "--reason", "not_audio").document()) == 2


# -- mistakes ----------------------------------------------------------------------------------------------------


MISTAKES: tuple[tuple[tuple[str, ...], str], ...] = (
    (("list", "--sort", "prettiest"), "'prettiest' is no order"),
    (("list", "--state", "lost"), "no such state: lost"),
    (("list", "--older-than", "yesterday"), "'yesterday' is not a length of time"),
    (("list", "--limit", "0"), "--limit"),
    (("groups", "--newer-than", "3"), "write 90s, 5m, 2h or 3d"),
    (("list", "--tenant", "acme-plumbin"), "acme-plumbin"),
    (("groups", "--stage", "crm-sync"), "no stage is called crm-sync"),
    (("stats", "--tenant", "nobody"), "nobody"),
    (("export", "--tenant", "nobody"), "nobody"),
    (("replay", "--all", "--hold", "acme-plumbin"), "acme-plumbin"),
    (("replay", "--all", "--rate", "2000"), "--rate"),
    (("show", "d-none", "--tenant", OURS), f"tenant {OURS} has no dead letter d-none"),
    (("show", "d-none"), "--tenant"),
    (("replay",), "give ids, a filter, or --all"),
    (("replay", "d-none"), "ids need --tenant"),
    (("replay", "d-none", "--tenant", OURS), f"tenant {OURS} has no dead letter d-none"),
    (("replay", "--all", "--steps", "1,x"), "'1,x' are no steps"),
    (("replay", "--all", "--steps", "1,5", "--wait", "0s"), "--steps waits for outcomes"),
    (("replay", "--all", "--rate", "0"), "--rate"),
    (("replay", "--all", "--max-failures", "2"), "--max-failures"),
    (("replay", "--all", "--from-stage", "billing"), "no stage is called billing"),
    (("resume", "no-job"), "no replay no-job"),
    (("stop", "no-job"), "no replay no-job"),
    (("discard", "d-none", "--tenant", OURS), "--reason"),
    (("discard", "d-none", "--tenant", OURS, "--reason", "x"), "has no dead letter d-none"),
    (("note", "d-none", "text", "--tenant", OURS), "has no dead letter d-none"),
    (("requeue", "d-none", "--tenant", OURS), "--edit"),
)


def test_every_mistake_is_answered_clearly_and_changes_nothing(
    terminal: DeskTerminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    for arguments, said in MISTAKES:
        assert said in terminal.refused(*arguments), arguments
    monkeypatch.setenv("PIPELINE_TOPIC_PREFIX", "no-such-")
    assert "archive" in terminal.refused("drain")
    assert terminal.bench.audit() == []


def test_a_letter_of_another_tenant_cannot_be_reached(terminal: DeskTerminal) -> None:
    (theirs,) = given_up(terminal, tenant_id=THEIRS)
    for command in (("show",), ("replay",), ("discard", "--reason", "x"), ("restore",)):
        assert f"tenant {OURS} has no dead letter" in terminal.refused(*command, theirs, "--tenant", OURS)
    assert letter(terminal, theirs, THEIRS).state == "open"
