"""The scripts of infra/scripts against a gcloud that writes down what it is told, and an HTTP server that answers."""

from __future__ import annotations

import json
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.local.plan import PROJECT_ROOT
from shared.pipeline import load_pipeline
from tests.support.gcloud import SCRIPTS, FakeGcloud, gcloud_fault
from tests.support.waiting import eventually

PLACE = ("--project", "demo-project", "--region", "us-central1")
IMAGE = "us-central1-docker.pkg.dev/demo-project/pipeline/pipeline@sha256:" + "a" * 64
SERVICES = [f"pipeline-{name.replace('_', '-')}" for name in load_pipeline().services]
RELEASE = ("--release", "r-new", "--previous", "previous.txt")
WELL = {"/v1/health": (200, "{}"), "/v1/callrail/webhook": (401, "{}")}
SHIFT = (*PLACE, *RELEASE, "--watch-s", "0")


def described(*, url: str = "https://receiver.example.com", ready: str = "True") -> str:
    """What gcloud says of a service that serves `…-r-old` and has a candidate."""
    traffic = [
        {"revisionName": "@4@-r-old", "percent": 100},
        {"revisionName": "@4@-r-new", "tag": "candidate", "url": url},
    ]
    conditions = [{"type": "Ready", "status": ready}]
    # Escaped slashes are JSON too, and leave sed's delimiter alone.
    return json.dumps({"status": {"url": url, "conditions": conditions, "traffic": traffic}})


@pytest.fixture
def gcloud(tmp_path: Path) -> FakeGcloud:
    """A project in which everything is well."""
    fake = FakeGcloud(tmp_path)
    fake.answers = {
        "run services describe*--format=json*": described(),
        "run services describe*": "True",
        "auth print-access-token": "token",
    }
    return fake


class Site:
    """Canned answers by path; 404 for every other one."""

    def __init__(self, answers: dict[str, tuple[int, str]]) -> None:
        self.answers = answers
        self.bodies: list[str] = []


@contextmanager
def served(answers: dict[str, tuple[int, str]]) -> Iterator[tuple[str, Site]]:
    """A site on the loopback interface, and its address."""
    site = Site(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            site.bodies.append(self.rfile.read(size).decode())
            status, text = site.answers.get(self.path, (404, ""))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        do_POST = do_GET  # noqa: N815 - the base class asks for this name

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", site
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def monitoring(*counts: tuple[str, str, float]) -> Iterator[str]:
    """Cloud Monitoring's query API that has counted (service, status, requests)."""
    result = [
        {"metric": {"service_name": service, "response_code": code}, "value": [0, str(count)]}
        for service, code, count in counts
    ]
    document = json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}})
    path = "/v1/projects/demo-project/location/global/prometheus/api/v1/query"
    with served({path: (200, document)}) as (url, site):
        yield url
    assert all("revision_name" in body for body in site.bodies)


def moves(gcloud: FakeGcloud) -> list[tuple[str, str]]:
    """(service, revisions) of every change of traffic."""
    found = [re.match(r"run services update-traffic (\S+) --to-revisions (\S+)", call) for call in gcloud.calls()]
    return [(match[1], match[2]) for match in found if match]


def previous_of(gcloud: FakeGcloud) -> None:
    (gcloud.folder / "previous.txt").write_text("".join(f"{name} {name}-r-old\n" for name in SERVICES))


def knows_every_call(gcloud: FakeGcloud) -> bool:
    faults = {call: fault for call in gcloud.calls() if (fault := gcloud_fault(call))}
    assert faults == {}
    return bool(gcloud.calls())


# --- deploy and migrate -----------------------------------------------------------------------------------


def test_a_deployment_touches_no_traffic_and_writes_down_what_serves(gcloud: FakeGcloud) -> None:
    ended = gcloud.script("deploy.sh", *PLACE, *RELEASE, "--image", IMAGE)

    assert ended.returncode == 0, ended.stderr
    updates = [call for call in gcloud.calls() if call.startswith("run services update ")]
    assert [call.split()[3] for call in updates] == SERVICES
    assert all("--no-traffic" in call and IMAGE in call and "--revision-suffix r-new" in call for call in updates)
    assert (gcloud.folder / "previous.txt").read_text().split("\n")[0] == f"{SERVICES[0]} {SERVICES[0]}-r-old"
    assert knows_every_call(gcloud)


