"""`pipeline cost`: usage times a dated list; the small installation keeps every promise for less than $200."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from infra.cost.bill import GUIDE, Bill, bill
from infra.cost.tables import Size, prices, sizes, usage
from infra.local.plan import PROJECT_ROOT
from shared.pipeline import load_pipeline
from shared.settings import Settings
from tests.e2e.command_line import pipeline


def billed(*, calls: int = 1_000, minutes: float = 3.0, size: str = "small", **changes: Any) -> Bill:
    chosen: Size = sizes()[size].model_copy(update=changes)
    return bill(
        calls=calls,
        minutes_per_call=minutes,
        region="us-central1",
        size=chosen,
        prices=prices(),
        usage=usage(),
    )


def test_a_small_installation_costs_less_than_200_dollars_and_calls_are_not_made_to_wait() -> None:
    small = sizes()["small"]

    assert billed().total < 200
    assert not small.speech_dynamic_batch, "dynamic batch takes up to a day"
    assert small.webhook_min_instances >= 1, "a webhook must not meet a cold start"
    assert billed().fits


def test_the_small_installation_is_what_the_code_and_pipeline_json_default_to() -> None:
    small, services = sizes()["small"], load_pipeline().services

    assert small.webhook_min_instances == services["webhook"].min_instances
    stages = [service.min_instances for service in services.values() if service.role == "stage"]
    assert set(stages) == {small.stage_min_instances}
    assert small.speech_dynamic_batch is Settings.model_fields["speech_dynamic_batch"].default
    assert usage().call.instance_gib == 1.0


def test_each_service_is_usage_times_its_price() -> None:
    by_service = billed().by_service

    assert by_service["Speech-to-Text"] == pytest.approx(3_000 * 0.016)
    assert billed(speech_dynamic_batch=True).by_service["Speech-to-Text"] == pytest.approx(3_000 * 0.003)
    nodes = billed(spanner_processing_units=1_100).by_service["Spanner"] - by_service["Spanner"]
    assert nodes == pytest.approx(0.90 * 730)
    assert billed(calls=0).by_service["Vertex AI"] == 0


def test_speech_gets_cheaper_by_steps_not_at_once() -> None:
    """500,000 minutes at the first price, 500,000 at the second, a million at the third, what remains at the fourth."""
    usd = billed(calls=1_000_000).by_service["Speech-to-Text"]

    assert usd == pytest.approx(500_000 * 0.016 + 500_000 * 0.010 + 1_000_000 * 0.008 + 1_000_000 * 0.004)


@pytest.mark.parametrize("name", ["Cloud Run", "Spanner", "Speech-to-Text", "Vertex AI", "Cloud Storage", "Pub/Sub"])
def test_more_calls_never_cost_less(name: str) -> None:
    costs = [billed(calls=calls).by_service[name] for calls in (0, 1_000, 100_000, 10_000_000)]

    assert costs == sorted(costs)
    assert costs[-1] > costs[0]


def test_a_database_that_is_too_small_is_said_to_be() -> None:
    assert billed(calls=1_000_000).fits
    assert not billed(calls=10_000_000).fits
    assert billed(calls=10_000_000, spanner_processing_units=1_000).fits


def test_every_price_has_a_source_and_every_price_is_used() -> None:
    unused = set(prices().rows)

    class Watching(Mapping[str, Any]):
        def __getitem__(self, name: str) -> Any:
            unused.discard(name)
            return prices().rows[name]

        def __iter__(self) -> Any:
            return iter(prices().rows)

        def __len__(self) -> int:
            return len(prices().rows)

    watched = prices().model_copy(update={"rows": Watching()})
    for dynamic in (True, False):
        size = sizes()["small"].model_copy(update={"speech_dynamic_batch": dynamic})
        bill(calls=1, minutes_per_call=1, region="us-central1", size=size, prices=watched, usage=usage())
    assert unused == set()


def test_the_guides_table_is_the_guides() -> None:
    assert sum(GUIDE.values()) == 1_843


def test_the_document_holds_the_figures_that_the_command_prints() -> None:
    page = (PROJECT_ROOT / "docs" / "operations" / "capacity-and-cost.md").read_text(encoding="utf-8")
    one = billed()

    for name, usd in one.by_service.items():
        assert f"| {name} | {usd:,.2f} |" in page
    assert f"**{one.total:,.2f}**" in page
    for dynamic, kind in ((True, "dynamic batch"), (False, "standard")):
        for units in (100, 300, 1_000):
            bills = [
                billed(calls=calls, speech_dynamic_batch=dynamic, spanner_processing_units=units)
                for calls in (1_000, 10_000, 100_000, 1_000_000)
            ]
            assert f"| {kind} | {units} | {' | '.join(f'{each.total:,.0f}' for each in bills)} |" in page


# --- as typed ---------------------------------------------------------------------------------------------


def test_the_command_prints_one_document() -> None:
    document = pipeline("cost", "--calls", "1000", "--minutes-per-call", "3", "--json", "--scale").document()

    assert document["usd_a_month"] == pytest.approx(sum(document["usd_by_service"].values()), abs=0.1)
    assert document["usd_a_month"] == round(billed().total, 2)
    assert document["as_of"] == str(prices().as_of)
    assert len(document["scale"]) == 24
    assert {row["calls"] for row in document["scale"]} == {1_000, 10_000, 100_000, 1_000_000}


def test_options_change_what_they_name() -> None:
    def usd(*options: str) -> dict[str, float]:
        found: dict[str, float] = pipeline("cost", "--json", *options).document()["usd_by_service"]
        return found

    plain = usd()
    assert usd("--recognition", "dynamic")["Speech-to-Text"] < plain["Speech-to-Text"]
    assert usd("--processing-units", "300")["Spanner"] > plain["Spanner"]
    assert usd("--channels", "2")["Speech-to-Text"] == 2 * plain["Speech-to-Text"]
    assert usd("--size", "guide")["Spanner"] > 650
    assert usd("--region", "europe-west3")["Spanner"] > plain["Spanner"]
    assert usd("--minutes-per-call", "6")["Speech-to-Text"] == 2 * plain["Speech-to-Text"]


def test_the_table_shows_ours_beside_the_guides() -> None:
    ran = pipeline("cost", "--scale")

    assert ran.status == 0, ran.err
    assert "1,843" in ran.out
    assert f"{billed().total:,.2f}" in ran.out
    assert "low confidence" in ran.out


@pytest.mark.parametrize(
    "options", [("--region", "mars-north1"), ("--processing-units", "150"), ("--plot", "cost.txt")]
)
def test_nonsense_is_refused(options: tuple[str, ...]) -> None:
    ran = pipeline("cost", *options)

    assert ran.status == 1
    assert "what to do" in ran.err
    assert not ran.out


def test_the_plot_is_drawn(tmp_path: Any) -> None:
    path = tmp_path / "cost.png"

    assert pipeline("cost", "--plot", str(path), "--json").status == 0
    assert path.read_bytes().startswith(b"\x89PNG")
    assert json.loads(pipeline("cost", "--json").out)["fits"]
