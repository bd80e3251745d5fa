"""What a call means: the model's reply as we accept it, and the analysis as we store it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from schemas.base import Contract

Sentiment = Literal["positive", "neutral", "negative", "mixed"]
Intent = Literal[
    "new_lead",
    "booking",
    "existing_customer",
    "complaint",
    "general_inquiry",
    "vendor",
    "job_seeker",
    "spam",
    "wrong_number",
    "incomplete",
    "missed_call",
]
Basis = Literal["transcript", "metadata"]


class ModelReply(Contract):
    """The JSON document the model must return; bounds are checked here because a proto schema's
    `minimum: 0` vanishes on the wire (reference: Vertex AI §4.4)."""

    summary: str = Field(min_length=1, max_length=2000)
    sentiment: Sentiment
    intent: Intent
    topics: tuple[str, ...] = Field(default=(), max_length=10)
    lead_score: int = Field(ge=0, le=100, strict=True)
    lead_score_reasons: tuple[str, ...] = Field(min_length=1, max_length=8)
    next_step: str = Field(min_length=1, max_length=500)


class CallAnalysis(Contract):
    """The stored analysis; `basis` says whether words or only the call's metadata were known."""

    basis: Basis
    summary: str
    sentiment: Sentiment
    intent: Intent
    topics: tuple[str, ...] = ()
    lead_score: int = Field(ge=0, le=100)
    lead_score_reasons: tuple[str, ...]
    next_step: str
    qualified: bool
    """True when `lead_score` reaches the tenant's threshold."""
    model: str
    """Model id and version that answered, or `rules` for an analysis made from metadata alone."""
    prompt_version: str
