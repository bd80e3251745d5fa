"""End-to-end tests share one local stack: it takes longer to start than most of them to run."""

from __future__ import annotations

from tests.support.stack import _session_stack, local_stack

__all__ = ["_session_stack", "local_stack"]
