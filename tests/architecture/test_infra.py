"""Infrastructure: the real Terraform checks it against the provider's schema, plans production, and makes it all.

The provider is a stand-in that speaks the real one's protocol and knows its schema (`tests/support`).
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path

import pytest

from handlers import wiring
from handlers.cli import environments
from shared.pipeline import load_pipeline
from shared.settings import load_settings
from tests.architecture.wiring_roles import roles_of
from tests.support.production_plan import Resources, of_type
from tests.support.provider_schema import ROOT, SNAPSHOT, TERRAFORM, types_used
from tests.support.terraform import copy_of
from tests.support.terraform_provider import PROJECT_NUMBER

SERVICES = load_pipeline().services


# --- it is right Terraform -------------------------------------------------------------------------------------------


# dev is applied and prod planned below, which begins with the same check.
@pytest.mark.parametrize("folder", ["environments/staging", "bootstrap"])
def test_terraform_accepts_it_with_the_providers_own_schema(
    folder: str, provider: dict[str, str], tmp_path: Path
) -> None:
    copy_of(tmp_path, folder=folder, env=provider).initialised().run("validate", "-no-color")


def test_terraform_refuses_what_the_provider_does_not_know(provider: dict[str, str], tmp_path: Path) -> None:
    """The check above can fail: a made-up argument, a missing one, a reference to nothing."""
    workspace = copy_of(tmp_path, folder="bootstrap", env=provider).initialised()
    topic = 'resource "google_pubsub_topic" "a" {\n  name = "a"\n%s\n}\n'
    wrong = {
        topic % "  invented = true": 'argument named "invented"',
        'resource "google_storage_bucket" "b" {\n  name = "b"\n}\n': 'argument "location" is required',
        topic % "  project = google_kms_key_ring.state.no_such": 'attribute named "no_such"',
    }
    for text, complaint in wrong.items():
        (workspace.folder / "wrong.tf").write_text(text)
        done = workspace.attempt("validate", "-no-color")
        assert done.returncode == 1
        assert complaint in " ".join((done.stdout + done.stderr).split())


def test_the_schema_is_of_the_pinned_provider_and_has_every_type() -> None:
    snapshot = json.loads(SNAPSHOT.read_text())
    pins = {pin for path in TERRAFORM.rglob("main.tf") for pin in re.findall(r'version = "([\d.]+)"', path.read_text())}

    assert pins == {snapshot["version"]}
    assert [set(snapshot["resources"]), set(snapshot["data_sources"])] == [set(names) for names in types_used()]


def test_files_are_formatted(provider: dict[str, str], tmp_path: Path) -> None:
    workspace = copy_of(tmp_path, folder="environments/dev", env=provider)
    (workspace.folder / "state_override.tf").unlink()

    assert workspace.attempt("fmt", "-check", "-recursive", "../..").stdout == ""


def test_every_skipped_check_of_checkov_says_why() -> None:
    lines = [line for path in TERRAFORM.rglob("*.tf") for line in path.read_text().splitlines() if "checkov:" in line]

    assert lines
    assert [line for line in lines if not re.search(r"checkov:skip=CKV2?_GCP_\d+:\w+(\W+\w+){2,}", line)] == []


# --- what is made ----------------------------------------------------------------------------------------------------


def test_each_service_is_deployed_as_the_pipeline_says(planned: Resources) -> None:
    deployed = of_type(planned, "google_cloud_run_v2_service")

    assert set(deployed) == set(SERVICES)
    for name, service in SERVICES.items():
        (template,) = deployed[name]["template"]
        (container,) = template["containers"]
        assert container["resources"][0]["limits"] == {"cpu": str(service.cpu), "memory": service.memory}
        assert container["resources"][0]["startup_cpu_boost"] is True
        assert template["execution_environment"] == "EXECUTION_ENVIRONMENT_GEN2"
        assert template["max_instance_request_concurrency"] == service.concurrency
        assert template["timeout"] == f"{service.timeout_s}s"
        assert not service.subscribes or service.timeout_s > service.ack_deadline_s
        scaling = template["scaling"][0]
        assert (scaling["min_instance_count"], scaling["max_instance_count"]) == (
            service.min_instances,
            service.max_instances,
        )
        for probe in ("startup_probe", "liveness_probe"):
            assert container[probe][0]["http_get"][0]["path"] == "/livez"


def test_its_variables_are_settings_and_the_service_starts_with_them(
    planned: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, service in of_type(planned, "google_cloud_run_v2_service").items():
        variables = {item["name"]: item.get("value") for item in service["template"][0]["containers"][0]["env"]}
        assert variables.pop("FUNCTION_TARGET") == name
        assert set(variables) <= environments.known_settings()
        with monkeypatch.context() as patch:
            patch.setenv("K_SERVICE", name)
            for variable, value in variables.items():
                # Accounts and keys are known after an apply only.
                patch.setenv(variable, value or "known-later")
            if SERVICES[name].role != "receiver":
                patch.setenv("PIPELINE_PUSH_SERVICE_ACCOUNT", variables["PIPELINE_PUSH_SERVICE_ACCOUNT"] or "later")
                wiring.push_verifier(load_settings())
            else:
                assert load_settings().operator_url.startswith("https://pipeline-operator-")


def test_each_subscription_pushes_as_the_pipeline_says(planned: Resources) -> None:
    made = of_type(planned, "google_pubsub_subscription")
    for name, service in SERVICES.items():
        url = f"https://pipeline-{name.replace('_', '-')}-{PROJECT_NUMBER}.us-central1.run.app"
        for item in service.subscribes:
            found = made[item.subscription]
            assert found["ack_deadline_seconds"] == service.ack_deadline_s
            assert found["push_config"][0]["push_endpoint"] == url
            assert found["push_config"][0]["oidc_token"][0]["audience"] == url
            assert found["retry_policy"][0] == {
                "minimum_backoff": f"{service.min_backoff_s:g}s",
                "maximum_backoff": f"{service.max_backoff_s:g}s",
            }
            assert found["expiration_policy"] == [{"ttl": ""}]
            attempts = [policy["max_delivery_attempts"] for policy in found["dead_letter_policy"]]
            assert attempts == ([] if item.topic == "dead-letters" else [service.max_delivery_attempts])
    assert {f"{archive.subscription}" for archive in load_pipeline().archives} <= set(made)
    assert set(of_type(planned, "google_pubsub_topic")) == {*load_pipeline().topics, "secret_rotation"}


def test_what_production_holds_is_guarded(planned: Resources) -> None:
    (database,) = of_type(planned, "google_spanner_database").values()
    assert database["enable_drop_protection"]
    assert database["deletion_protection"]
    assert database["version_retention_period"] == "7d"
    (schedule,) = of_type(planned, "google_spanner_backup_schedule").values()
    assert (schedule["spec"][0]["cron_spec"][0]["text"], schedule["retention_duration"]) == ("0 2 * * *", "2592000s")
    buckets = of_type(planned, "google_storage_bucket")
    assert all(
        bucket["uniform_bucket_level_access"] and bucket["public_access_prevention"] == "enforced"
        for bucket in buckets.values()
    )
    assert buckets["audit"]["retention_policy"][0]["is_locked"] is True
    rules = [rule["condition"][0] for rule in buckets["audio"]["lifecycle_rule"]]
    assert any(rule["days_since_custom_time"] == 1 for rule in rules)
    paths = planned["module.edge.google_compute_url_map.pipeline"]["path_matcher"][0]["path_rule"][0]["paths"]
    assert sorted(paths) == ["/v1/callrail/*", "/v1/health"]


# --- who may do what -------------------------------------------------------------------------------------------------


def granted(planned: Resources) -> dict[str, set[str]]:
    """Service → the roles it gets, wherever they lie."""
    found: dict[str, set[str]] = defaultdict(set)
    for address, values in planned.items():
        match = re.search(
            r'_iam_member\.(service|role|fine_grained|publisher|secrets|opener|health)(?:\["(.+)"\])?$', address
        )
        if match:
            found[(match[2] or "webhook").split("/")[0]].add(values["role"])
    return found


def test_a_service_holds_the_roles_of_its_gateways_and_no_others(planned: Resources) -> None:
    always = {
        "roles/cloudtrace.agent",
        "roles/logging.logWriter",
        "roles/monitoring.metricWriter",
        "roles/telemetry.writer",
        "roles/spanner.fineGrainedAccessUser",
    }
    health = {"roles/pubsub.viewer"}
    for name, roles in granted(planned).items():
        assert roles - always - (health if name == "webhook" else set()) == roles_of(name), name


def test_a_service_opens_the_database_in_its_own_role_only(planned: Resources) -> None:
    roles = set(re.findall(r"CREATE ROLE (\w+)", (ROOT / "sql" / "002_tenant_isolation.sql").read_text()))
    assert roles == set(SERVICES)
    for name in SERVICES:
        grant = planned[f'module.runtime.google_spanner_database_iam_member.role["{name}"]']
        assert grant["condition"][0]["expression"].endswith(f'resource.name.endsWith("/databaseRoles/{name}")')


def test_a_service_publishes_what_the_pipeline_says(planned: Resources) -> None:
    grants = {key for key, _ in of_type(planned, "google_pubsub_topic_iam_member").items() if "/" in key}
    assert {f"{name}/{topic}" for name, service in SERVICES.items() for topic in service.publishes} <= grants
    assert all(key.split("/")[1] in (*SERVICES[key.split("/")[0]].publishes, "dead-letters") for key in grants)


# --- made, at the stand-in -------------------------------------------------------------------------------------------


def test_from_nothing_to_a_command_line_that_knows_the_environment(
    provider: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = copy_of(tmp_path, folder="environments/dev", env=provider).initialised()
    outputs = workspace.applied({"project_id": "example-dev", "domain": "calls-dev.example.com"})
    file = tmp_path / "dev.json"
    file.write_text(json.dumps(outputs))
    monkeypatch.setenv("PIPELINE_ENV_FILE", str(file))
    for variable in outputs["pipeline_environment"]["value"]["settings"]:
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)
    for variable in ("SPANNER_EMULATOR_HOST", "PUBSUB_EMULATOR_HOST", "STORAGE_EMULATOR_HOST"):
        monkeypatch.delenv(variable, raising=False)

    environments.use("dev")

    settings = load_settings()
    assert (settings.project_id, settings.spanner_instance) == ("example-dev", "pipeline-dev")
    assert settings.bucket == "example-dev-audio-files"

    # And back, as docs/operations/infrastructure.md says: the keys refuse until they are left behind.
    refused = workspace.attempt("plan", "-destroy", "-refresh=false", "-input=false", "-no-color")
    assert refused.returncode == 1
    assert "lifecycle.prevent_destroy" in refused.stdout + refused.stderr
    page = (ROOT / "docs" / "operations" / "infrastructure.md").read_text(encoding="utf-8")
    keys = re.findall(r"^terraform state rm (module\S+ module\S+)$", page, re.MULTILINE)
    workspace.run("state", "rm", *keys[0].split())
    workspace.run("destroy", "-refresh=false", "-input=false", "-auto-approve", "-no-color", "-parallelism=20")
    assert workspace.run("state", "list").split() == []


def test_the_table_of_roles_is_what_is_granted(planned: Resources) -> None:
    text = (ROOT / "docs" / "operations" / "infrastructure.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (`[a-z]+\.[^|]*) \| ([^|]{15,}) \|$", text, re.MULTILINE)
    everywhere = {
        "roles/cloudtrace.agent",
        "roles/logging.logWriter",
        "roles/monitoring.metricWriter",
        "roles/telemetry.writer",
    }

    assert {name: {f"roles/{role}" for role in re.findall(r"`([^`]+)`", roles)} for name, roles, _ in rows} == {
        name: roles - everywhere for name, roles in granted(planned).items()
    }
