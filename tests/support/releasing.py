"""What a release meets: a gcloud that writes down what it is told, sites that answer, and Cloud Monitoring."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from shared.pipeline import load_pipeline
from tests.support.gcloud import FakeGcloud, gcloud_fault

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


def well_project(folder: Path) -> FakeGcloud:
    """A project in which everything is well."""
    fake = FakeGcloud(folder)
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
