"""A short chaos run: twelve seconds of every fault we know, then nothing is lost, doubled or stuck.

`make chaos` is the long one; docs/operations/chaos.md says what happens in it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.local import plan
from infra.local.chaos.run import ChaosOptions, run_chaos

pytestmark = [pytest.mark.emulators, pytest.mark.usefixtures("_emulator_programs"), pytest.mark.timeout(300)]

SEED = 20261123


def test_twenty_calls_survive_twelve_seconds_of_chaos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a fresh clone: no other stack has left a key behind."""
    monkeypatch.setattr(plan, "LOCAL_KEY_FILE", tmp_path / "pii-key.json")
    said: list[str] = []

    result = run_chaos(ChaosOptions(calls=20, seed=SEED, duration_s=12.0), said.append)

    assert result.holds, "\n".join([*said, *(one.line() for one in result.verdict.invariants)])
    assert result.died, "no process died at a crash point"
    assert any(line.lstrip().partition("  ")[2].startswith("kill") for line in result.done), result.done
    assert result.doubled > 0, "no message came twice"
