"""`pipeline load`: a constant rate whatever the target does, exact percentiles, nobody else's machine."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from handlers.signature import callrail_signature
from infra.load.calls import is_load_call, signed_calls
from infra.load.fate import Fate, follow
from infra.load.plot import draw, is_picture
from infra.load.report import LoadResult, lines_of, percentile
from infra.load.sender import Answer
from infra.load.target import check_size, check_target
from infra.local.senders import new_call_id
from schemas.webhooks import infer_kind, parse_webhook
from shared.errors import ConfigurationError
from shared.gateways.calls import StoryLine
from stages.download.logic import reason_for_no_audio

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


def test_calls_are_signed_distinct_recognisable_and_without_audio() -> None:
    calls = list(signed_calls("0123456789ab", count=1_100, company_id="COM1", key="key", now=NOW))

    assert len({call.call_id for call in calls}) == 1_100
    for call in (calls[0], calls[-1]):
        payload = json.loads(call.body)
        assert call.signature == callrail_signature("key", call.body)
        assert infer_kind(payload) == "post_call"
        details = parse_webhook(payload)
        assert is_load_call(details.call_id)
        assert reason_for_no_audio(details) == "missed_call"
        assert re.fullmatch(r"\+1\d{3}55501\d{2}", details.caller_number)
    assert not is_load_call(new_call_id())


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080", "http://localhost:1/", "http://[::1]:80"])
def test_this_machine_may_be_loaded(url: str) -> None:
    check_target(url, owned_host="")


@pytest.mark.parametrize(
    ("url", "owned", "code"),
    [
        ("https://api.example.com", "", "target_not_owned"),
        ("https://api.example.com", "example.com", "target_not_owned"),
        ("https://localhost.example.com", "localhost", "target_not_owned"),
        ("http://10.0.0.1", "", "target_not_owned"),
        ("http://api.example.com", "api.example.com", "target_not_encrypted"),
        ("ftp://127.0.0.1", "", "bad_target"),
        ("127.0.0.1:80", "", "bad_target"),
    ],
)
def test_other_machines_may_not_unless_their_owner_says_so(url: str, owned: str, code: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        check_target(url, owned_host=owned)
    assert refused.value.code == code


def test_an_owner_may_load_what_is_theirs() -> None:
    check_target("https://api.example.com", owned_host="api.example.com")


def test_a_test_has_a_size() -> None:
    assert check_size(rate=100, duration_s=60) == 6_000
    for rate, duration_s in ((1_001, 1), (1_000, 101), (0.1, 1)):
        with pytest.raises(ConfigurationError):
            check_size(rate=rate, duration_s=duration_s)


def test_percentiles_are_values_that_were_measured() -> None:
    ordered = [float(number) for number in range(1, 1_001)]

    assert [percentile(ordered, percent) for percent in (50, 99, 99.9, 100)] == [500, 990, 999, 1_000]
    assert percentile([7.0], 50) == percentile([7.0], 100) == 7.0


class StallingTarget(httpx.AsyncBaseTransport):
    """Answers at once, except that everything that comes during its pause waits for the pause's end."""

    def __init__(self, *, pause_s: float) -> None:
        self._pause_s = pause_s
        self._awake: asyncio.Event | None = None
        self.seen = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.seen += 1
        if self._awake is None:
            self._awake = asyncio.Event()
            asyncio.get_running_loop().call_later(self._pause_s, self._awake.set)
        await self._awake.wait()
        return httpx.Response(202, json={"request_id": "r-1"})


