"""The monthly bill of an installation, by service: usage times list price."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infra.cost.tables import Prices, Size, Usage
from shared.errors import ConfigurationError

_GB = 1e9
_GIB = 2.0**30
_SPEECH_STEPS = ((500_000, ""), (1_000_000, "_2"), (2_000_000, "_3"), (float("inf"), "_4"))
"""Minutes a month up to which a price holds, and the ending of its name in the list."""

GUIDE: Mapping[str, float] = {
    "Cloud Run": 80,
    "Spanner": 650,
    "Speech-to-Text": 720,
    "Vertex AI": 250,
    "Cloud Storage": 25,
    "Load balancer": 18,
    "Networking": 100,
}
"""The production guide's table for 1,000 calls and 50 hours a month: $1,843."""


@dataclass(frozen=True)
class Bill:
    """One month in US dollars."""

    calls: int
    minutes_per_call: float
    region: str
    size: Size
    by_service: Mapping[str, float]
    spanner_share: float
    """Of what the database may carry, writes at the busiest time or storage, whichever is more; above 1: too small."""

    @property
    def total(self) -> float:
        return sum(self.by_service.values())

    @property
    def fits(self) -> bool:
        """Whether the database can carry these calls at all."""
        return self.spanner_share <= 1

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "calls": self.calls,
            "minutes_per_call": self.minutes_per_call,
            "region": self.region,
            "size": self.size.model_dump(),
            "usd_by_service": {name: round(usd, 2) for name, usd in self.by_service.items()},
            "usd_a_month": round(self.total, 2),
            "usd_a_call": round(self.total / self.calls, 4) if self.calls else None,
            "spanner_share": round(self.spanner_share, 3),
            "fits": self.fits,
        }


def bill(*, calls: int, minutes_per_call: float, region: str, size: Size, prices: Prices, usage: Usage) -> Bill:
    """Raises `ConfigurationError` for a region that the list does not know: a guess would look like a price."""
    factor = prices.region_factor.get(region)
    if factor is None:
        known = ", ".join(sorted(prices.region_factor))
        raise ConfigurationError("unknown_region", f"the price list knows no region {region!r}", fix=f"one of {known}")
    month = _Month(calls, minutes_per_call, size, prices, usage)
    by_service = {
        "Cloud Run": month.run(),
        "Spanner": month.spanner() * factor,
        "Speech-to-Text": month.speech(),
        "Vertex AI": month.model(),
        "Cloud Storage": month.storage() * factor,
        "Load balancer": month.load_balancer(),
        "Networking": month.network(),
        "Pub/Sub": month.pubsub(),
        "Keys and secrets": month.keys(),
        "Logs and metrics": month.logs(),
        "Build and release": month.build(),
    }
    return Bill(calls, minutes_per_call, region, size, by_service, month.spanner_share())


