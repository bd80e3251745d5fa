"""A fault that a call can meet, and what the answer of `pipeline why` must say of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from shared.meanings.registry import meaning_of
from shared.whereabouts.situations import Situation
from shared.why import Answer
from tests.support.pipeline_database import PipelineDatabase
from tests.support.trouble import Trouble, raising


@dataclass(frozen=True)
class Fault:
    """One fault, and what the answer must say of it. `code` is the error code whose meaning must appear."""

    name: str
    happen: Callable[[Trouble], object]
    situation: Situation
    stage: str = ""
    code: str = ""
    says: tuple[str, ...] = ()
    """What `because` must name."""
    next_try: str = ""
    helps: str = ""
    command: str = ""
    note: str = ""


def assert_named(answer: Answer, fault: Fault) -> None:
    """The answer names the cause, what happens next and what helps."""
    assert answer.situation is fault.situation, answer
    assert answer.stage == fault.stage, answer
    if fault.code:
        meaning = meaning_of(fault.code)
        assert meaning is not None
        assert fault.code in answer.because, answer
        assert meaning.means in answer.because, answer
    for words in fault.says:
        assert words in answer.because, answer
    assert fault.next_try in answer.next_try, answer
    assert fault.helps in answer.helps, answer
    assert not fault.note or any(fault.note in note for note in answer.notes), answer
    assert not fault.command or any(command.startswith(fault.command) for command in answer.commands), answer
    assert "TENANT" not in " ".join(answer.commands), answer


@pytest.fixture
def trouble(pipeline_database: PipelineDatabase) -> Trouble:
    return Trouble(pipeline_database)


def stops(stage: str, error: Callable[[Trouble], BaseException] | BaseException) -> Callable[[Trouble], object]:
    """The stage ends with the error; letters are recorded."""

    def happen(trouble: Trouble) -> None:
        trouble.reach(stage, raising(error if isinstance(error, BaseException) else error(trouble)))
        trouble.record_letters()

    return happen
