"""Coming to rest after a storm: what still moves is waited for, however long its looks are apart."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from infra.local.chaos import settle as settle_module
from infra.local.chaos.sender import Sender
from infra.local.chaos.settle import settle

LETTERS = 60
REPLAY_S = 2.0


class Stack:
    """Letters that arrive one for each look once they were replayed; a replay takes its time, and so time passes."""

    def __init__(self, *, ends: bool) -> None:
        self.now = 0.0
        self.left = LETTERS
        self.ends = ends
        self.replayed: set[str] = set()

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def rows(self) -> tuple[list[Any], list[Any]]:
        return [], []

    def letters(self) -> list[Any]:
        if self.ends and self.replayed:
            self.left -= 1
        return [
            SimpleNamespace(dead_letter_id=f"d-{number}", tenant_id="x", state=state, occurrences=1, replays=0)
            for number in range(self.left)
            for state in ["replaying" if f"d-{number}" in self.replayed else "open"]
        ]

    def objects(self, _prefix: str) -> list[str]:
        return []

    def replay(self, _desk: object, ids: tuple[str, ...]) -> int:
        self.replayed.update(ids)
        self.now += REPLAY_S * len(ids)
        return len(ids)


def rest(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> settle_module.Rest:
    clock = SimpleNamespace(monotonic=lambda: stack.now, sleep=stack.sleep)
    monkeypatch.setattr(settle_module, "time", clock)
    monkeypatch.setattr(settle_module, "_replay", stack.replay)
    monkeypatch.setattr(settle_module, "is_unresolved", lambda _letter: True)
    witness: Any = stack
    desk: Any = None
    return settle(witness, desk, most_s=3600.0, report=lambda _line: None)


def test_sending_many_letters_again_is_not_standing_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by seed 505 with 1,000 calls: the replays took longer than stillness may, and nobody looked again."""
    found = rest(Stack(ends=True), monkeypatch)

    assert found.is_quiet
    assert found.replayed == LETTERS


def test_what_moves_no_more_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    found = rest(Stack(ends=False), monkeypatch)

    assert not found.is_quiet
    assert LETTERS * REPLAY_S < found.seconds < 600


def test_after_ctrl_c_nobody_posts_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The posts that are left would be tried for two minutes each, and the interpreter waits for their threads."""
    tried: list[object] = []
    sender = Sender({}, [], [], begun=0.0)
    monkeypatch.setattr(sender, "_complete", lambda _post: {})
    posts: Any = [SimpleNamespace(at_s=0.0) for _ in range(500)]

    def refused(post: object, _body: object) -> str:
        tried.append(post)
        return "no answer"

    def interrupted(number: int) -> None:
        if number == len(posts):
            raise KeyboardInterrupt

    monkeypatch.setattr(sender, "_post_once", refused)

    with pytest.raises(KeyboardInterrupt), sender:
        sender.send(posts, report=interrupted)
    sender.finish()

    assert len(tried) < len(posts)
