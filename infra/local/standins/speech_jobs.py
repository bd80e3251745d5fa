"""The Speech stand-in's long-running operations: accepted requests, worked off by background threads."""

from __future__ import annotations

import hashlib
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from google.cloud.speech_v2 import types
from google.longrunning.operations_pb2 import Operation
from google.rpc.code_pb2 import Code
from google.rpc.status_pb2 import Status

from infra.local.standins import speech_results
from infra.local.standins.faults import FaultPlan
from infra.local.standins.speech_files import FileFailed, FileTranscriber, Heard, Transcribed
from infra.local.standins.speech_rules import diarizes, separates_channels


@dataclass
class Job:
    """One accepted request and what became of it."""

    request: types.BatchRecognizeRequest
    operation: Operation
    billed_s: int = 0
    output_uris: list[str] = field(default_factory=list)
    readable_uris: list[str] = field(default_factory=list)
    """Where a transcript was written, whatever the operation said then and whoever removed it since."""
    errors: list[str] = field(default_factory=list)

    @property
    def audio_uris(self) -> list[str]:
        return [file.uri for file in self.request.files]

    def note(self, outcome: Transcribed | FileFailed) -> None:
        """What one file came to."""
        self.billed_s += outcome.billed_s
        if isinstance(outcome, FileFailed):
            self.readable_uris += [outcome.left_uri] if outcome.left_uri else []
            self.errors.append(Code.Name(outcome.status.code))
            return
        self.output_uris += [outcome.output_uri] if outcome.output_uri else []
        self.readable_uris += [outcome.output_uri] if outcome.is_readable else []

    def kept(self) -> dict[str, Any]:
        """For the next process: messages in their own wire format, all else as it is."""
        messages = {
            "request": types.BatchRecognizeRequest.serialize(self.request),
            "operation": self.operation.SerializeToString(),
        }
        return {**vars(self), **messages}

    @classmethod
    def of_kept(cls, kept: Mapping[str, Any]) -> Job:
        """The reverse of `kept`."""
        request = types.BatchRecognizeRequest.deserialize(kept["request"])
        return cls(**{**kept, "request": request, "operation": Operation.FromString(kept["operation"])})

    def as_json(self) -> dict[str, Any]:
        """What the admin interface shows."""
        config = self.request.config
        strategy = types.BatchRecognizeRequest.ProcessingStrategy(self.request.processing_strategy)
        return {
            "name": self.operation.name,
            "audio_uris": self.audio_uris,
            "model": config.model,
            "language_codes": list(config.language_codes),
            "separates_channels": separates_channels(config),
            "diarizes": diarizes(config),
            "word_times": config.features.enable_word_time_offsets,
            "punctuation": config.features.enable_automatic_punctuation,
            "processing_strategy": strategy.name,
            "output_prefix": self.request.recognition_output_config.gcs_output_config.uri,
            "done": self.operation.done,
            "billed_s": self.billed_s,
            "output_uris": self.output_uris,
            "readable_uris": self.readable_uris,
            "errors": self.errors,
        }


