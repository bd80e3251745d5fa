"""The monthly bill: sums by hand, the target for a small installation, and what the command refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infra.cost.bill import GUIDE, SERVICES, Load, bill_of
from infra.cost.prices import Installation, Price, Tier, load_installations, load_prices, load_usage
from tests.e2e.command_line import pipeline

SMALL = load_installations()["small"]
THOUSAND = Load(calls=1000, minutes_per_call=3)


def usd(load: Load, service: str, installation: Installation = SMALL) -> float:
    return bill_of(load, installation, prices=load_prices(), usage=load_usage()).by_service()[service]


def test_speech_is_minutes_times_channels_times_the_price() -> None:
    assert usd(THOUSAND, "Speech-to-Text") == pytest.approx(3000 * 0.016)
    assert usd(Load(calls=1000, minutes_per_call=3, channels=2), "Speech-to-Text") == pytest.approx(6000 * 0.016)
    dynamic = Load(calls=1000, minutes_per_call=3, transcription="dynamic")
    assert usd(dynamic, "Speech-to-Text") == pytest.approx(3000 * 0.003)


def test_a_tier_holds_for_its_own_units_only_and_free_units_come_first() -> None:
    tiers = (Tier(up_to=10, usd=2), Tier(up_to=None, usd=1))
    price = Price(id="p", service="Spanner", unit="u", tiers=tiers, source="s", confidence="c")
    assert [price.of(quantity) for quantity in (0, 10, 15)] == [0, 20, 25]
    flat = Price(id="p", service="Spanner", unit="u", usd=2, free=10, source="s", confidence="c")
    assert [flat.of(quantity) for quantity in (0, 10, 15)] == [0, 0, 10]


def test_spanner_is_its_units_and_what_is_kept() -> None:
    ten_times = SMALL.model_copy(update={"spanner_processing_units": 1000})
    assert usd(THOUSAND, "Spanner", ten_times) - usd(THOUSAND, "Spanner") == pytest.approx(9 * 0.09 * 730)
    for_a_month = SMALL.model_copy(update={"call_days": 30})
    assert usd(THOUSAND, "Spanner", for_a_month) < usd(THOUSAND, "Spanner")


def test_a_thousand_calls_cost_less_than_200_dollars_and_within_minutes() -> None:
    """The target for small installations. Dynamic batch may take a day, which would break a promise."""
    assert THOUSAND.transcription == "standard"
    assert bill_of(THOUSAND, SMALL, prices=load_prices(), usage=load_usage()).total < 200


def test_every_price_is_used_and_every_use_has_a_price() -> None:
    used = {
        item.price_id
        for transcription in ("standard", "dynamic")
        for item in bill_of(
            Load(calls=1, minutes_per_call=1, transcription=transcription),
            SMALL,
            prices=load_prices(),
            usage=load_usage(),
        ).items
    }
    assert used == {price.id for price in load_prices().prices}
    assert {price.service for price in load_prices().prices} == set(SERVICES)


def test_the_guides_table_adds_up_as_the_guide_says() -> None:
    assert sum(GUIDE.values()) == 1843


def test_the_document_and_the_picture(tmp_path: Path) -> None:
    picture = tmp_path / "cost.svg"

    ran = pipeline("cost", "--calls", "10000", "--spanner-units", "300", "--plot", str(picture), "--json")

    document = json.loads(ran.out)
    assert document["installation"]["spanner_processing_units"] == 300
    assert document["total"] == pytest.approx(sum(one["usd"] for one in document["services"].values()), abs=0.1)
    assert list(document["by_calls"]["standard"]) == ["1000", "10000", "100000", "1000000"]
    assert "<svg" in picture.read_text()


def test_the_table_names_every_service_and_the_guides_total() -> None:
    shown = pipeline("cost").out
    assert all(service in shown for service in SERVICES)
    assert "1,843" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--region", "mars-north1"), "there is no mars-north1"),
        (("--transcription", "psychic"), "there is no psychic"),
        (("--installation", "huge"), "there is no huge"),
        (("--spanner-units", "150"), "not a multiple of 100"),
        (("--plot", "cost.docx"), "unknown ending"),
        (("--plot", "/nowhere/cost.png"), "cannot write"),
    ],
)
def test_a_wrong_argument_is_told_with_what_to_do(arguments: tuple[str, ...], message: str) -> None:
    ran = pipeline("cost", *arguments)
    assert ran.status == 1
    assert message in ran.err
    assert ran.out == ""
