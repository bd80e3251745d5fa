"""Base of every contract: frozen, strict about unknown fields, plain JSON in and out."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Contract(BaseModel):
    """An immutable document with no unknown fields."""

    # Values stay out of error texts: a traceback in a log must not show anybody's number.
    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True, hide_input_in_errors=True)