def test_nothing_is_deployed_while_a_service_serves_nothing(gcloud: FakeGcloud) -> None:
    gcloud.answers = {"run services describe pipeline-operator*": '{"status": {}}', **gcloud.answers}

    ended = gcloud.script("deploy.sh", *PLACE, *RELEASE, "--image", IMAGE)

    assert ended.returncode == 2
    assert "pipeline-operator" in ended.stderr
    assert [call for call in gcloud.calls() if " update " in call] == []


def test_a_migration_runs_the_new_image_and_waits(gcloud: FakeGcloud) -> None:
    assert gcloud.script("migrate.sh", *PLACE, "--image", IMAGE).returncode == 0

    first, second = gcloud.calls()
    assert f"--image {IMAGE}" in first
    assert "pipeline-migrate --wait" in second
    assert knows_every_call(gcloud)


def test_a_failed_migration_fails_the_step(gcloud: FakeGcloud) -> None:
    gcloud.failing = {"run jobs execute*"}

    assert gcloud.script("migrate.sh", *PLACE, "--image", IMAGE).returncode != 0


# --- shifting traffic -------------------------------------------------------------------------------------


def test_traffic_moves_in_steps_while_the_release_behaves(gcloud: FakeGcloud) -> None:
    previous_of(gcloud)
    with monitoring(("pipeline-webhook", "202", 5000), ("pipeline-webhook", "500", 4)) as api:
        ended = gcloud.script("shift-traffic.sh", *SHIFT, MONITORING_API=api)

    assert ended.returncode == 0, ended.stderr
    ours = [revisions for service, revisions in moves(gcloud) if service == "pipeline-crm-sync"]
    assert ours == [
        "pipeline-crm-sync-r-new=10,pipeline-crm-sync-r-old=90",
        "pipeline-crm-sync-r-new=50,pipeline-crm-sync-r-old=50",
        "pipeline-crm-sync-r-new=100",
    ]
    assert len(moves(gcloud)) == 3 * len(SERVICES)
    assert knows_every_call(gcloud)


def test_many_errors_bring_every_service_back_at_once(gcloud: FakeGcloud) -> None:
    previous_of(gcloud)
    with monitoring(("pipeline-analyze", "204", 90), ("pipeline-analyze", "500", 10)) as api:
        ended = gcloud.script("shift-traffic.sh", *SHIFT, MONITORING_API=api)

    assert ended.returncode == 1
    assert "rolling back" in ended.stderr
    assert moves(gcloud)[len(SERVICES) :] == [(name, f"{name}-r-old=100") for name in SERVICES]


@pytest.mark.parametrize("answer", [(500, "down"), (200, "no json"), (200, '{"status": "error", "error": "quota"}')])
def test_a_release_that_nobody_can_watch_goes_back(gcloud: FakeGcloud, answer: tuple[int, str]) -> None:
    previous_of(gcloud)
    with served({"/v1/projects/demo-project/location/global/prometheus/api/v1/query": answer}) as (api, _):
        ended = gcloud.script("shift-traffic.sh", *SHIFT, MONITORING_API=api)

    assert ended.returncode == 1
    assert moves(gcloud)[-1] == (SERVICES[-1], f"{SERVICES[-1]}-r-old=100")


def test_a_service_that_takes_no_traffic_brings_all_back(gcloud: FakeGcloud) -> None:
    previous_of(gcloud)
    gcloud.failing = {"run services update-traffic pipeline-analyze*r-new*"}

    ended = gcloud.script("shift-traffic.sh", *SHIFT)

    assert ended.returncode == 1
    assert [name for name, revisions in moves(gcloud) if revisions.endswith("r-old=100")] == SERVICES


def test_a_service_that_cannot_be_moved_back_is_named_and_the_others_are_moved(gcloud: FakeGcloud) -> None:
    previous_of(gcloud)
    gcloud.failing = {"run services update-traffic pipeline-download*"}

    ended = gcloud.script("shift-traffic.sh", *SHIFT)

    assert ended.returncode == 2
    assert "by hand: pipeline-download" in ended.stderr
    assert (SERVICES[-1], f"{SERVICES[-1]}-r-old=100") in moves(gcloud)


