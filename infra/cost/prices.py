"""The price list, what one call uses, and how big an installation is: three dated files beside this one."""

from __future__ import annotations

from datetime import date
from functools import cache
from pathlib import Path

from pydantic import Field, TypeAdapter

from schemas.base import Contract

_FOLDER = Path(__file__).parent


class Tier(Contract):
    """A price that holds up to a quantity in the month; None: from there on."""

    up_to: float | None
    usd: float = Field(ge=0)


class Price(Contract):
    """What one unit costs in US dollars."""

    id: str
    service: str
    unit: str
    usd: float | None = Field(default=None, ge=0)
    tiers: tuple[Tier, ...] = ()
    free: float = Field(default=0, ge=0)
    """Units of a month that cost nothing; by billing account, so another project may have used them."""
    source: str
    confidence: str

    def of(self, quantity: float) -> float:
        """US dollars for so many units in one month."""
        left = max(0.0, quantity - self.free)
        if self.usd is not None:
            return left * self.usd
        total, before = 0.0, 0.0
        for tier in self.tiers:
            end = tier.up_to if tier.up_to is not None else quantity
            total += max(0.0, min(left, end) - before) * tier.usd
            before = end
        return total


class PriceList(Contract):
    """`regions` are those for which the prices hold."""

    date: date
    currency: str
    regions: tuple[str, ...]
    prices: tuple[Price, ...]


class Figure(Contract):
    """A number with where it comes from."""

    value: float = Field(ge=0)
    basis: str


class Usage(Contract):
    """What a call uses of each service, whatever the installation."""

    per_call: dict[str, Figure]
    audio_mib_per_minute: Figure


class Installation(Contract):
    """Sizes that are paid for whether calls come or not."""

    what: str
    spanner_processing_units: int = Field(ge=100)
    webhook_min_instances: int = Field(ge=0)
    webhook_memory_gib: float = Field(gt=0)
    stage_min_instances: int = Field(ge=0)
    stage_memory_gib: float = Field(gt=0)
    stages: int
    armor_rules: int
    secret_versions: int
    kms_key_versions: int
    alert_conditions: int
    scheduler_jobs: int
    metrics_mib: float
    image_gib: float
    audio_days: int
    call_days: int
    backups_kept: int


@cache
def load_prices() -> PriceList:
    """The list of the repository."""
    return PriceList.model_validate_json((_FOLDER / "prices.json").read_bytes())


@cache
def load_usage() -> Usage:
    """What a call uses."""
    return Usage.model_validate_json((_FOLDER / "usage.json").read_bytes())


@cache
def load_installations() -> dict[str, Installation]:
    """The sizes with a name."""
    return TypeAdapter(dict[str, Installation]).validate_json((_FOLDER / "installations.json").read_bytes())
