"""The model's text as the document it was asked for, or a refusal. Pure."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from pydantic import ValidationError

from schemas.analysis import ModelReply

_FENCED = re.compile(r"^```(?:json)?\s*\n(?P<document>.*)\n\s*```$", re.DOTALL)


class ReplyInvalid(ValueError):
    """The model's text is not the document it was asked for; says which part, never what it held."""


def parse_reply(text: str) -> ModelReply:
    """The reply as a document. Raises `ReplyInvalid`.

    Strict: nothing before or after the document, no unknown or repeated properties, a whole number for the score
    (no text, boolean, fraction, NaN) within 0 to 100. One Markdown fence around the whole text is taken off: models
    add it by habit, it changes no meaning, and asking again would cost the tenant a second answer.
    """
    stripped = text.strip()
    fenced = _FENCED.match(stripped)
    try:
        document = json.loads(
            fenced["document"] if fenced else stripped,
            object_pairs_hook=_without_repeats,
            parse_constant=_refuse_constant,
        )
        return ModelReply.model_validate(document)
    except ValidationError as error:
        wrong = sorted({_property(item["loc"]) for item in error.errors()})
        # `from None`: pydantic's text repeats the values, and those are the caller's words.
        raise ReplyInvalid(f"against the schema: {', '.join(wrong)}") from None
    except (ValueError, RecursionError):
        raise ReplyInvalid("not one JSON document") from None


def _property(location: tuple[int | str, ...]) -> str:
    """The property that is wrong; a name the model made up is not repeated, it may be words of the call."""
    name = location[0] if location else "the document"
    return str(name) if name in ModelReply.model_fields or not location else "an unknown property"


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A document with two scores says nothing."""
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("repeated property")
    return document


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
