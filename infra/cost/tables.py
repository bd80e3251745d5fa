"""The three data files beside this module, read and checked: prices, sizes of installations, what one call uses."""

from __future__ import annotations

import tomllib
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

_FOLDER = Path(__file__).parent


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Price(_Row):
    """One line of the list. `free` is a monthly allowance in the row's own unit."""

    usd: float = Field(ge=0)
    source: str = Field(min_length=10)
    confidence: Literal["high", "medium", "low"]
    free: float = Field(default=0.0, ge=0)

    def of(self, amount: float) -> float:
        """Dollars for so many units in one month."""
        return max(0.0, amount - self.free) * self.usd


class Prices(_Row):
    """The dated list."""

    as_of: date
    region_factor: dict[str, float]
    rows: dict[str, Price]

    def __getitem__(self, name: str) -> Price:
        return self.rows[name]


class Size(_Row):
    """What an installation runs whether calls come or not. Names are those of Terraform's variables."""

    spanner_processing_units: int = Field(ge=100, multiple_of=100)
    webhook_min_instances: int = Field(ge=0)
    stage_min_instances: int = Field(ge=0)
    speech_dynamic_batch: bool
    audio_days: int = Field(ge=1)
    backup_days: int = Field(ge=1)
    armor_rules: int = Field(ge=0)
    tenants: int = Field(ge=1)
    builds_a_month: int = Field(ge=0)


class CallUsage(_Row):
    """One call, all stages; see usage.toml for where each figure is from."""

    channels: int
    audio_bytes_a_second: float
    webhooks: float
    webhook_bytes: float
    input_tokens_base: float
    input_tokens_a_minute: float
    output_tokens: float
    pubsub_messages: float
    pubsub_bytes: float
    spanner_commits: float
    spanner_reads: float
    spanner_bytes: float
    storage_writes: float
    log_bytes: float
    egress_bytes: float
    cpu_seconds: float
    instance_gib: float


class Always(_Row):
    """What a month costs without a call."""

    seconds_a_month: float
    sweeps_a_month: float
    sweep_cpu_seconds: float
    secrets_a_tenant: float
    images_gb: float
    build_minutes: float
    metrics_mib: float
    history_months: float


class SpannerLimits(_Row):
    """What a node carries."""

    writes_a_second_a_node: float
    highest_share: float
    storage_gb_a_node: float
    peak_to_mean: float


class Usage(_Row):
    """Everything in usage.toml."""

    call: CallUsage
    always: Always
    spanner: SpannerLimits


@cache
def prices() -> Prices:
    """The list of prices.toml."""
    document = _read("prices.toml")
    head = {name: document.pop(name) for name in ("as_of", "region_factor")}
    return Prices.model_validate({**head, "rows": document})


@cache
def sizes() -> dict[str, Size]:
    """Installations by name; `small` is Terraform's default."""
    return {name: Size.model_validate(row) for name, row in _read("sizes.toml").items()}


@cache
def usage() -> Usage:
    """What one call uses."""
    return Usage.model_validate(_read("usage.toml"))


def _read(name: str) -> dict[str, Any]:
    with (_FOLDER / name).open("rb") as file:
        return tomllib.load(file)
