"""`pipeline why` and `pipeline calls` as they are typed, against Spanner and the inbox in Cloud Storage."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pytest
import typer
from google.cloud import spanner
from typer.testing import CliRunner

from handlers.cli import calls as calls_cli
from handlers.cli.why import why
from infra.local import gcs
from shared.errors import ConfigurationError, PermanentFailure, PipelineError, TenantBlocked, TransientFailure
from shared.gateways.migration_files import load_migrations
from shared.gateways.migration_journal import JOURNAL_DDL
from shared.gateways.objects import GcsObjectStore
from shared.gateways.schema_gap import schema_gap
from shared.inbox import Inbox
from tests.support.pipeline_database import OTHER_TENANT, PipelineDatabase
from tests.support.trouble import CALL, Trouble, finishing, raising

pytestmark = pytest.mark.emulators


@pytest.fixture
def trouble(pipeline_database: PipelineDatabase) -> Trouble:
    return Trouble(pipeline_database)


@dataclass
class Terminal:
    """Types commands against a database."""

    trouble: Trouble
    app: typer.Typer

    def run(self, *arguments: str) -> str:
        result = CliRunner().invoke(self.app, list(arguments))
        if isinstance(result.exception, PipelineError):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.stdout

    def document(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json"))


@pytest.fixture
def terminal(trouble: Trouble, gcs_server: str, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    app = typer.Typer()
    app.command()(why)
    app.add_typer(calls_cli.app, name="calls")
    database = trouble.database.database
    gcs.create_bucket(gcs_server, "why-audio", project_id="test-project")
    write_journal(trouble.database, [migration.version for migration in load_migrations()])
    for name, value in {
        "PIPELINE_ENVIRONMENT": "local",
        "GOOGLE_CLOUD_PROJECT": "test-project",
        "PIPELINE_SPANNER_INSTANCE": "test-instance",
        "PIPELINE_SPANNER_DATABASE": database.database_id,
        "PIPELINE_AUDIO_BUCKET": "why-audio",
        "STORAGE_EMULATOR_HOST": gcs_server,
    }.items():
        monkeypatch.setenv(name, value)
    return Terminal(trouble, app)


def test_the_command_says_where_why_when_and_what_to_type(terminal: Terminal) -> None:
    refused = PermanentFailure("salesforce_duplicates_detected", "Salesforce answered a write", fix="merge them")
    terminal.trouble.reach("crm_sync", raising(refused))
    terminal.trouble.record_letters()

    printed = terminal.run("why", CALL)

    assert f"call {CALL} of tenant acme-plumbing, request {terminal.trouble.request_id}" in printed
    assert "where: crm_sync, given up: dead letter d-" in printed
    assert "attempt: 1 of 20" in printed
    assert "salesforce_duplicates_detected" in printed
    assert "type: pipeline dead-letters replay d-" in printed
    assert max(map(len, printed.splitlines())) <= 130


def test_the_command_finds_a_request_by_its_id_with_and_without_the_tenant(terminal: Terminal) -> None:
    terminal.trouble.reach("crm_sync", finishing)
    request_id = terminal.trouble.request_id

    for arguments in ((request_id,), (request_id, "--tenant", "acme-plumbing")):
        answer = terminal.document("why", *arguments)
        assert (answer["situation"], answer["call_id"], answer["request_id"]) == ("done", CALL, request_id)


def test_the_command_looks_into_the_inbox(terminal: Terminal, gcs_server: str) -> None:
    event = terminal.trouble.webhook()
    name = Inbox(GcsObjectStore("why-audio", project_id="test-project", endpoint=gcs_server)).keep(event, {})

    answer = terminal.document("why", CALL, "--tenant", "acme-plumbing")

    assert answer["situation"] == "in_inbox"
    assert name in answer["where"]


def test_the_command_says_what_to_check_when_nobody_knows_the_call(terminal: Terminal) -> None:
    ours = terminal.document("why", "CALunheard", "--tenant", "acme-plumbing")
    nobodys = terminal.document("why", "CALunheard")
    strangers = terminal.document("why", "CALunheard", "--tenant", "no-such-tenant")

    assert {item["situation"] for item in (ours, nobodys, strangers)} == {"never_arrived"}
    assert any("backfill" in command for command in ours["commands"])
    assert nobodys["where"] == "nowhere: no tenant has this call or request"
    assert strangers["where"] == "nowhere: there is no such tenant"


def test_the_command_asks_which_tenant_is_meant(terminal: Terminal) -> None:
    terminal.trouble.reach("crm_sync", finishing)
    terminal.trouble.tenant = OTHER_TENANT
    terminal.trouble.reach("crm_sync", finishing)

    with pytest.raises(ConfigurationError, match="several_tenants"):
        terminal.run("why", CALL)


def test_the_command_still_answers_when_the_schema_is_behind(terminal: Terminal) -> None:
    """A worker of this release against the database of the last one: the question itself cannot be asked."""
    terminal.trouble.reach("crm_sync", finishing)
    database = terminal.trouble.database.database
    database.update_ddl(["ALTER TABLE stage_runs DROP COLUMN vendor"]).result(60)
    with database.batch() as batch:
        batch.delete("schema_migrations", spanner.KeySet(keys=[(4,)]))

    answer = terminal.document("why", CALL, "--tenant", "acme-plumbing")

    assert answer["situation"] == "schema_behind"
    assert "004_reliability.sql" in answer["because"]
    assert answer["commands"] == ["pipeline migrate"]


def test_the_schemas_gap_names_what_is_missing_and_what_is_unknown(pipeline_database: PipelineDatabase) -> None:
    write_journal(pipeline_database, [1, 99])

    gap = schema_gap(pipeline_database.open)

    assert "001_initial_schema.sql" not in gap.missing
    assert "002_tenant_isolation.sql" in gap.missing
    assert gap.unknown == ("099.sql",)


def write_journal(database: PipelineDatabase, versions: Iterable[int]) -> None:
    """What `pipeline migrate` notes of the migrations that this database was made with."""
    database.database.update_ddl([JOURNAL_DDL]).result(60)
    with database.database.batch() as batch:
        batch.insert(
            "schema_migrations",
            ("version", "name", "checksum", "state", "statements_done"),
            [(version, f"{version:03d}", "x", "applied", 1) for version in versions],
        )


# --- calls list and show -----------------------------------------------------------------------------------


def test_the_list_shows_states_scores_and_ages_and_nothing_personal(terminal: Terminal) -> None:
    personal: dict[str, Any] = {"customer_phone_number": "+13035550142", "customer_name": "Pat Example"}
    trouble = terminal.trouble
    trouble.deliver(trouble.webhook(call_id="CALblocked", **personal), raising(TenantBlocked("secret_empty", "empty")))
    trouble.reach("crm_sync", finishing, call_id="CALdone")
    refused = PermanentFailure("recording_refused", "x")
    trouble.deliver(trouble.webhook(call_id="CALfailed", **personal), raising(refused))
    trouble.record_letters()

    rows = {row["call_id"]: row for row in terminal.document("calls", "list", "--tenant", "acme-plumbing")}
    printed = terminal.run("calls", "list", "--tenant", "acme-plumbing") + terminal.run(
        "calls", "show", "CALfailed", "--tenant", "acme-plumbing"
    )

    states = {call_id: (row["state"], row["stage"]) for call_id, row in rows.items()}
    assert states == {
        "CALblocked": ("blocked", "download"),
        "CALdone": ("done", "crm_sync"),
        "CALfailed": ("failed", "download"),
    }
    assert "recording_refused" in printed
    for value in personal.values():
        assert value not in printed + json.dumps(rows)


def test_the_list_can_be_narrowed_to_a_state(terminal: Terminal) -> None:
    terminal.trouble.reach("crm_sync", finishing, call_id="CALdone")
    terminal.trouble.reach("crm_sync", raising(TransientFailure("hubspot_503", "503")), call_id="CALlate")

    rows = terminal.document("calls", "list", "--tenant", "acme-plumbing", "--state", "retrying")

    assert [row["call_id"] for row in rows] == ["CALlate"]


def test_show_tells_every_stage_and_what_the_crms_hold(terminal: Terminal) -> None:
    terminal.trouble.reach("crm_sync", finishing)

    document = terminal.document("calls", "show", CALL, "--tenant", "acme-plumbing")

    (request,) = document["requests"]
    assert [stage["stage"] for stage in request["stages"]] == ["download", "transcribe", "analyze", "crm_sync"]
    assert document["crms"][0]["record"] == "call 202"


def test_show_of_an_unknown_call_points_to_why(terminal: Terminal) -> None:
    with pytest.raises(ConfigurationError) as refused:
        terminal.run("calls", "show", "CALunheard", "--tenant", "acme-plumbing")
    assert refused.value.fix.startswith("pipeline why CALunheard")