class OperationBook:
    """Thread-safe. Names are derived from request and order, so a run can be repeated to the letter."""

    def __init__(self, files: FileTranscriber, plan: FaultPlan, *, workers: int) -> None:
        self._files = files
        self._plan = plan
        self._pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="speech")
        self._delivering = threading.Lock()
        """Held from an operation's first output to its end; taken before `_changed`."""
        self._changed = threading.Condition()
        self._jobs: dict[str, Job] = {}
        self._started: dict[str, int] = {}
        self._unfinished = 0

    # -- what the service asks ---------------------------------------------------------------------

    def start(self, request: types.BatchRecognizeRequest) -> Operation:
        """Accept a request; its work begins in the background."""
        with self._changed:
            name = self._next_name(request)
            job = Job(request, speech_results.running(name, request))
            self._jobs[name] = job
            self._unfinished += 1
            accepted = job.operation
        self._pool.submit(self._work, job)
        return accepted

    def get(self, name: str) -> Operation | None:
        with self._changed:
            job = self._jobs.get(name)
            return job.operation if job else None

    def page(self, parent: str, *, size: int, token: str) -> tuple[list[Operation], str]:
        """Operations of a location, newest first, with the token of the next page."""
        with self._changed:
            names = [name for name in reversed(self._jobs) if name.startswith(f"{parent}/operations/")]
            start = int(token or 0)
            page = [self._jobs[name].operation for name in names[start : start + size]]
        return page, str(start + size) if start + size < len(names) else ""

    # -- what tests and engineers ask ----------------------------------------------------------------

    def wait_until_done(self, name: str, *, timeout_s: float = 60.0) -> Operation:
        """Return the finished operation. Raises `TimeoutError`."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._jobs[name].operation.done, timeout=timeout_s):
                raise TimeoutError(f"{name} is not done after {timeout_s:.0f} s")
            return self._jobs[name].operation

    def wait_until_idle(self, *, timeout_s: float = 60.0) -> None:
        """Return once no work is under way, forgotten operations included. Raises `TimeoutError`."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._unfinished == 0, timeout=timeout_s):
                raise TimeoutError(f"{self._unfinished} operations are not done after {timeout_s:.0f} s")

    def state(self) -> dict[str, Any]:
        with self._changed:
            jobs = [job.as_json() for job in self._jobs.values()]
            started = dict(self._started)
        return {"operations": jobs, "started": started, "billed_s": sum(job["billed_s"] for job in jobs)}

    def forget(self) -> None:
        """As after a restart: operations are unknown, work under way still writes its output."""
        with self._changed:
            self._jobs.clear()
            self._started.clear()

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    # -- the work ------------------------------------------------------------------------------------

    def _next_name(self, request: types.BatchRecognizeRequest) -> str:
        for file in request.files:
            self._started[file.uri] = self._started.get(file.uri, 0) + 1
        order = self._started[request.files[0].uri]
        content = types.BatchRecognizeRequest.serialize(request)
        digest = hashlib.sha256(content + f"#{order}".encode()).hexdigest()[:32]
        parent = request.recognizer.rpartition("/recognizers/")[0]
        return f"{parent}/operations/{digest}"

    def _work(self, job: Job) -> None:
        name = job.operation.name
        rule = self._plan.take("recognition")
        if rule is not None:
            error = Status(code=Code.Value(rule.grpc_code), message=f"{rule.grpc_code} on purpose")
            self._finish(job, speech_results.failed(name, job.request, error), {})
            return
        heard = {uri: _tried(partial(self._files.hear, name, job.request, uri)) for uri in job.audio_uris}
        with self._delivering:
            outcomes = {uri: self._deliver(file) for uri, file in heard.items()}
            results = {uri: _result_of(outcome) for uri, outcome in outcomes.items()}
            self._finish(job, speech_results.finished(name, job.request, results), outcomes)

    def _deliver(self, heard: Heard | FileFailed) -> Transcribed | FileFailed:
        return heard if isinstance(heard, FileFailed) else _tried(partial(self._files.deliver, heard))

    def _finish(self, job: Job, operation: Operation, outcomes: Mapping[str, Transcribed | FileFailed]) -> None:
        """End, bill and outputs in one step: a restart finds the operation done, or not begun."""
        with self._changed:
            job.operation = operation
            for outcome in outcomes.values():
                job.note(outcome)
            if operation.error.code:
                job.errors.append(Code.Name(operation.error.code))
            self._unfinished -= 1
            self._changed.notify_all()

    # -- over a restart (keeping.py) -----------------------------------------------------------------

    @contextmanager
    def standing_still(self) -> Iterator[dict[str, Any]]:
        """Whoever delivers right now may finish: an output that lies there belongs to an operation that is done.

        Written again by the next process, it might come after the pipeline has read and removed the first one.
        """
        with self._delivering, self._changed:
            yield {"started": self._started, "jobs": [job.kept() for job in self._jobs.values()]}

    def take_up(self, kept: Mapping[str, Any]) -> None:
        """What was under way is worked on from the start; nothing of it was billed."""
        with self._changed:
            self._started = kept["started"]
            jobs = [Job.of_kept(one) for one in kept["jobs"]]
            self._jobs = {job.operation.name: job for job in jobs}
            under_way = [job for job in jobs if not job.operation.done]
            self._unfinished += len(under_way)
        for job in under_way:
            self._pool.submit(self._work, job)


_Got = TypeVar("_Got")


def _tried(step: Callable[[], _Got]) -> _Got | FileFailed:
    try:
        return step()
    except FileFailed as failure:
        return failure
    except Exception:
        # A bug of the stand-in must end the operation, or everybody waits for it.
        traceback.print_exc()
        return FileFailed("INTERNAL", "the stand-in failed; its output says how")


def _result_of(outcome: Transcribed | FileFailed) -> types.BatchRecognizeFileResult:
    if isinstance(outcome, FileFailed):
        return types.BatchRecognizeFileResult(error=outcome.status)
    return outcome.result