def test_a_stalled_target_does_not_slow_the_sender_and_every_waiting_request_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A closed loop would have seen one slow answer; here all that were due during the pause are slow."""
    from infra.load import sender

    target = StallingTarget(pause_s=0.3)
    real = httpx.AsyncClient
    monkeypatch.setattr(httpx, "AsyncClient", lambda **_: real(transport=target))
    calls = list(signed_calls("0123456789ab", count=40, company_id="COM1", key="key", now=NOW))

    answers = sender.send_all("http://127.0.0.1:1", calls, rate=100, report=lambda _number: None)

    assert target.seen == 40
    assert [answer.due_s for answer in answers] == pytest.approx([number / 100 for number in range(40)], abs=1e-6)
    for answer in answers[:20]:
        assert answer.latency_s >= 0.3 - answer.due_s - 0.01


# --- what became of them ----------------------------------------------------------------------------------


class Rows:
    """Each call's states, one for each look; the last one stays. None: no row."""

    def __init__(self, states: dict[str, list[str | None]]) -> None:
        self._states = states

    def story(self, tenant_id: str, call_id: str) -> list[StoryLine]:
        states = self._states[call_id]
        state = states.pop(0) if len(states) > 1 else states[0]
        if state is None:
            return []
        ended_at = NOW + timedelta(seconds=3) if state == "done" else None
        nothing = dict.fromkeys(
            ("stage", "state", "attempt", "error_code", "error_detail", "error_fix", "due_at", "started_at")
        )
        return [StoryLine(f"r-{call_id}", "post_call", "webhook", state, NOW, ended_at, finished_at=None, **nothing)]


def answer(call_id: str, *, status: int = 202, latency_s: float = 0.01, due_s: float = 0.0) -> Answer:
    return Answer(call_id, due_s, 0.001, latency_s, status, f"r-{call_id}")


def fate_of(states: dict[str, list[str | None]]) -> Fate:
    clock = iter(range(1_000))
    return follow(
        Rows(states),
        "tenant",
        [answer(call_id) for call_id in states],
        timeout_s=20,
        report=lambda _number: None,
        monotonic=lambda: float(next(clock)),
        sleep=lambda _seconds: None,
    )


def test_every_accepted_call_is_followed_to_its_end() -> None:
    fate = fate_of({"a": [None, "running", "done"], "b": ["failed"], "c": ["running"], "d": [None]})

    assert fate.states == Counter({"done": 1, "failed": 1, "unfinished": 1, "lost": 1})
    assert fate.end_to_end_s == (3.0,)
    assert (fate.lost, fate.unfinished) == (1, 1)


def result_of(answers: tuple[Answer, ...], fate: Fate) -> LoadResult:
    return LoadResult("0123456789ab", "http://127.0.0.1:1", 100.0, answers, fate)


ALL_DONE = Fate(Counter(done=2), (1.0, 2.0), 2.0)


def test_a_test_holds_only_when_all_came_all_the_way_in_time() -> None:
    both = (answer("a"), answer("b"))

    assert result_of(both, ALL_DONE).holds
    assert not result_of((answer("a"), answer("b", status=503)), Fate(Counter(done=1), (1.0,), 1.0)).holds
    assert not result_of(both, Fate(Counter(done=1, lost=1), (1.0,), 1.0)).holds
    assert not result_of((answer("a", latency_s=2.5), answer("b", latency_s=2.5)), ALL_DONE).holds


def test_the_report_says_what_was_measured() -> None:
    document = result_of((answer("a"), answer("b", status=0, latency_s=30.0, due_s=0.01)), ALL_DONE).document()

    assert document["statuses"] == {"no answer": 1, "202": 1}
    assert document["errors"] == 1
    assert document["latency_ms"]["p50"] == 10.0
    assert document["latency_ms"]["max"] == 30_000.0
    text = "\n".join(lines_of(document))
    assert "1 × no answer" in text
    assert "0 lost" in text


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_a_plot_is_a_picture_of_all_samples(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"load.{ending}"
    answers = tuple(answer(f"c{number}", due_s=number / 100, latency_s=0.01 + number / 1e4) for number in range(300))

    draw(result_of(answers, Fate(Counter(done=300), tuple(number / 10 for number in range(300)), 1.0)), path)

    assert is_picture(path)
    assert path.read_bytes().startswith(b"\x89PNG" if ending == "png" else b"<?xml")
    assert path.stat().st_size > 10_000
    assert not is_picture(tmp_path / "load.txt")