def test_a_cancelled_build_goes_back_at_once(gcloud: FakeGcloud) -> None:
    previous_of(gcloud)
    with gcloud.started("shift-traffic.sh", *PLACE, *RELEASE, "--watch-s", "600") as script:
        eventually(lambda: len(moves(gcloud)) == len(SERVICES), what="the first step", timeout_s=30)
        script.terminate()
        assert script.wait(timeout=30) == 1

    assert moves(gcloud)[len(SERVICES) :] == [(name, f"{name}-r-old=100") for name in SERVICES]


@pytest.mark.parametrize(
    ("service", "code", "status"),
    [("pipeline-webhook", "503", 1), ("pipeline-download", "503", 0), ("pipeline-download", "500", 1)],
)
def test_a_workers_503_is_how_it_asks_for_patience(gcloud: FakeGcloud, service: str, code: str, status: int) -> None:
    with monitoring((service, "204", 50), (service, code, 50)) as api:
        words = ["python3", str(SCRIPTS / "error_rate.py"), "--project", "demo-project", "--release", "r-new"]
        assert gcloud.run(words, MONITORING_API=api).returncode == status


def test_a_receiver_that_answers_wrongly_through_the_load_balancer_goes_back(gcloud: FakeGcloud) -> None:
    previous_of(gcloud)
    with served(WELL | {"/v1/callrail/webhook": (500, "{}")}) as (url, _), monitoring() as api:
        ended = gcloud.script("shift-traffic.sh", *SHIFT, "--url", url, MONITORING_API=api)

    assert ended.returncode == 1
    assert "the smoke test failed at 10%" in ended.stderr
    assert moves(gcloud)[-1] == (SERVICES[-1], f"{SERVICES[-1]}-r-old=100")


# --- smoke, health, scan ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "status", "told"),
    [
        ({}, 0, ""),
        ({"/v1/health": (503, "{}")}, 1, "health: 503"),
        ({"/v1/callrail/webhook": (202, "{}")}, 1, "nobody signed: 202"),
        ({"/internal/sweep": (200, "{}")}, 1, "other page: 200"),
    ],
)
def test_the_smoke_test_sees_what_is_wrong(
    gcloud: FakeGcloud, change: dict[str, tuple[int, str]], status: int, told: str
) -> None:
    with served(WELL | change) as (url, _):
        ended = gcloud.script("smoke.sh", "--url", url)

    assert ended.returncode == status, ended.stderr
    assert told in ended.stderr


def test_the_smoke_test_finds_the_candidate_and_asks_every_service_whether_it_is_ready(gcloud: FakeGcloud) -> None:
    with served(WELL) as (url, _):
        answer = described(url=url)
        gcloud.answers = {"run services describe*": answer}
        assert gcloud.script("smoke.sh", *PLACE, "--tag", "candidate").returncode == 0

    gcloud.answers = {"run services describe pipeline-analyze*": described(ready="False"), **gcloud.answers}
    ended = gcloud.script("smoke.sh", *PLACE)
    assert ended.returncode != 0
    assert "pipeline-analyze is not ready" in ended.stderr


def test_a_candidate_behind_the_load_balancer_is_ready_and_not_asked(gcloud: FakeGcloud) -> None:
    document = json.loads(described(url="http://127.0.0.1:1"))
    document["metadata"] = {"annotations": {"run.googleapis.com/ingress": "internal-and-cloud-load-balancing"}}
    gcloud.answers = {"run services describe*": json.dumps(document)}

    ended = gcloud.script("smoke.sh", *PLACE, "--tag", "candidate")

    assert ended.returncode == 0, ended.stderr
    assert "behind the load balancer only" in ended.stdout


def test_the_health_check_names_what_is_not_well(gcloud: FakeGcloud) -> None:
    well = {
        "spanner instances describe*": "READY",
        "compute ssl-certificates describe*": "ACTIVE",
        "compute forwarding-rules describe*": "203.0.113.10",
    }
    gcloud.answers |= well
    ended = gcloud.script("health-check.sh", *PLACE)
    assert ended.returncode == 0, ended.stdout
    assert knows_every_call(gcloud)

    gcloud.answers["compute ssl-certificates describe*"] = "PROVISIONING"
    ended = gcloud.script("health-check.sh", *PLACE)
    assert ended.returncode == 1
    assert "FAIL  certificate pipeline-ssl-cert: PROVISIONING" in ended.stdout