@dataclass(frozen=True)
class _Month:
    calls: int
    minutes_per_call: float
    size: Size
    prices: Prices
    usage: Usage

    def run(self) -> float:
        """Requests that are worked on, the sweeps, and minimum instances that wait (1 vCPU, 512 MiB or 1 GiB each)."""
        call, always, size = self.usage.call, self.usage.always, self.size
        cpu_s = self.calls * call.cpu_seconds + always.sweeps_a_month * always.sweep_cpu_seconds
        waiting = size.webhook_min_instances + 4 * size.stage_min_instances
        waiting_gib = size.webhook_min_instances * 0.5 + 4 * size.stage_min_instances * call.instance_gib
        requests = self.calls * (call.webhooks + call.pubsub_messages) + always.sweeps_a_month
        return (
            self.prices["run_vcpu_second"].of(cpu_s)
            + self.prices["run_gib_second"].of(cpu_s * call.instance_gib)
            + self.prices["run_idle_vcpu_second"].of(waiting * always.seconds_a_month)
            + self.prices["run_idle_gib_second"].of(waiting_gib * always.seconds_a_month)
            + self.prices["run_million_requests"].of(requests / 1e6)
        )

    def spanner(self) -> float:
        hours = self.usage.always.seconds_a_month / 3600
        gb = self._spanner_gb()
        return (
            self.prices["spanner_node_hour"].of(self.size.spanner_processing_units / 1000 * hours)
            + self.prices["spanner_gb_month"].of(gb)
            + self.prices["spanner_backup_gb_month"].of(gb * self.size.backup_days)
        )

    def spanner_share(self) -> float:
        limits, nodes = self.usage.spanner, self.size.spanner_processing_units / 1000
        mean = self.calls * self.usage.call.spanner_commits / self.usage.always.seconds_a_month
        writes = mean * limits.peak_to_mean / (nodes * limits.writes_a_second_a_node * limits.highest_share)
        return max(writes, self._spanner_gb() / (nodes * limits.storage_gb_a_node))

    def _spanner_gb(self) -> float:
        """At the end of the history that is kept: the dearest month, not the first."""
        return self.calls * self.usage.call.spanner_bytes * self.usage.always.history_months / _GB

    def speech(self) -> float:
        """Billed by second and channel; standard recognition gets cheaper with the month's minutes."""
        minutes = self.calls * self.minutes_per_call * self.usage.call.channels
        if self.size.speech_dynamic_batch:
            return self.prices["speech_dynamic_minute"].of(minutes)
        usd, below = 0.0, 0.0
        for most, ending in _SPEECH_STEPS:
            usd += self.prices[f"speech_standard_minute{ending}"].of(max(0.0, min(minutes, most) - below))
            below = most
        return usd

    def model(self) -> float:
        call = self.usage.call
        tokens_in = self.calls * (call.input_tokens_base + call.input_tokens_a_minute * self.minutes_per_call)
        return self.prices["model_million_input_tokens"].of(tokens_in / 1e6) + self.prices[
            "model_million_output_tokens"
        ].of(self.calls * call.output_tokens / 1e6)

    def storage(self) -> float:
        months = self.size.audio_days / 30
        writes = self.calls * self.usage.call.storage_writes / 1e4
        kept = self.prices["storage_gb_month"].of(self._audio_bytes() * months / _GB)
        return kept + self.prices["storage_10k_writes"].of(writes)

    def load_balancer(self) -> float:
        """Two forwarding rules (HTTPS and the redirect) count as one price; Cloud Armor's policy and rules."""
        hours = self.usage.always.seconds_a_month / 3600
        rules = self.prices["armor_rule_month"].of(self.size.armor_rules)
        return self.prices["forwarding_rule_hour"].of(hours) + self.prices["armor_policy_month"].of(1) + rules

    def network(self) -> float:
        """What goes to the CRMs, and Cloud NAT with its address, through which recordings come as well."""
        out_gb = self.calls * self.usage.call.egress_bytes / _GB
        through_nat_gb = out_gb + self._audio_bytes() / _GB
        hours = self.usage.always.seconds_a_month / 3600
        return (
            self.prices["egress_gb"].of(out_gb)
            + self.prices["nat_gb"].of(through_nat_gb)
            + self.prices["nat_hour"].of(hours * (1 + 4 * self.size.stage_min_instances))
            + self.prices["address_hour"].of(hours)
        )

    def _audio_bytes(self) -> float:
        return self.calls * self.minutes_per_call * 60 * self.usage.call.audio_bytes_a_second * self.usage.call.channels

    def pubsub(self) -> float:
        """What is published and what is pushed."""
        moved = 2 * self.calls * self.usage.call.pubsub_messages * max(1000.0, self.usage.call.pubsub_bytes)
        return self.prices["pubsub_tib"].of(moved / 2**40)

    def keys(self) -> float:
        """Two keys; a cached keyset is unwrapped every ten minutes by every process at the most."""
        always, unwraps = self.usage.always, self.size.tenants * self.usage.always.seconds_a_month / 600 * 5
        reads = self.size.tenants * always.secrets_a_tenant * always.seconds_a_month / 300
        return (
            self.prices["kms_key_month"].of(2)
            + self.prices["kms_10k_operations"].of(unwraps / 1e4)
            + self.prices["secret_version_month"].of(self.size.tenants * always.secrets_a_tenant)
            + self.prices["secret_10k_reads"].of(reads / 1e4)
        )

    def logs(self) -> float:
        scheduler = self.prices["scheduler_job_month"].of(3)
        metrics = self.prices["metrics_mib"].of(self.usage.always.metrics_mib)
        return self.prices["logging_gib"].of(self.calls * self.usage.call.log_bytes / _GIB) + metrics + scheduler

    def build(self) -> float:
        minutes = self.size.builds_a_month * self.usage.always.build_minutes
        images = self.prices["registry_gb_month"].of(self.usage.always.images_gb)
        return self.prices["build_minute"].of(minutes) + images
