"""What each row of the production guide promises, as values that Terraform has planned for production."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from infra.cost.tables import sizes
from shared.pipeline import PIPELINE_FILE, load_pipeline
from tests.support.guide_promises import PROMISES
from tests.support.production_plan import EVERYTHING, Resources, of_type
from tests.support.provider_schema import TERRAFORM

MONITORING = PIPELINE_FILE.parent / "monitoring"


def only(planned: Resources, kind: str) -> dict[str, Any]:
    """The one resource of a type."""
    (values,) = of_type(planned, kind).values()
    return values


def at(values: Any, path: str) -> Any:
    """`a.0.b` → values["a"][0]["b"]."""
    for part in path.split("."):
        values = values[int(part)] if isinstance(values, list) else values[part]
    return values


def _planned_key(planned: Resources, kind: str, name: str) -> dict[str, Any]:
    found = [
        values
        for address, values in planned.items()
        if f"{kind}.{name}" in (address[address.find(kind) :], address[address.find(kind) :].removesuffix("[0]"))
    ]
    return found[0] if found else of_type(planned, kind)[name]


@pytest.mark.parametrize(("kind", "name", "promised"), PROMISES, ids=[f"{kind}.{name}" for kind, name, _ in PROMISES])
def test_production_is_planned_as_promised(planned: Resources, kind: str, name: str, promised: dict[str, Any]) -> None:
    values = _planned_key(planned, kind, name)

    assert {path: at(values, path) for path in promised} == promised


def test_the_apis_are_those_that_exist_and_are_used(planned: Resources) -> None:
    apis = set(of_type(planned, "google_project_service"))
    used = {
        "run", "spanner", "pubsub", "storage", "secretmanager", "cloudkms", "speech", "aiplatform", "cloudscheduler",
        "iam", "artifactregistry", "cloudbuild", "logging", "monitoring", "cloudtrace", "telemetry", "compute",
    }  # fmt: skip

    assert {f"{name}.googleapis.com" for name in used} <= apis
    assert not apis & {f"{name}.googleapis.com" for name in ("cloudrun", "ml", "clouddebugger", "containerregistry")}
    assert not any(item["disable_on_destroy"] for item in of_type(planned, "google_project_service").values())


def test_erased_recordings_are_gone_and_old_ones_get_cheaper(planned: Resources) -> None:
    bucket = of_type(planned, "google_storage_bucket")["audio"]
    rules = [(rule["action"][0]["type"], rule["condition"][0]) for rule in bucket["lifecycle_rule"]]

    assert (bucket["versioning"][0]["enabled"], bucket["soft_delete_policy"][0]["retention_duration_seconds"]) == (
        False,
        0,
    )
    assert [(kind, rule["age"]) for kind, rule in rules if kind == "SetStorageClass"] == [("SetStorageClass", 30)]
    assert {(*rule["matches_prefix"], rule["age"]) for kind, rule in rules if kind == "Delete" and rule["age"]} == {
        ("recordings/", 3650),
        ("transcripts/", 35),
        ("inbox/", 35),
    }


def test_cloud_armor_limits_each_address_and_lets_only_callrails_ranges_post(planned: Resources) -> None:
    rules = {rule["priority"]: rule for rule in only(planned, "google_compute_security_policy")["rule"]}

    assert {priority: rule["action"] for priority, rule in rules.items()} == {
        900: "deny(403)",
        950: "deny(403)",
        1000: "throttle",
        2147483647: "allow",
    }
    (limit,) = rules[1000]["rate_limit_options"]
    assert (limit["enforce_on_key"], limit["exceed_action"]) == ("IP", "deny(429)")
    assert limit["rate_limit_threshold"] == [{"count": 12000, "interval_sec": 60}]
    (fence,) = rules[900]["match"][0]["expr"]
    assert "!inIpRange(origin.ip, '192.0.2.0/24')" in fence["expression"]


def test_secrets_are_named_rotated_and_hold_no_value(planned: Resources) -> None:
    secrets = of_type(planned, "google_secret_manager_secret")
    (tenant,) = EVERYTHING["tenants"]

    assert set(secrets) == {
        *("callrail-api-key", "hubspot-api-key", "salesforce-credentials"),
        *(
            f"{tenant}-{kind}"
            for kind in ("webhook-secret", "callrail-api-key", "hubspot-token", "salesforce-credentials")
        ),
    }
    assert {item["rotation"][0]["rotation_period"] for item in secrets.values()} == {f"{90 * 86400}s"}
    assert of_type(planned, "google_secret_manager_secret_version") == {}


def test_what_production_holds_refuses_to_be_deleted(planned: Resources) -> None:
    """`terraform destroy` of production: every resource that knows a protection has it."""
    unguarded = [
        address
        for address, values in planned.items()
        if values and (values.get("deletion_protection") is False or values.get("force_destroy") is True)
    ]

    assert sorted(unguarded) == [
        "module.edge.google_storage_bucket.nothing",
        "module.runtime.google_storage_bucket.build_sources",
    ]
    assert len(of_type(planned, "google_cloud_run_v2_service")) == len(load_pipeline().services)


def test_the_schedule_sweeps_backfills_and_rotates(planned: Resources) -> None:
    jobs = of_type(planned, "google_cloud_scheduler_job")

    assert {name: job["schedule"] for name, job in jobs.items()} == {
        "sweep": "*/5 * * * *",
        "backfill": "0 4 * * *",
        "rotate_keys": "0 3 1 */3 *",
    }
    commands = of_type(planned, "google_cloud_run_v2_job")
    assert {name: job["template"][0]["template"][0]["containers"][0]["args"] for name, job in commands.items()} == {
        "migrate": ["migrate"],
        "rotate-keys": ["keys", "rotate", "--all"],
    }


def test_cloud_storage_tells_of_transcripts_only(planned: Resources) -> None:
    notification = only(planned, "google_storage_notification")

    assert (notification["event_types"], notification["object_name_prefix"]) == (["OBJECT_FINALIZE"], "transcripts/")


def test_access_to_secrets_and_keys_is_logged(planned: Resources) -> None:
    audited = {
        name: {item["log_type"] for item in values["audit_log_config"]}
        for name, values in of_type(planned, "google_project_iam_audit_config").items()
    }

    for name in ("secretmanager.googleapis.com", "cloudkms.googleapis.com"):
        assert audited[name] == {"ADMIN_READ", "DATA_READ", "DATA_WRITE"}
    assert (
        'log_id("cloudaudit.googleapis.com/data_access")'
        in _planned_key(planned, "google_logging_project_sink", "audit")["filter"]
    )


def _items(file: str, kind: str) -> Iterator[dict[str, Any]]:
    yield from json.loads((MONITORING / file).read_text(encoding="utf-8"))[kind]


def test_alert_policies_and_objectives_are_planned_with_their_thresholds(planned: Resources) -> None:
    alerts = of_type(planned, "google_monitoring_alert_policy")
    for item in _items("alerts.json", "alerts"):
        condition = alerts[item["id"]]["conditions"][0]["condition_prometheus_query_language"][0]
        assert (condition["query"], condition["duration"]) == (item["query"], f"{item['duration_s']}s")
    slos = of_type(planned, "google_monitoring_slo")
    assert {name: slo["goal"] for name, slo in slos.items()} == {
        "webhook_latency": 0.995,
        "webhook_availability": 0.99,
        "call_to_crm": 0.99,
    }
    assert {slo["rolling_period_days"] for slo in slos.values()} == {30}
    cuts = {
        name: slo["request_based_sli"][0]["distribution_cut"][0]["range"][0]["max"]
        for name, slo in slos.items()
        if slo["request_based_sli"][0]["distribution_cut"]
    }
    assert cuts == {"webhook_latency": 2000, "call_to_crm": 600}
    burns = {
        alerts[f"{name}-{window}"]["conditions"][0]["condition_threshold"][0]["threshold_value"]
        for name in slos
        for window in (3600, 21600)
    }
    assert burns == {14.4, 6}


def test_metrics_that_the_alerts_use_are_planned(planned: Resources) -> None:
    assert set(of_type(planned, "google_logging_metric")) == {
        item["name"] for item in _items("metrics.json", "log_based")
    }


def test_a_release_reads_its_own_sources_and_no_recording(planned: Resources) -> None:
    """`roles/cloudbuild.builds.builder` on the project would open every bucket."""
    roles = {
        values["role"]
        for address, values in planned.items()
        if address.startswith("module.runtime.google_project_iam_member.build[")
    }

    assert "roles/run.developer" in roles
    assert not {role for role in roles if "storage" in role or "cloudbuild" in role}
    assert planned["module.runtime.google_storage_bucket_iam_member.build_sources"]["role"] == (
        "roles/storage.objectViewer"
    )


def test_the_small_installation_of_the_bill_is_what_production_is_by_default(planned: Resources) -> None:
    small = sizes()["small"]
    services = of_type(planned, "google_cloud_run_v2_service")
    kept = {name: service["template"][0]["scaling"][0]["min_instance_count"] for name, service in services.items()}
    variables = {
        item["name"]: item.get("value") for item in services["transcribe"]["template"][0]["containers"][0]["env"]
    }

    assert only(planned, "google_spanner_instance")["processing_units"] == small.spanner_processing_units
    assert kept.pop("webhook") == small.webhook_min_instances
    assert set(kept.values()) == {small.stage_min_instances}
    assert only(planned, "google_spanner_backup_schedule")["retention_duration"] == f"{small.backup_days * 86400}s"
    # Without CallRail's ranges, which are a rule more that nobody has by default; the default rule is not charged.
    rules = only(planned, "google_compute_security_policy")["rule"]
    assert len([rule for rule in rules if rule["priority"] not in (900, 2147483647)]) == small.armor_rules
    assert variables.get("PIPELINE_SPEECH_DYNAMIC_BATCH", "false") == str(small.speech_dynamic_batch).lower()


@pytest.mark.parametrize("environment", ["dev", "staging", "prod"])
def test_every_environment_takes_settings(environment: str) -> None:
    text = (TERRAFORM / "environments" / environment / "main.tf").read_text(encoding="utf-8")

    assert " = var.settings\n" in text


def test_a_release_names_revisions_which_an_apply_must_not_send_again() -> None:
    """With the name ignored, the provider sends it back with the next change, and Cloud Run answers 409."""
    text = (TERRAFORM / "modules" / "runtime" / "services.tf").read_text(encoding="utf-8")

    assert "template[0].revision" not in text


def test_the_states_bucket_is_versioned_private_and_encrypted() -> None:
    """Read, not planned: it is planned by nobody but its own folder, and a plan costs seconds."""
    (bucket,) = re.findall(
        r'resource "google_storage_bucket" "state" \{(.*?)\n\}\n',
        (TERRAFORM / "bootstrap" / "main.tf").read_text(encoding="utf-8"),
        re.DOTALL,
    )

    assert re.search(r"versioning \{\s+enabled = true", bucket)
    assert re.search(r'public_access_prevention\s+= "enforced"', bucket)
    assert "default_kms_key_name = google_kms_crypto_key.state.id" in bucket


def test_no_variable_and_no_output_of_a_module_is_left_unused() -> None:
    everything = "\n".join(path.read_text(encoding="utf-8") for path in TERRAFORM.rglob("*.tf"))
    unused = []
    for folder in sorted({path.parent for path in TERRAFORM.rglob("*.tf")}):
        text = "\n".join(path.read_text(encoding="utf-8") for path in folder.glob("*.tf"))
        names = re.findall(r'^variable "(\w+)"', text, re.MULTILINE)
        unused += [f"{folder.name}: var.{name}" for name in names if not re.search(rf"\bvar\.{name}\b", text)]
        if folder.parent.name == "modules":
            outputs = re.findall(r'^output "(\w+)"', text, re.MULTILINE)
            unused += [
                f"module.{folder.name}.{name}" for name in outputs if f"module.{folder.name}.{name}" not in everything
            ]

    assert unused == []