def test_a_critical_vulnerability_ends_the_build(gcloud: FakeGcloud) -> None:
    gcloud.answers |= {"artifacts docker images scan*": "scan-1", "artifacts docker images list-*": "LOW\nCRITICAL\n"}
    assert gcloud.script("scan.sh", "--image", "pipeline:1").returncode == 1
    assert gcloud.script("scan.sh", "--image", "pipeline:1", "--refuse", "HIGH").returncode == 0
    assert knows_every_call(gcloud)


# --- the way back -----------------------------------------------------------------------------------------


def revisions(*names: str) -> str:
    """What gcloud lists, newest first; a `!` marks one that never became ready."""
    return json.dumps(
        [
            {
                "metadata": {"name": name.strip("!")},
                "status": {"conditions": [{"type": "Ready", "status": "False" if "!" in name else "True"}]},
            }
            for name in names
        ]
    )


def test_traffic_goes_back_to_the_ready_revision_before_the_one_that_serves(gcloud: FakeGcloud) -> None:
    for service in SERVICES:
        pattern = f"run revisions list --service {service} *"
        gcloud.answers[pattern] = revisions(
            f"{service}-r-new", f"{service}-r-old", f"!{service}-r-broken", f"{service}-r-good"
        )

    ended = gcloud.script("rollback.sh", "traffic", *PLACE)

    assert ended.returncode == 0, ended.stderr
    assert moves(gcloud) == [(name, f"{name}-r-good=100") for name in SERVICES]
    assert knows_every_call(gcloud)


def test_nothing_moves_when_one_service_has_nowhere_to_go(gcloud: FakeGcloud) -> None:
    gcloud.answers["run revisions list*"] = revisions("other")

    assert gcloud.script("rollback.sh", "traffic", *PLACE).returncode == 2
    assert moves(gcloud) == []


def test_a_release_can_be_named(gcloud: FakeGcloud) -> None:
    assert gcloud.script("rollback.sh", "traffic", *PLACE, "--release", "r-7").returncode == 0
    assert moves(gcloud) == [(name, f"{name}-r-7=100") for name in SERVICES]


def test_the_schema_goes_back_by_the_same_job_that_brought_it(gcloud: FakeGcloud) -> None:
    assert gcloud.script("rollback.sh", "schema", *PLACE, "--to", "8").returncode == 0

    assert "--args migrate,--rollback,--to,8,--yes" in gcloud.calls()[0]
    assert knows_every_call(gcloud)


def test_a_backup_becomes_a_new_database_and_no_service_changes(gcloud: FakeGcloud) -> None:
    arguments = ("--instance", "pipeline-prod", "--backup", "daily-1", "--database", "pipeline-db-2")

    assert gcloud.script("rollback.sh", "restore", *PLACE, *arguments).returncode == 0

    (call,) = gcloud.calls()
    assert call.startswith("spanner databases restore")
    assert knows_every_call(gcloud)


@pytest.mark.parametrize(
    "command",
    [
        ("rollback.sh",),
        ("rollback.sh", "everything", *PLACE),
        ("rollback.sh", "schema", *PLACE, "--to", "eight"),
        ("rollback.sh", "restore", *PLACE, "--backup", "daily-1"),
        ("deploy.sh", *PLACE, "--image", IMAGE, "--release", "Not A Suffix", "--previous", "previous.txt"),
        ("deploy.sh", "--project"),
        ("shift-traffic.sh", *SHIFT, "--steps", "10,50"),
        ("shift-traffic.sh", *SHIFT, "--watch-s", "soon"),
        ("shift-traffic.sh", *PLACE, "--release", "r-new", "--previous", "missing.txt"),
        ("migrate.sh", *PLACE, "--image", IMAGE, "--force", "yes"),
        ("migrate.sh", *PLACE, "--image", ""),
        ("tag-release.sh", "--image", "pipeline:latest", "--release", "r-new"),
        ("smoke.sh", "--project", "demo-project"),
    ],
    ids=lambda command: " ".join(command)[:60],
)
def test_a_command_that_says_too_little_or_nonsense_does_nothing(gcloud: FakeGcloud, command: tuple[str, ...]) -> None:
    previous_of(gcloud)
    ended = gcloud.script(*command)

    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.startswith(command[0])
    assert gcloud.calls() == []


