"""`pipeline tenant …` against the Spanner emulator and the Secret Manager stand-in."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from google.cloud.spanner_v1 import JsonObject
from google.cloud.spanner_v1.database import Database
from typer.testing import CliRunner

from handlers.cli.tenant import app
from infra.local.standins.secret_manager import serve_secret_manager
from shared.errors import ConfigurationError, PipelineError, TenantBlocked
from shared.gateways.migrations import ensure_emulator_database, migrate
from shared.gateways.secrets import SecretManagerSecrets

pytestmark = pytest.mark.emulators

_NUMBERS = itertools.count(1)
SECRET = "the-signing-key-that-callrail-shows"
GUIDE: dict[str, Any] = {
    "callrail_company_id": "12345",
    "webhook_secret": SECRET,
    "crm_config": {"hubspot_api_key_secret": "hubspot-api-key", "hubspot_portal_id": "12345678"},
    "ai_config": {"lead_scoring_threshold": 70},
}


@dataclass
class Terminal:
    """Runs the command and looks at what it left behind."""

    database: Database
    secrets: SecretManagerSecrets
    folder: Path

    def run(self, *arguments: str) -> str:
        result = CliRunner().invoke(app, list(arguments))
        if isinstance(result.exception, PipelineError):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.output

    def create(self, tenant_id: str = "demo-tenant-001", *more: str, **changes: Any) -> str:
        return self.run("create", "--config", self.file(**changes), "--tenant-id", tenant_id, *more)

    def file(self, **changes: Any) -> str:
        path = self.folder / f"tenant-{next(_NUMBERS)}.json"
        path.write_text(json.dumps({**GUIDE, **changes}))
        return str(path)

    def everything_stored(self) -> str:
        with self.database.snapshot(multi_use=True) as snapshot:
            tenants = list(snapshot.execute_sql("SELECT tenant_id, name, TO_JSON_STRING(config) FROM tenants"))
            audit = list(snapshot.execute_sql("SELECT actor, action, target, TO_JSON_STRING(detail) FROM audit_log"))
        return "\n".join(" ".join(row) for row in (*tenants, *audit))


@pytest.fixture
def terminal(spanner_emulator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    assert spanner_emulator
    name = f"tenant-cli-{os.getpid()}-{next(_NUMBERS)}"
    database = ensure_emulator_database("test-project", "test-instance", name)
    migrate(database, emulator=True, report=lambda _: None)
    with serve_secret_manager() as standin:
        monkeypatch.setenv("PIPELINE_ENVIRONMENT", "local")
        monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "test-project")
        monkeypatch.setenv("PIPELINE_SPANNER_INSTANCE", "test-instance")
        monkeypatch.setenv("PIPELINE_SPANNER_DATABASE", name)
        monkeypatch.setenv("PIPELINE_LOCAL_SECRET_MANAGER", standin.address)
        secrets = SecretManagerSecrets(project="test-project", local_address=standin.address)
        yield Terminal(database, secrets, tmp_path)
    database.drop()


def test_the_guides_tenant_is_created_and_its_secret_goes_to_secret_manager(terminal: Terminal) -> None:
    output = terminal.create("demo-tenant-001", "--name", "Demo Company LLC")

    assert "created tenant demo-tenant-001" in output
    assert "signing key: secret demo-tenant-001-webhook-secret (stored now)" in output
    assert "webhook address: /v1/callrail/webhook" in output
    assert terminal.secrets.read("demo-tenant-001-webhook-secret") == SECRET
    assert "cli:" in terminal.everything_stored()


def test_the_secret_appears_neither_in_the_database_nor_on_the_terminal(terminal: Terminal) -> None:
    printed = terminal.create()
    printed += terminal.run("show", "demo-tenant-001") + terminal.run("show", "demo-tenant-001", "--json")
    printed += terminal.run("list") + terminal.run("list", "--json")

    assert SECRET not in printed
    assert SECRET not in terminal.everything_stored()
    assert "demo-tenant-001-webhook-secret" in terminal.everything_stored()


def test_a_dry_run_checks_and_writes_nothing(terminal: Terminal) -> None:
    assert "would create tenant demo-tenant-001" in terminal.create("demo-tenant-001", "--dry-run")

    assert terminal.everything_stored() == ""
    with pytest.raises(TenantBlocked):
        terminal.secrets.read("demo-tenant-001-webhook-secret")


def test_a_dry_run_finds_conflicts_too(terminal: Terminal) -> None:
    terminal.create()

    with pytest.raises(ConfigurationError, match="company 12345 belongs to tenant demo-tenant-001"):
        terminal.create("second-tenant", "--dry-run")


def test_a_file_with_mistakes_writes_nothing_and_lists_them_all(terminal: Terminal) -> None:
    with pytest.raises(ConfigurationError) as caught:
        terminal.create(ai_config={"analysis_model": "gemini-pro", "lead_scoring_threshold": 700})

    assert "2 mistakes" in caught.value.detail
    assert "gemini-pro has been retired" in caught.value.detail
    assert terminal.everything_stored() == ""


def test_a_missing_file_is_named(terminal: Terminal) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot read .*nowhere\.json: No such file"):
        terminal.run("create", "--config", str(terminal.folder / "nowhere.json"), "--tenant-id", "demo-tenant-001")


def test_show_prints_the_whole_tenant_as_json(terminal: Terminal) -> None:
    terminal.create("demo-tenant-001", "--name", "Demo Company LLC")

    shown = json.loads(terminal.run("show", "demo-tenant-001", "--json"))

    assert shown["name"] == "Demo Company LLC"
    assert shown["status"] == "active"
    assert shown["integrations"] == [{"provider": "hubspot", "status": "active", "reason": ""}]
    assert shown["config"]["callrail_company_ids"] == ["12345"]
    assert shown["config"]["crm_config"]["hubspot"] == {"token_secret": "hubspot-api-key", "portal_id": "12345678"}


def test_list_shows_every_tenant_with_its_status(terminal: Terminal) -> None:
    terminal.create()
    terminal.create("other-dental", callrail_company_id="777")
    terminal.run("suspend", "other-dental")

    rows = json.loads(terminal.run("list", "--json"))

    assert [(row["tenant_id"], row["status"]) for row in rows] == [
        ("demo-tenant-001", "active"),
        ("other-dental", "suspended"),
    ]
    table = terminal.run("list")
    assert "other-dental" in table
    assert "suspended" in table


def test_suspend_and_resume_change_one_tenant_only(terminal: Terminal) -> None:
    terminal.create()
    terminal.create("other-dental", callrail_company_id="777")

    assert "is suspended" in terminal.run("suspend", "demo-tenant-001")
    assert json.loads(terminal.run("show", "demo-tenant-001", "--json"))["status"] == "suspended"
    assert json.loads(terminal.run("show", "other-dental", "--json"))["status"] == "active"
    terminal.run("resume", "demo-tenant-001")
    assert json.loads(terminal.run("show", "demo-tenant-001", "--json"))["status"] == "active"


def test_nothing_of_another_tenant_can_be_taken_over_by_a_file(terminal: Terminal) -> None:
    """Its company, its name, its address: refused in the open, and neither tenant, route nor secret has changed."""
    terminal.create()
    terminal.create("other-dental", callrail_company_id="777", webhook_secret="the-signing-key-of-the-other-one")
    before = terminal.everything_stored()

    for attempt in (
        ("create", "--config", terminal.file(), "--tenant-id", "third-tenant"),
        ("create", "--config", terminal.file(callrail_company_id="999"), "--tenant-id", "other-dental"),
        ("update", "other-dental", "--config", terminal.file()),
        ("update", "third-tenant", "--config", terminal.file(callrail_company_id="999")),
    ):
        with pytest.raises(ConfigurationError) as refusal:
            terminal.run(*attempt)
        assert SECRET not in f"{refusal.value} {refusal.value.detail} {refusal.value.fix}"
        assert terminal.everything_stored() == before, attempt
    address = os.environ["PIPELINE_LOCAL_SECRET_MANAGER"]
    now = SecretManagerSecrets(project="test-project", local_address=address)
    assert now.read("other-dental-webhook-secret") == "the-signing-key-of-the-other-one"
    with pytest.raises(TenantBlocked):
        now.read("third-tenant-webhook-secret")


def test_an_unreadable_configuration_is_named_and_can_be_written_anew(terminal: Terminal) -> None:
    terminal.create(name="Demo Plumbing")
    with terminal.database.batch() as batch:
        batch.update("tenants", ("tenant_id", "config"), [("demo-tenant-001", JsonObject({"from": "elsewhere"}))])
    with pytest.raises(TenantBlocked, match=r"callrail_company_ids.*pipeline tenant update"):
        terminal.run("show", "demo-tenant-001")

    terminal.run("update", "demo-tenant-001", "--config", terminal.file())

    shown = json.loads(terminal.run("show", "demo-tenant-001", "--json"))
    assert (shown["name"], shown["status"]) == ("Demo Plumbing", "active")
    assert shown["config"]["callrail_company_ids"] == ["12345"]


def test_update_replaces_the_configuration_and_adds_a_version_of_the_secret(terminal: Terminal) -> None:
    terminal.create("demo-tenant-001", "--name", "Demo Company LLC")
    path = terminal.file(webhook_secret="a-second-signing-key", crm_config={}, ai_config={"lead_scoring_threshold": 55})

    terminal.run("update", "demo-tenant-001", "--config", path, "--dry-run")
    assert terminal.secrets.reread("demo-tenant-001-webhook-secret") == SECRET
    terminal.run("update", "demo-tenant-001", "--config", path)

    shown = json.loads(terminal.run("show", "demo-tenant-001", "--json"))
    assert shown["name"] == "Demo Company LLC"
    assert shown["integrations"] == []
    assert shown["config"]["ai_config"]["lead_scoring_threshold"] == 55
    fresh = SecretManagerSecrets(project="test-project", local_address=os.environ["PIPELINE_LOCAL_SECRET_MANAGER"])
    assert fresh.read("demo-tenant-001-webhook-secret") == "a-second-signing-key"


@pytest.mark.parametrize("command", ["show", "suspend", "resume"])
def test_an_unknown_tenant_is_named(terminal: Terminal, command: str) -> None:
    with pytest.raises(ConfigurationError, match="there is no tenant nobody-here"):
        terminal.run(command, "nobody-here")


def test_the_guides_published_signing_key_is_refused_outside_a_local_stack(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = {"webhook_secret": "demo_webhook_secret_change_in_prod"}
    assert "created" in terminal.create(**published)
    monkeypatch.setenv("PIPELINE_ENVIRONMENT", "google")

    with pytest.raises(ConfigurationError, match="which anybody can read"):
        terminal.create("second-tenant", callrail_company_id="777", **published)


def test_a_signing_key_is_replaced_with_both_in_use_meanwhile_and_never_shown(
    terminal: Terminal, tmp_path: Path
) -> None:
    terminal.create()
    new_key = "the-new-signing-key-that-callrail-shows"
    (tmp_path / "key").write_text(new_key + "\n")

    begun = terminal.run("rotate-secret", "demo-tenant-001", "--key-file", str(tmp_path / "key"))
    old, new = json.loads(terminal.run("show", "demo-tenant-001", "--json"))["config"]["webhook_secret_names"]
    with pytest.raises(ConfigurationError, match="two signing keys"):
        terminal.run("rotate-secret", "demo-tenant-001", "--key-file", str(tmp_path / "key"))
    ended = terminal.run("rotate-secret", "demo-tenant-001", "--finish")

    assert (terminal.secrets.read(old), terminal.secrets.read(new)) == (SECRET, new_key)
    assert json.loads(terminal.run("show", "demo-tenant-001", "--json"))["config"]["webhook_secret_names"] == [new]
    assert f"secret {old} is out of use" in ended
    assert new_key not in begun + ended + terminal.everything_stored()


def test_a_weak_or_missing_new_key_changes_nothing(terminal: Terminal, tmp_path: Path) -> None:
    terminal.create()
    (tmp_path / "key").write_text("short")

    for path in (tmp_path / "key", tmp_path / "absent"):
        with pytest.raises(ConfigurationError):
            terminal.run("rotate-secret", "demo-tenant-001", "--key-file", str(path))

    names = json.loads(terminal.run("show", "demo-tenant-001", "--json"))["config"]["webhook_secret_names"]
    assert names == ["demo-tenant-001-webhook-secret"]
