"""The monthly bill of an installation under a load, by service. Pure arithmetic over the price list."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from infra.cost.prices import Installation, PriceList, Usage

Transcription = Literal["standard", "dynamic"]

HOURS = 730.0
"""Of a month, as Google's calculator has it."""
_SECONDS = HOURS * 3600
_DAYS = 365 / 12
_KIB_PER_GIB = 1024.0 * 1024.0
_KB_PER_TIB = 1024.0**4 / 1000
_LEAST_MESSAGE_KB = 1.0
SERVICES = (
    "Cloud Run",
    "Spanner",
    "Speech-to-Text",
    "Vertex AI",
    "Cloud Storage",
    "Pub/Sub",
    "Load balancer",
    "Cloud Armor",
    "Network",
    "Secret Manager",
    "Cloud KMS",
    "Observability",
    "Other",
)
GUIDE = {
    "Cloud Run": 80.0,
    "Spanner": 650.0,
    "Speech-to-Text": 720.0,
    "Vertex AI": 250.0,
    "Cloud Storage": 25.0,
    "Load balancer": 18.0,
    "Network": 100.0,
}
"""The production deployment guide's own table, for 1,000 calls and 50 hours a month (it adds up to $1,843)."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """One month's calls."""

    calls: float
    minutes_per_call: float
    channels: int = 1
    """2 where recordings keep agent and caller apart: Speech is taken to bill each channel."""
    transcription: Transcription = "standard"


@dataclass(frozen=True)
class Item:
    """A line of the bill: so many units of one price."""

    price_id: str
    service: str
    unit: str
    quantity: float
    usd: float


@dataclass(frozen=True)
class Bill:
    """Everything that one month costs."""

    items: tuple[Item, ...]

    @property
    def total(self) -> float:
        return sum(item.usd for item in self.items)

    def by_service(self) -> dict[str, float]:
        """In the order of `SERVICES`; none is left out."""
        return {service: sum(item.usd for item in self.items if item.service == service) for service in SERVICES}


def bill_of(load: Load, installation: Installation, *, prices: PriceList, usage: Usage) -> Bill:
    """The month in which storage has grown to what retention allows: a new installation pays less."""
    by_id = {price.id: price for price in prices.prices}
    items = []
    for price_id, quantity in _quantities(load, installation, usage):
        price = by_id[price_id]
        items.append(Item(price_id, price.service, price.unit, quantity, price.of(quantity)))
    return Bill(tuple(items))


def _quantities(load: Load, installation: Installation, usage: Usage) -> Iterator[tuple[str, float]]:
    yield from _fixed(installation)
    yield from _computing(load, usage)
    yield from _vendors(load, usage)
    yield from _kept(load, installation, usage)


def _fixed(installation: Installation) -> Iterator[tuple[str, float]]:
    webhook = installation.webhook_min_instances * _SECONDS
    stages = installation.stage_min_instances * installation.stages * _SECONDS
    yield "run_idle_cpu", webhook + stages
    yield "run_idle_memory", webhook * installation.webhook_memory_gib + stages * installation.stage_memory_gib
    yield "spanner_compute", installation.spanner_processing_units / 100 * HOURS
    yield "lb_rules", HOURS
    yield "armor_policy", 1
    yield "armor_rule", installation.armor_rules
    yield "nat_hours", HOURS
    yield "secret_versions", installation.secret_versions
    yield "kms_versions", installation.kms_key_versions
    yield "metrics", installation.metrics_mib
    yield "alerting", installation.alert_conditions
    yield "scheduler", installation.scheduler_jobs
    yield "registry", installation.image_gib


def _computing(load: Load, usage: Usage) -> Iterator[tuple[str, float]]:
    each = {name: figure.value for name, figure in usage.per_call.items()}
    calls = load.calls
    yield "run_cpu", calls * each["cpu_s"]
    yield "run_memory", calls * each["memory_gib_s"]
    yield "run_requests", calls * (each["webhooks"] + each["stage_requests"]) / 1e6
    # Published once and delivered once; dead letters, their archive and retries are lost in the rounding.
    yield "pubsub_throughput", 2 * calls * each["messages"] * max(_LEAST_MESSAGE_KB, each["message_kb"]) / _KB_PER_TIB
    yield "armor_requests", calls * each["webhooks"] / 1e6
    yield "lb_data", calls * each["webhooks"] * each["message_kb"] / _KIB_PER_GIB
    yield "nat_data", calls * each["egress_kib"] / _KIB_PER_GIB
    yield "egress", calls * each["egress_kib"] / _KIB_PER_GIB
    yield "secret_reads", calls * each["secret_reads"] / 1e4
    yield "kms_uses", calls * each["kms_uses"] / 1e4
    yield "logging", calls * each["log_kib"] / _KIB_PER_GIB
    yield "spans", calls * each["spans"] / 1e6


def _vendors(load: Load, usage: Usage) -> Iterator[tuple[str, float]]:
    each = {name: figure.value for name, figure in usage.per_call.items()}
    yield f"speech_{load.transcription}", load.calls * load.minutes_per_call * load.channels
    yield "model_input", load.calls * each["input_tokens"] / 1e6
    yield "model_output", load.calls * each["output_tokens"] / 1e6


def _kept(load: Load, installation: Installation, usage: Usage) -> Iterator[tuple[str, float]]:
    each = {name: figure.value for name, figure in usage.per_call.items()}
    audio_gib = load.calls * load.minutes_per_call * load.channels * usage.audio_mib_per_minute.value / 1024
    database_gib = load.calls * each["database_kib"] / _KIB_PER_GIB * installation.call_days / _DAYS
    yield "storage_standard", audio_gib * installation.audio_days / _DAYS
    yield "storage_writes", load.calls * each["object_writes"] / 1e4
    yield "storage_reads", load.calls * each["object_reads"] / 1e4
    yield "spanner_storage", database_gib
    yield "spanner_backup", database_gib * installation.backups_kept