def test_every_script_passes_shellcheck() -> None:
    scripts = sorted(str(path) for path in SCRIPTS.glob("*.sh"))
    program = PROJECT_ROOT / ".venv" / "bin" / "shellcheck"

    ended = subprocess.run([program, "-x", *scripts], capture_output=True, text=True, check=False)

    assert len(scripts) > 6
    assert ended.returncode == 0, ended.stdout


# --- cloudbuild.yaml --------------------------------------------------------------------------------------

BUILD: dict[str, Any] = yaml.safe_load((PROJECT_ROOT / "cloudbuild.yaml").read_text(encoding="utf-8"))
GIVEN_BY_CLOUD_BUILD = {"PROJECT_ID": "demo-project", "SHORT_SHA": "1234abc"}
RELEASING = ["migrate", "deploy-without-traffic", "smoke-test", "shift-traffic", "tag-release"]


def with_substitutions(text: str) -> str:
    """As Cloud Build reads it. KeyError for a name that nobody defines; its `dynamicSubstitutions` allow nesting."""
    values = BUILD["substitutions"] | GIVEN_BY_CLOUD_BUILD

    def value(match: re.Match[str]) -> str:
        return "$" if match[0] == "$$" else with_substitutions(values[match[1] or match[2]])

    return re.sub(r"\$\$|\$\{(\w+)\}|\$(\w+)", value, text)


def test_cloudbuild_yaml_fits_cloud_builds_schema() -> None:
    program = PROJECT_ROOT / ".venv" / "bin" / "check-jsonschema"
    words = [str(program), "--builtin-schema", "vendor.cloudbuild", str(PROJECT_ROOT / "cloudbuild.yaml")]

    ended = subprocess.run(words, capture_output=True, text=True, check=False)

    assert ended.returncode == 0, ended.stdout


def test_steps_wait_for_steps_that_come_before_them_and_end_in_one_line() -> None:
    seen: set[str] = {"-"}
    for step in BUILD["steps"]:
        assert set(step.get("waitFor", [])) <= seen, step["id"]
        seen.add(step["id"])
    waits = {step["id"]: step.get("waitFor", []) for step in BUILD["steps"]}
    assert [waits[step] for step in RELEASING] == [["push"], *([step] for step in RELEASING[:-1])]
    assert set(waits["push"]) == {"lint-and-test", "sbom-and-audit", "scan"}


def test_every_substitution_is_defined_and_every_script_is_there() -> None:
    for step in BUILD["steps"]:
        for word in step["args"]:
            text = with_substitutions(word)
            named = re.findall(r"(?:infra/scripts/[\w-]+\.sh|\.ci/run)", text)
            assert [name for name in named if not (PROJECT_ROOT / name).is_file()] == []
    used = set(re.findall(r"\$\{(_\w+)\}", (PROJECT_ROOT / "cloudbuild.yaml").read_text(encoding="utf-8")))
    assert used == set(BUILD["substitutions"])


def test_the_releasing_steps_run_as_they_are_written(gcloud: FakeGcloud) -> None:
    """Word for word from cloudbuild.yaml, one after the other, in one working directory, as Cloud Build runs them."""
    steps = {step["id"]: step for step in BUILD["steps"]}
    (gcloud.folder / "infra").symlink_to(PROJECT_ROOT / "infra")
    (gcloud.folder / "image.txt").write_text(IMAGE)
    with served(WELL) as (url, _), monitoring(("pipeline-webhook", "202", 100)) as api:
        gcloud.answers["run services describe*--format=json*"] = described(url=url)
        for name in RELEASING:
            step = steps[name]
            words = [with_substitutions(word).replace("--watch-s 300", "--watch-s 0") for word in step["args"]]
            ended = gcloud.run([step["entrypoint"], *words], MONITORING_API=api)
            assert ended.returncode == 0, f"{name}: {ended.stderr}"

    assert moves(gcloud)[-1] == (SERVICES[-1], f"{SERVICES[-1]}-r-1234abc=100")
    assert gcloud.calls()[-1].endswith("pipeline:production --quiet")
    assert knows_every_call(gcloud)
