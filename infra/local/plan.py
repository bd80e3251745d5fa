"""What the local stack consists of: every service with its command, environment and port. Pure; starts nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.local import gcs
from infra.local.emulators import Emulators, pubsub_spec, spanner_spec, storage_spec
from infra.local.errors import StackError
from infra.local.processes import ServiceSpec
from shared.pipeline import PIPELINE_FILE, Pipeline

PROJECT_ROOT = PIPELINE_FILE.parents[1]

PROJECT_ID = "local-project"
LOCAL_KEY_FILE = PROJECT_ROOT / ".local" / "pii-key.json"
"""In the place of Cloud KMS. It outlives the stacks, which share it: their databases do not."""
SPANNER_INSTANCE = "pipeline-local"
SPANNER_DATABASE = "pipeline-db"
AUDIO_BUCKET = f"{PROJECT_ID}-audio-files"
TRANSCRIPTION_OUTPUT_TOPIC = "transcription-output"

LOCAL_BACKOFF_SCALE = 0.0
"""No retry policy at all: with one, the Pub/Sub emulator (0.8.20) never again delivers a message that was refused for
some ten seconds (docs/operations/local-stack.md has the figures); without, it delivers again every second."""

HTTP_STANDINS = ("callrail", "hubspot", "salesforce")
GRPC_STANDINS = ("speech", "vertex", "secret_manager")
KEEPING_STANDINS = (*HTTP_STANDINS, "speech", "secret_manager")
"""They keep what they hold when they are ended by SIGTERM. Vertex has nothing to keep but its counters."""

# What a child may see of the caller's environment. Credentials and proxies are left out on purpose: nothing of the
# local stack may reach Google or the internet.
_INHERITED = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "TMPDIR", "TZ", "JAVA_HOME", "LD_LIBRARY_PATH")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One stack before it runs."""

    services: tuple[ServiceSpec, ...]
    """In the order of starting: what takes longest first."""
    external: Mapping[str, str]
    """Workers that the engineer starts by hand: name to the address they must serve on."""
    endpoints: Mapping[str, str]
    """Push URL of every worker, by service name."""
    env: Mapping[str, str]
    """Environment of a worker."""
    exports: Mapping[str, str]
    """Addresses under the names that `pipeline local env` prints."""
    pubsub: str
    spanner: str
    storage_url: str


@dataclass(frozen=True, kw_only=True)
class _Addresses:
    """A port for everything, taken before anything starts, so that nobody has to wait to learn an address."""

    ports: Mapping[str, int]

    def host(self, name: str) -> str:
        return f"127.0.0.1:{self.ports[name]}"

    def url(self, name: str) -> str:
        return f"http://{self.host(name)}"

    def admin_url(self, name: str) -> str:
        return self.url(f"{name}_admin")


def make_plan(
    *,
    pipeline: Pipeline,
    emulators: Emulators,
    take_port: Callable[[], int],
    environ: Mapping[str, str],
    telemetry_dir: Path,
    kept_dir: Path,
    only: Collection[str] | None = None,
) -> Plan:
    """Lay out a stack. `only` names the workers to start, None means all; raises `StackError` for unknown names.

    `environ` is the caller's environment: a few harmless variables reach every service, and `PIPELINE_*` reaches the
    workers wherever the stack does not set the same variable itself. Stand-ins keep what they hold over a restart in
    files of `kept_dir`.
    """
    chosen = _chosen_workers(pipeline, only)
    emulator_names = ("pubsub", "spanner", "storage")
    admins = tuple(f"{name}_admin" for name in GRPC_STANDINS)
    names = (*emulator_names, *HTTP_STANDINS, *GRPC_STANDINS, *admins, *pipeline.services)
    at = _Addresses(ports={name: take_port() for name in names})
    base = {name: environ[name] for name in _INHERITED if name in environ} | {"PYTHONUNBUFFERED": "1"}
    tuned = {name: value for name, value in environ.items() if name.startswith("PIPELINE_")}
    env = telemetry_environment(telemetry_dir) | tuned | worker_environment(at)
    workers = tuple(_worker(name, at=at, env=base | env) for name in pipeline.services if name in chosen)
    return Plan(
        services=(*_emulators(emulators, at=at, env=base), *_standins(at=at, env=base, kept_dir=kept_dir), *workers),
        external={name: at.url(name) for name in pipeline.services if name not in chosen},
        endpoints={name: at.url(name) for name in pipeline.services},
        env=env,
        exports=_exports(pipeline, at),
        pubsub=at.host("pubsub"),
        spanner=at.host("spanner"),
        storage_url=at.url("storage"),
    )


def telemetry_environment(telemetry_dir: Path) -> dict[str, str]:
    """Spans as they end and metrics every few seconds, in files, for `pipeline trace`; the caller may say otherwise."""
    return {
        "PIPELINE_TRACES": "console",
        "PIPELINE_METRICS": "console",
        "PIPELINE_TELEMETRY_DIR": str(telemetry_dir),
        "PIPELINE_TRACE_EVERY_S": "0",
        "PIPELINE_METRICS_EVERY_S": "5",
    }


