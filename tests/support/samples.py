"""Makes values of our own types from their annotations, for tests that call every method there is."""

from __future__ import annotations

import collections.abc
import dataclasses
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, get_args, get_origin, get_type_hints

from pydantic import AwareDatetime, BaseModel
from pydantic_core import PydanticUndefined

SOME_TIME = datetime(2026, 11, 23, 12, tzinfo=UTC)
_PLAIN: Mapping[Any, Any] = {
    str: "x",
    int: 1,
    float: 1.0,
    bool: False,
    datetime: SOME_TIME,
    AwareDatetime: SOME_TIME,
    date: SOME_TIME.date(),
    timedelta: timedelta(seconds=1),
    Any: SOME_TIME,
}


_EVENT = '{"payload":{"name":"x"}}'
"""Where an event is kept as text: the stores read it to seal its payload."""


class NoSample(TypeError):
    """No rule here makes a value of this type."""


def sample(kind: Any) -> Any:
    """A value of the annotated type; optional values are there, collections hold one item."""
    if kind in _PLAIN:
        return _PLAIN[kind]
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is typing.Annotated:
        return sample(arguments[0])
    if origin is typing.Literal:
        return arguments[0]
    if origin in {typing.Union, types.UnionType}:
        return sample(next(one for one in arguments if one is not type(None)))
    if origin in {list, collections.abc.Sequence, collections.abc.Iterable}:
        return [sample(arguments[0])]
    if origin is tuple:
        return (sample(arguments[0]),)
    if origin in {dict, collections.abc.Mapping}:
        return {sample(arguments[0]): "x" if arguments[1] is Any else sample(arguments[1])}
    if inspect.isclass(kind) and issubclass(kind, Exception):
        return kind("a_code", "a detail")
    return _made(kind)


def _made(kind: Any) -> Any:
    if inspect.isclass(kind) and issubclass(kind, BaseModel):
        hints = {name: field.annotation for name, field in kind.model_fields.items()}
        required = {name for name, field in kind.model_fields.items() if field.default is PydanticUndefined}
        return kind.model_construct(**{name: sample(hint) for name, hint in hints.items() if name in required})
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = get_type_hints(kind)
        return kind(**{field.name: _named(field.name, hints) for field in dataclasses.fields(kind) if field.init})
    if inspect.isclass(kind) and issubclass(kind, tuple) and hasattr(kind, "_fields"):
        hints = get_type_hints(kind)
        return kind(*[sample(hints[name]) for name in kind._fields])
    raise NoSample(f"no rule makes a {kind}")


def arguments_of(method: Callable[..., Any], **given: Any) -> dict[str, Any]:
    """Keyword arguments for every parameter of a bound method; `given` wins by name."""
    hints = get_type_hints(method)
    names = [name for name in inspect.signature(method).parameters if name != "self"]
    return {name: given[name] if name in given else _named(name, hints) for name in names}


def _named(name: str, hints: Mapping[str, Any]) -> Any:
    return _EVENT if name.endswith("event") and hints[name] in {str, str | None} else sample(hints[name])


def public_methods(kind: type) -> list[str]:
    """Names of everything that the class lets others call, inherited ones too."""
    found = inspect.getmembers(kind, inspect.isfunction)
    return sorted(name for name, _ in found if not name.startswith("_"))
