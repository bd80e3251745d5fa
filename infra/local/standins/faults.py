"""Misbehaviour on demand: rules that a test, the chaos run or an engineer gives a stand-in over HTTP.

Every stand-in serves the same small admin interface: `POST /_standin/faults` (a list of rules),
`DELETE /_standin/faults`, `GET /_standin/state` (what it holds and was asked), `POST /_standin/reset`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any, Literal

from flask import Blueprint, Response, jsonify, request
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

FaultKind = Literal["status", "stall", "drop", "drop_after", "rubbish"]


class FaultRule(BaseModel):
    """One kind of misbehaviour, applied `times` times to operations that match.

    `status` answers `status` with `body` (HTTP) or the gRPC code named in `grpc_code`; `stall` waits
    `delay_s` and then goes on; `drop` closes the connection before doing anything; `drop_after` does the
    work and then closes the connection; `rubbish` answers `body` as if it were a success.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    operation: str = "*"
    """Shell pattern over the stand-in's operation names, for example `calls.upsert`."""
    kind: FaultKind
    times: int = Field(default=1, ge=1)
    skip: int = Field(default=0, ge=0)
    """Let this many matching requests pass first."""
    every: int = Field(default=1, ge=1)
    """Then every so many-th one: 20 is 5%."""
    status: int = 503
    grpc_code: str = "UNAVAILABLE"
    headers: dict[str, str] = {}
    body: Any = None
    delay_s: float = Field(default=0, ge=0, le=600)


class FaultPlan:
    """Thread-safe list of rules with what is left of each."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[tuple[FaultRule, int, int]] = []
        self._cleared = threading.Event()
        """Replaced by each `clear`: who stalls by a rule of before is let go."""

    def add(self, *rules: FaultRule) -> None:
        with self._lock:
            self._rules += [(rule, rule.skip, rule.times) for rule in rules]

    def clear(self) -> None:
        """Forget every rule; requests that stall right now go on at once."""
        with self._lock:
            self._rules.clear()
            released, self._cleared = self._cleared, threading.Event()
        released.set()

    def take(self, operation: str) -> FaultRule | None:
        """The first rule that applies to this operation now, used up by one; `stall` is waited out here."""
        rule, cleared = self._pop(operation)
        if rule is not None and rule.kind == "stall":
            cleared.wait(rule.delay_s)
            return None
        return rule

    def _pop(self, operation: str) -> tuple[FaultRule | None, threading.Event]:
        with self._lock:
            for index, (rule, skip, left) in enumerate(self._rules):
                if not fnmatchcase(operation, rule.operation):
                    continue
                if skip > 0:
                    self._rules[index] = (rule, skip - 1, left)
                    continue
                if left == 1:
                    del self._rules[index]
                else:
                    self._rules[index] = (rule, rule.every - 1, left - 1)
                return rule, self._cleared
            return None, self._cleared


_RULES = TypeAdapter(list[FaultRule])


def admin_blueprint(plan: FaultPlan, *, state: Callable[[], Any], reset: Callable[[], None]) -> Blueprint:
    """The admin interface of one stand-in. `state` returns a JSON-ready document."""
    blueprint = Blueprint("standin_admin", __name__, url_prefix="/_standin")

    @blueprint.post("/faults")
    def add_faults() -> tuple[str, int]:
        plan.add(*_RULES.validate_python(request.get_json()))
        return "", 204

    @blueprint.delete("/faults")
    def clear_faults() -> tuple[str, int]:
        plan.clear()
        return "", 204

    @blueprint.get("/state")
    def show_state() -> Response:
        return jsonify(state())

    @blueprint.post("/reset")
    def reset_all() -> tuple[str, int]:
        plan.clear()
        reset()
        return "", 204

    @blueprint.get("/health")
    def health() -> tuple[str, int]:
        return "ok", 200

    return blueprint