def worker_environment(at: _Addresses) -> dict[str, str]:
    """Every variable that makes a worker local (names: shared/settings.py and Google's clients)."""
    return {
        "GOOGLE_CLOUD_PROJECT": PROJECT_ID,
        "PUBSUB_EMULATOR_HOST": at.host("pubsub"),
        "SPANNER_EMULATOR_HOST": at.host("spanner"),
        "STORAGE_EMULATOR_HOST": at.url("storage"),
        # The emulator loses concurrent read-write transactions on multiplexed sessions.
        "GOOGLE_CLOUD_SPANNER_MULTIPLEXED_SESSIONS_FOR_RW": "false",
        # Both would look for Google's monitoring and its credentials.
        "SPANNER_DISABLE_BUILTIN_METRICS": "true",
        "SPANNER_ENABLE_EXTENDED_TRACING": "false",
        "GRPC_VERBOSITY": "ERROR",
        "PIPELINE_ENVIRONMENT": "local",
        "PIPELINE_BIND_HOST": "127.0.0.1",
        "PIPELINE_PUSH_AUTH": "off",
        "PIPELINE_SPANNER_INSTANCE": SPANNER_INSTANCE,
        "PIPELINE_SPANNER_DATABASE": SPANNER_DATABASE,
        "PIPELINE_AUDIO_BUCKET": AUDIO_BUCKET,
        "PIPELINE_LOCAL_PII_KEY_FILE": str(LOCAL_KEY_FILE),
        "PIPELINE_OPERATOR_URL": at.url("operator"),
        **{f"PIPELINE_LOCAL_{name.upper()}": at.host(name) for name in GRPC_STANDINS},
        **{f"PIPELINE_LOCAL_{name.upper()}_URL": at.url(name) for name in HTTP_STANDINS},
    }


def _chosen_workers(pipeline: Pipeline, only: Collection[str] | None) -> frozenset[str]:
    if only is None:
        return frozenset(pipeline.services)
    check_workers(only, known=pipeline.services)
    return frozenset(only)


def check_workers(names: Collection[str], *, known: Collection[str]) -> None:
    """Raises `StackError` for names that are no worker's."""
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise StackError(
            "unknown_worker", f"no such worker: {', '.join(unknown)}", fix=f"choose from {', '.join(known)}"
        )


def _emulators(emulators: Emulators, *, at: _Addresses, env: Mapping[str, str]) -> tuple[ServiceSpec, ...]:
    notices = gcs.ObjectNotices(
        project_id=PROJECT_ID,
        topic=TRANSCRIPTION_OUTPUT_TOPIC,
        object_prefix="transcripts/",
        pubsub_host=at.host("pubsub"),
    )
    return (
        pubsub_spec(emulators, port=at.ports["pubsub"], env=env),
        spanner_spec(emulators, port=at.ports["spanner"], env=env),
        storage_spec(port=at.ports["storage"], env=env, notices=notices),
    )


def _standins(*, at: _Addresses, env: Mapping[str, str], kept_dir: Path) -> tuple[ServiceSpec, ...]:
    kept = {name: ("--state", str(kept_dir / name)) for name in KEEPING_STANDINS}
    more_arguments = {**kept, "speech": (*kept["speech"], "--storage-url", at.url("storage"))}
    over_grpc = [
        ServiceSpec(
            name=name,
            kind="stand-in",
            command=(
                *_standin_module(name, at.ports[name]),
                "--admin-port",
                str(at.ports[f"{name}_admin"]),
                *more_arguments.get(name, ()),
            ),
            env=env,
            address=at.host(name),
            ready=(f"tcp://{at.host(name)}", f"{at.admin_url(name)}/_standin/health"),
        )
        for name in GRPC_STANDINS
    ]
    over_http = [
        ServiceSpec(
            name=name,
            kind="stand-in",
            command=(*_standin_module(name, at.ports[name]), *kept[name]),
            env=env,
            address=at.url(name),
            ready=(f"{at.url(name)}/_standin/health",),
        )
        for name in HTTP_STANDINS
    ]
    return (*over_grpc, *over_http)


def _standin_module(name: str, port: int) -> tuple[str, ...]:
    return (sys.executable, "-m", f"infra.local.standins.{name}", "--port", str(port))


def _worker(name: str, *, at: _Addresses, env: Mapping[str, str]) -> ServiceSpec:
    """Started as in the container image (Dockerfile): same server, same configuration file, same entry point."""
    return ServiceSpec(
        name=name,
        kind="worker",
        command=worker_command(),
        env={**env, **worker_identity(name), "PORT": str(at.ports[name])},
        address=at.url(name),
        ready=(f"{at.url(name)}/livez",),
    )


def worker_command() -> tuple[str, ...]:
    """The server of every worker, to be run in the project's root."""
    config = PROJECT_ROOT / "handlers" / "gunicorn_conf.py"
    return (sys.executable, "-m", "gunicorn", "--config", str(config), "functions_framework:create_app()")


def worker_identity(name: str) -> dict[str, str]:
    """Which service the one image becomes."""
    return {"FUNCTION_TARGET": name, "FUNCTION_SOURCE": "handlers/main.py", "FUNCTION_SIGNATURE_TYPE": "http"}


def _exports(pipeline: Pipeline, at: _Addresses) -> dict[str, str]:
    pushed = {name: service for name, service in pipeline.services.items() if service.subscribes}
    return {
        "WEBHOOK_URL": at.url("webhook"),
        "OPERATOR_URL": at.url("operator"),
        **{f"{name.upper()}_URL": at.url(name) for name in HTTP_STANDINS},
        **{f"{name.upper()}_ADMIN_URL": at.admin_url(name) for name in GRPC_STANDINS},
        **{f"{name.upper()}_PUSH_ENDPOINT": at.url(name) for name in pushed},
    }
