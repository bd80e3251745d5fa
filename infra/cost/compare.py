"""The comparisons beside one bill: growing loads, ways of transcription, sizes of Spanner, and the guide's table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from infra.cost.bill import GUIDE, Bill, Load, Transcription, bill_of
from infra.cost.prices import Installation, PriceList, Usage

LOADS: tuple[float, ...] = (1_000, 10_000, 100_000, 1_000_000)
SPANNER_SIZES: tuple[int, ...] = (100, 300, 1_000, 3_000)
TRANSCRIPTIONS: tuple[Transcription, ...] = ("standard", "dynamic")


@dataclass(frozen=True)
class Cost:
    """What `pipeline cost` shows; all totals are US dollars a month."""

    load: Load
    installation: Installation
    prices: PriceList
    usage: Usage
    region: str

    @property
    def bill(self) -> Bill:
        return self._bill(self.load)

    def by_load(self, transcription: Transcription) -> dict[float, float]:
        """Calls a month → total."""
        loads = (replace(self.load, calls=calls, transcription=transcription) for calls in LOADS)
        return {load.calls: self._bill(load).total for load in loads}

    def by_spanner_size(self, sizes: Sequence[int] = SPANNER_SIZES) -> dict[int, float]:
        """Processing units → total, for the load that was asked for."""
        return {size: self._bill(self.load, spanner_processing_units=size).total for size in sizes}

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        bill = self.bill
        return {
            "prices_of": self.prices.date.isoformat(),
            "region": self.region,
            "currency": self.prices.currency,
            "load": vars(self.load),
            "installation": self.installation.model_dump(),
            "total": round(bill.total, 2),
            "per_call": round(bill.total / self.load.calls, 4),
            "services": {
                service: {"usd": round(usd, 2), "guide": GUIDE.get(service)}
                for service, usd in bill.by_service().items()
            },
            "guide_total": sum(GUIDE.values()),
            "items": [
                {"price": item.price_id, "unit": item.unit, "quantity": item.quantity, "usd": round(item.usd, 4)}
                for item in bill.items
            ],
            "by_calls": {
                transcription: {f"{calls:.0f}": round(usd, 2) for calls, usd in self.by_load(transcription).items()}
                for transcription in TRANSCRIPTIONS
            },
            "by_spanner_processing_units": {size: round(usd, 2) for size, usd in self.by_spanner_size().items()},
        }

    def _bill(self, load: Load, **changes: Any) -> Bill:
        installation = self.installation.model_copy(update=changes)
        return bill_of(load, installation, prices=self.prices, usage=self.usage)
