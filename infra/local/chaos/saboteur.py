"""Carries out the planned faults on a running stack, and heals everything afterwards."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import psutil
from google.pubsub_v1 import SubscriberClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from google.pubsub_v1.types import PushConfig

from infra.local.chaos.faults import REBORN, RESTARTED, WORKERS, Fault, LostNotices, ProcessFault, VendorFault
from infra.local.plan import PROJECT_ID
from infra.local.stack import Stack
from shared.crash_points import Death
from shared.errors import PipelineError
from shared.gateways.channels import loopback_channel

STANDINS = ("callrail", "hubspot", "salesforce", "speech", "vertex", "secret_manager")
_NOTICES = f"projects/{PROJECT_ID}/subscriptions/transcribe-transcription-output"
_TIMEOUT_S = 10.0


class Saboteur:
    """One thread for each target, so that a slow restart of one process delays nobody else's fault."""

    def __init__(
        self, stack: Stack, env: Mapping[str, str], *, begun: float, marks: Path, report: Callable[[str], None]
    ) -> None:
        self._stack = stack
        self._env = env
        self._begun = begun
        self._marks = marks
        self._report = report
        self._threads: list[threading.Thread] = []
        self.done: list[str] = []
        """What was really done, in the order of doing."""

    def start(self, faults: Sequence[Fault]) -> None:
        """Begin; every fault happens at its time, or as soon after it as its target is free."""
        by_target: dict[str, list[Fault]] = defaultdict(list)
        for fault in faults:
            by_target["notices" if isinstance(fault, LostNotices) else fault.target].append(fault)
        for target, its_faults in by_target.items():
            thread = threading.Thread(target=self._work, args=(its_faults,), name=f"saboteur-{target}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def heal(self, deaths: Sequence[Death]) -> None:
        """Wait for the last fault, then make everything well again: no rule, no death to come, no dead worker."""
        for thread in self._threads:
            thread.join()
        self._bring_back((*REBORN, *RESTARTED))
        for name in STANDINS:
            httpx.delete(f"{self._admin(name)}/_standin/faults", timeout=30.0, trust_env=False).raise_for_status()
        for death in deaths:
            (self._marks / str(death)).touch()
        self._bring_back(WORKERS)

    def _bring_back(self, names: Sequence[str]) -> None:
        for name in names:
            if not psutil.pid_exists(self._stack.pid(name)):
                self._stack.restart(name)

    def _work(self, faults: Sequence[Fault]) -> None:
        for fault in faults:
            time.sleep(max(0.0, self._begun + fault.at_s - time.monotonic()))
            line = f"{time.monotonic() - self._begun:6.1f} s  {fault}"
            self._report(line)
            try:
                self._do(fault)
            except (PipelineError, httpx.HTTPError) as error:
                line += f" ({type(error).__name__}: {error})"
                self._report(line)
            self.done.append(line)

    def _do(self, fault: Fault) -> None:
        match fault:
            case ProcessFault(deed="kill"):
                self._stack.kill(fault.target)
                time.sleep(fault.for_s)
                self._stack.restart(fault.target)
            case ProcessFault(deed="restart"):
                self._stack.end(fault.target)
                time.sleep(fault.for_s)
                self._stack.restart(fault.target)
            case ProcessFault():
                with frozen(self._stack.pid(fault.target)):
                    time.sleep(fault.for_s)
            case VendorFault():
                url = f"{self._admin(fault.target)}/_standin/faults"
                httpx.post(url, json=[fault.rule], timeout=_TIMEOUT_S, trust_env=False).raise_for_status()
            case LostNotices():
                self._lose_notices(fault.for_s)

    def _admin(self, name: str) -> str:
        return self._env.get(f"{name.upper()}_ADMIN_URL") or self._env[f"{name.upper()}_URL"]

    def _lose_notices(self, for_s: float) -> None:
        """Somebody else takes them for a while, says thank you, and does nothing."""
        with black_hole() as url, loopback_channel(self._env["PUBSUB_EMULATOR_HOST"]) as channel:
            subscriber = SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
            worker = PushConfig(push_endpoint=self._env["TRANSCRIBE_PUSH_ENDPOINT"])
            subscriber.modify_push_config(subscription=_NOTICES, push_config=PushConfig(push_endpoint=url))
            try:
                time.sleep(for_s)
            finally:
                subscriber.modify_push_config(subscription=_NOTICES, push_config=worker)


@contextlib.contextmanager
def frozen(pid: int) -> Iterator[None]:
    """SIGSTOP to a process and its children, SIGCONT at the end of the block. Gone meanwhile is fine."""
    processes: list[psutil.Process] = []
    with contextlib.suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        processes = [root, *root.children(recursive=True)]
    try:
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()
        yield
    finally:
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()


class _ThankYou(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_args: object) -> None:
        return


@contextlib.contextmanager
def black_hole() -> Iterator[str]:
    """The URL of a push endpoint that acknowledges everything."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _ThankYou)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
