"""The local stack's plan: every part gets what it needs, and nothing of the caller's that it must not have."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pytest

from infra.local.emulators import Emulators
from infra.local.errors import StackError
from infra.local.plan import GRPC_STANDINS, HTTP_STANDINS, KEEPING_STANDINS, Plan, make_plan
from infra.local.processes import ServiceSpec
from infra.local.supervisor import parse_only
from infra.local.topics import DEAD_LETTERS_TOPIC, archive_request, subscription_request
from shared.pipeline import Pipeline, load_pipeline
from shared.settings import load_settings

EMULATORS = Emulators(java=Path("/opt/java"), pubsub_jar=Path("/opt/pubsub.jar"), spanner=Path("/opt/emulator_main"))


def plan_with(*, environ: Mapping[str, str] | None = None, only: Collection[str] | None = None) -> Plan:
    return make_plan(
        pipeline=load_pipeline(),
        emulators=EMULATORS,
        take_port=itertools.count(20_000).__next__,
        environ=environ or {},
        telemetry_dir=Path("/state/telemetry"),
        kept_dir=Path("/state/standins"),
        only=only,
    )


def service(plan: Plan, name: str) -> ServiceSpec:
    return next(spec for spec in plan.services if spec.name == name)


def workers(plan: Plan) -> dict[str, ServiceSpec]:
    return {spec.name: spec for spec in plan.services if spec.kind == "worker"}


def test_every_service_of_the_pipeline_is_a_worker_of_its_own() -> None:
    plan = plan_with()

    assert {name: spec.env["FUNCTION_TARGET"] for name, spec in workers(plan).items()} == {
        name: name for name in load_pipeline().services
    }


def test_no_two_services_share_a_port() -> None:
    plan = plan_with()

    ports = Counter(spec.address.rpartition(":")[2] for spec in plan.services)

    assert {port for port, uses in ports.items() if uses > 1} == set()


def test_a_worker_serves_where_its_subscriptions_push_to() -> None:
    plan = plan_with()

    for name, spec in workers(plan).items():
        assert plan.endpoints[name] == f"http://127.0.0.1:{spec.env['PORT']}"
        assert spec.env["PIPELINE_BIND_HOST"] == "127.0.0.1"


def test_workers_left_out_keep_an_address_for_the_engineer() -> None:
    plan = plan_with(only=["webhook", "download"])

    assert set(workers(plan)) == {"webhook", "download"}
    assert plan.external["analyze"] == plan.endpoints["analyze"] == plan.exports["ANALYZE_PUSH_ENDPOINT"]
    assert set(plan.external) == set(load_pipeline().services) - {"webhook", "download"}


def test_a_misspelt_worker_is_refused_with_the_right_names() -> None:
    with pytest.raises(StackError) as caught:
        plan_with(only=["downlaod"])

    assert "downlaod" in caught.value.detail
    assert "download" in caught.value.fix


def test_a_workers_environment_is_a_complete_local_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in plan_with().env.items():
        monkeypatch.setenv(name, value)

    settings = load_settings()

    assert settings.is_local
    assert settings.push_auth == "off"
    assert settings.operator_url == plan_with().exports["OPERATOR_URL"]
    assert [name for name, value in settings.local.model_dump().items() if not value] == []


def test_credentials_and_proxies_of_the_caller_reach_nobody() -> None:
    secret = {
        "GOOGLE_APPLICATION_CREDENTIALS": "/key.json",
        "HTTPS_PROXY": "http://proxy",
        "AWS_SECRET_ACCESS_KEY": "x",
    }

    plan = plan_with(environ=secret | {"PATH": "/bin"})

    for spec in plan.services:
        assert spec.env["PATH"] == "/bin"
        assert not set(secret) & set(spec.env), spec.name


def test_the_caller_can_tune_workers_but_not_point_them_elsewhere() -> None:
    plan = plan_with(environ={"PIPELINE_LOG_LEVEL": "DEBUG", "PIPELINE_ENVIRONMENT": "google"})

    assert workers(plan)["download"].env["PIPELINE_LOG_LEVEL"] == "DEBUG"
    assert workers(plan)["download"].env["PIPELINE_ENVIRONMENT"] == "local"


def test_storage_announces_transcripts_to_the_topic_that_transcribe_listens_to() -> None:
    command = service(plan_with(), "storage").command

    topic = command[command.index("-event.pubsub-topic") + 1]
    listened = {subscription.topic for subscription in load_pipeline().services["transcribe"].subscribes}

    assert topic in listened
    assert command[command.index("-event.object-prefix") + 1] == "transcripts/"
    assert service(plan_with(), "storage").env["PUBSUB_EMULATOR_HOST"] == service(plan_with(), "pubsub").address


def test_the_speech_stand_in_writes_to_the_local_storage() -> None:
    plan = plan_with()

    assert plan.storage_url in service(plan, "speech").command


def test_every_stand_in_but_the_one_with_nothing_to_keep_has_a_file_of_its_own_for_its_restarts() -> None:
    plan = plan_with()

    kept = {
        spec.name: spec.command[spec.command.index("--state") + 1]
        for spec in plan.services
        if "--state" in spec.command
    }

    assert kept == {name: f"/state/standins/{name}" for name in KEEPING_STANDINS}
    assert {*GRPC_STANDINS, *HTTP_STANDINS} - {*KEEPING_STANDINS} == {"vertex"}


def test_every_stand_in_is_part_of_the_stack() -> None:
    names = {spec.name for spec in plan_with().services if spec.kind == "stand-in"}

    assert names == {*HTTP_STANDINS, *GRPC_STANDINS}


def requests_of(pipeline: Pipeline, name: str, *, backoff_scale: float) -> list[object]:
    service_ = pipeline.services[name]
    return [
        subscription_request(
            project_id="p",
            service=service_,
            subscription=subscription,
            endpoint="http://127.0.0.1:1/",
            backoff_scale=backoff_scale,
        )
        for subscription in service_.subscribes
    ]


def test_local_retries_wait_a_tenth_of_productions_time() -> None:
    (request,) = requests_of(load_pipeline(), "download", backoff_scale=0.1)

    assert request.retry_policy.minimum_backoff.total_seconds() == 1  # type: ignore[attr-defined]  # proto-plus
    assert request.retry_policy.maximum_backoff.total_seconds() == 60  # type: ignore[attr-defined]  # proto-plus
    assert request.ack_deadline_seconds == 600  # type: ignore[attr-defined]  # proto-plus


def test_without_a_scale_there_is_no_retry_policy_to_slow_the_emulator_down() -> None:
    (request,) = requests_of(load_pipeline(), "download", backoff_scale=0)

    assert "retry_policy" not in request  # type: ignore[operator]  # proto-plus


def test_a_dead_letter_that_cannot_be_recorded_does_not_go_round_in_circles() -> None:
    pipeline = load_pipeline()

    (recorder,) = requests_of(pipeline, "dead_letter", backoff_scale=1)
    (stage,) = requests_of(pipeline, "analyze", backoff_scale=1)

    assert not recorder.dead_letter_policy.dead_letter_topic  # type: ignore[attr-defined]  # proto-plus
    assert stage.dead_letter_policy.dead_letter_topic == f"projects/p/topics/{DEAD_LETTERS_TOPIC}"  # type: ignore[attr-defined]  # proto-plus


def test_dead_letters_outlive_a_month_without_anybody_who_reads_them() -> None:
    pipeline = load_pipeline()
    archive = pipeline.archive_of(DEAD_LETTERS_TOPIC)
    assert archive is not None

    kept: Any = archive_request(project_id="p", archive=archive)  # proto-plus types say less than it does
    (recorder,) = requests_of(pipeline, "dead_letter", backoff_scale=1)

    typed: list[Any] = [kept, recorder]
    retention = [one.message_retention_duration for one in typed]
    assert [one.days for one in retention] == [7, 7], "the emulator takes no more; infra/pipeline.json says 31"
    assert kept.retain_acked_messages
    assert "expiration_policy" in kept, "left out, Pub/Sub deletes a subscription after 31 idle days"
    assert not kept.expiration_policy.ttl
    assert not kept.push_config.push_endpoint


def test_a_misspelt_worker_is_named_before_anything_starts() -> None:
    with pytest.raises(StackError, match="no such worker: analyse"):
        parse_only("transcribe, analyse")
