"""A second tenant's name with the first one's ids, at every command and every address: not found, nothing changed.

Commands and addresses are read from the code, so that a new one without a case fails here.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import typer

from handlers import wiring
from handlers.cli.main import app
from handlers.operator import OperatorService
from handlers.push import PushService, StageTaker
from handlers.reconcile import ReconcileRoute
from handlers.signature import callrail_signature
from handlers.webhook import SHARED_PATH
from schemas.events import CallTranscribed
from shared.backfill import Tally
from shared.errors import PermanentFailure
from shared.gateways.push_tokens import AllowAll
from shared.names import first_request_id
from shared.reconciliation import RunSummary
from shared.settings import load_settings
from tests.integration.test_cross_tenant import TABLES
from tests.support.desk_bench import OURS, THEIRS, received
from tests.support.desk_terminal import DeskTerminal, open_terminal
from tests.support.gcs import fresh_store
from tests.support.http_target import served
from tests.support.named_tests import body_of
from tests.support.pipeline_database import PipelineDatabase
from tests.support.ports import MemoryPublisher
from tests.unit.test_push import envelope
from tests.unit.test_tenant_limits import COMPANIES, KEYS, Bench

ROOT = Path(__file__).parents[2]
MARK = "MARKED-SECRET-OF-THE-VICTIM"
VICTIM, ATTACKER = OURS, THEIRS

# --- commands -------------------------------------------------------------------------------------------

ATTACKS: dict[str, Sequence[str]] = {
    "why": ("{call}",),
    "trace": ("{call}",),
    "calls list": (),
    "calls show": ("{call}",),
    "privacy erase": ("--call", "{call}"),
    "privacy export": ("--call", "{call}", "--out", "{file}"),
    "privacy retention": ("--sweep",),
    "keys show": (),
    "keys rotate": (),
    "keys create": (),
    "dead-letters list": ("--text", "{letter}", "--state", "any"),
    "dead-letters groups": ("--text", "{letter}",),
    "dead-letters stats": (),
    "dead-letters show": ("{letter}",),
    "dead-letters replay": ("{letter}", "--yes", "--wait", "0s"),
    "dead-letters discard": ("{letter}", "--reason", "mine"),
    "dead-letters restore": ("{letter}",),
    "dead-letters note": ("{letter}", "mine"),
    "dead-letters requeue": ("{letter}", "--edit", "{file}"),
    "dead-letters export": ("--text", "{letter}"),
    "tenant show": ("{attacker}",),
    "tenant rotate-secret": ("{attacker}", "--finish"),
    "tenant check": ("{attacker}",),
    "tenant suspend": ("{attacker}",),
    "tenant resume": ("{attacker}",),
    "backfill": ("--since", "1d"),
    "reconciliation": (),
}  # fmt: skip
"""With the attacker's own name, as `--tenant` or at `{attacker}`. `{call}` and `{letter}` are the victim's."""
_BY_A_FILE = "tests/integration/test_tenant_cli.py::test_nothing_of_another_tenant_can_be_taken_over_by_a_file"
ELSEWHERE: dict[str, tuple[str, tuple[str, ...]]] = {
    "dead-letters import": (
        "tests/integration/test_dead_letters_cli.py::test_letters_of_one_tenant_cannot_be_imported_as_anothers",
        ('"import"', "THEIRS"),
    ),
    "tenant create": (_BY_A_FILE, ('"create"', "other-dental")),
    "tenant update": (_BY_A_FILE, ('"update"', "other-dental")),
    "tenant onboard": (
        "tests/e2e/test_onboarding_trouble.py::test_a_company_of_another_tenant_is_refused_and_nothing_is_written",
        ("onboard(", "second."),
    ),
    "tenant export": (
        "tests/integration/test_tenant_export.py::test_everything_of_one_tenant_and_nothing_of_another",
        ("export(", "THEIRS"),
    ),
    "tenant offboard": (
        "tests/integration/test_privacy_cli.py::test_an_offboarded_tenants_data_cannot_be_read_any_more",
        ('"tenant", "offboard"', "THEIRS"),
    ),
}
"""Commands that take a whole tenant or a file instead of another's id: the test where two tenants meet at each, and
the command and the second tenant as its body calls them."""
OF_ALL_TENANTS = {
    "sweep", "tenant list", "dead-letters drain", "dead-letters jobs", "dead-letters resume", "dead-letters stop",
}  # fmt: skip
"""An operator's own: they name no tenant."""
OF_NO_TENANT = {
    "demo", "migrate", "bench", "chaos", "cost", "load", "webhook send",
    "local up", "local down", "local status", "local env", "local logs",
}  # fmt: skip
"""They touch a laptop's stack, or the schema."""


def commands() -> Iterator[str]:
    def walk(command: Any, path: tuple[str, ...]) -> Iterator[str]:
        for name, inner in getattr(command, "commands", {}).items():
            yield from walk(inner, (*path, name))
        if not hasattr(command, "commands"):
            yield " ".join(path)

    return walk(typer.main.get_command(app), ())


@dataclass(frozen=True)
class Scene:
    """The victim's call with a dead letter; an attacker with a call of its own."""

    terminal: DeskTerminal
    database: PipelineDatabase
    call: str
    letter: str

    def victims_rows(self) -> dict[str, list[list[Any]]]:
        return {
            table: self.database.rows(f"SELECT * FROM {table} WHERE tenant_id = '{VICTIM}' ORDER BY 1, 2")
            for table in (*TABLES, "tenants", "tenant_keysets")
        }


@pytest.fixture
def scene(
    pipeline_database: PipelineDatabase, pubsub_emulator: str, gcs_server: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Scene]:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_server)
    monkeypatch.setenv("PIPELINE_AUDIO_BUCKET", fresh_store(gcs_server).bucket)
    with open_terminal(pipeline_database, pubsub_emulator, monkeypatch) as terminal:
        refused = PermanentFailure("model_refused", f"no {MARK}", fix=MARK)
        (letter,) = terminal.bench.fail("analyze", refused, received(1, tenant_id=VICTIM))
        yield Scene(terminal, pipeline_database, letter.call_id, letter.dead_letter_id)


def test_every_command_has_its_case_here() -> None:
    listed = [set(ATTACKS), set(ELSEWHERE), OF_ALL_TENANTS, OF_NO_TENANT]

    assert set().union(*listed) == set(commands())
    assert sum(map(len, listed)) == len(set(commands())), "one case each"


@pytest.mark.parametrize("command", sorted(ELSEWHERE))
def test_a_case_elsewhere_runs_the_command_with_two_tenants(command: str) -> None:
    reference, words = ELSEWHERE[command]
    body = body_of(reference)

    assert [word for word in (*words, "assert ") if word not in body] == []


@pytest.mark.emulators
def test_another_tenants_ids_lead_nowhere_and_tell_nothing(scene: Scene, tmp_path: Path) -> None:
    from tests.e2e.command_line import Ran, pipeline

    before = scene.victims_rows()
    assert MARK in str(before)

    def attack(name: str, *, call: str, letter: str) -> Ran:
        file = tmp_path / "file.json"
        file.unlink(missing_ok=True)
        if "--edit" in ATTACKS[name]:
            file.write_text("{}")
        known = {"call": call, "letter": letter, "file": file, "attacker": ATTACKER}
        whose = () if "{attacker}" in ATTACKS[name] else ("--tenant", ATTACKER)
        return pipeline(*name.split(), *(part.format(**known) for part in ATTACKS[name]), *whose)

    for name in ATTACKS:
        real = attack(name, call=scene.call, letter=scene.letter)
        nobodys = attack(name, call=f"CAL{'f' * 32}", letter=f"d-{'f' * 32}")

        assert MARK not in real.out + real.err, name
        assert "Traceback" not in real.err, (name, real.err)
        assert scene.victims_rows() == before, f"{name} changed the victim's rows"
        assert anonymous(real, scene) == anonymous(nobodys, scene), f"{name} tells that the id exists"
    scene.terminal.take()
    assert scene.terminal.sent == [], "nothing was replayed"


def anonymous(ran: Any, scene: Scene) -> tuple[int, str, str]:
    """Status and output without what differs from run to run."""

    def cleaned(text: str) -> str:
        for word in (scene.call, f"CAL{'f' * 32}", scene.letter, f"d-{'f' * 32}"):
            text = text.replace(word, "ID")
        return re.sub(r"\d+", "0", re.sub(r"\b[0-9a-f]{8}-[0-9a-f-]{27}\b", "JOB", text))

    return ran.status, cleaned(ran.out), cleaned(ran.err)


@pytest.mark.emulators
def test_the_same_command_does_show_the_victim_its_letter(scene: Scene) -> None:
    """The attack above is real."""
    assert MARK in scene.terminal.type("show", scene.letter, "--tenant", VICTIM).out


# --- addresses ------------------------------------------------------------------------------------------

ADDRESSES = {
    "/livez", "/v1/health", SHARED_PATH, "/", "/internal/neighbours", "/internal/sweep", "/internal/backfill",
}  # fmt: skip
"""Each has a case below. A tenant's own address is the shared one with token and event behind it."""


def addresses() -> set[str]:
    """Every text in the handlers that is a path from the root."""
    return {
        node.value
        for path in sorted((ROOT / "handlers").glob("*.py"))
        if path.name != "gunicorn_conf.py"  # paths of the container, not addresses
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"/[\w/.-]*", node.value)
    }


def test_every_address_has_its_case_here() -> None:
    assert addresses() == ADDRESSES


def posted(bench: Bench, tenant: str, *, key: str, company: str) -> tuple[int, dict[str, Any]]:
    body = b'{"resource_id":"CAL1","company_resource_id":"%s"}' % company.encode()
    headers = {"Signature": callrail_signature(key, body)}
    answer = bench.client.post(SHARED_PATH, data=body, content_type="application/json", headers=headers)
    document = answer.get_json()
    document.pop("request_id", None)
    assert tenant not in answer.get_data(as_text=True)
    return answer.status_code, document


def test_one_tenants_key_opens_no_other_and_the_refusal_does_not_say_who_is_a_customer() -> None:
    bench = Bench()

    another = posted(bench, "quiet", key=KEYS["noisy"], company=COMPANIES["quiet"])
    nobody = posted(bench, "quiet", key=KEYS["noisy"], company="COM00000000000000000000000000000000")

    assert another == nobody
    assert another[0] == 401
    assert bench.publisher.messages == []
    assert posted(bench, "noisy", key=KEYS["noisy"], company=COMPANIES["noisy"])[0] == 202


@pytest.mark.parametrize("path", ["/livez", "/v1/health"])
def test_health_names_no_tenant(path: str) -> None:
    bench = Bench()
    bench.post("noisy", 1)

    text = bench.client.get(path).get_data(as_text=True)

    assert not [name for name in (*COMPANIES, *COMPANIES.values()) if name in text]


@pytest.mark.emulators
def test_a_push_that_names_anothers_request_touches_nothing_of_it(scene: Scene) -> None:
    bench = scene.terminal.bench
    taker = StageTaker(runner=bench.runner("analyze"), audio_bucket="bucket")
    client = served(PushService(AllowAll(), taker)).test_client()
    before = scene.victims_rows()
    request_id = first_request_id(VICTIM, scene.call)
    honest = CallTranscribed(tenant_id=ATTACKER, request_id=request_id, call_id=scene.call)
    mixed = {**honest.attributes(), "tenant_id": VICTIM}
    ran = list(bench.ran)

    for attributes in (honest.attributes(), mixed):
        answer = client.post("/", json=envelope(honest.model_dump_json().encode(), attributes))
        assert answer.status_code in {204, 503}
        assert MARK not in answer.get_data(as_text=True)

    assert scene.victims_rows() == before
    assert bench.ran == ran, "no stage ran"


@pytest.mark.emulators
@pytest.mark.parametrize("path", ["/internal/neighbours", "/internal/sweep", "/internal/backfill"])
def test_the_operators_addresses_answer_with_counts_and_no_tenants_name(scene: Scene, path: str) -> None:
    settings = load_settings()
    far = timedelta(days=40)  # everything is stale by then
    sweeper = replace(wiring.sweeper(settings), publisher=MemoryPublisher(), now=lambda: datetime.now(UTC) + far)
    route = ReconcileRoute(lambda: RunSummary(Counter(), Tally()))
    client = served(OperatorService(AllowAll(), {"spanner": lambda: True}, sweeper.sweep, route)).test_client()

    answer = (client.get if path.endswith("neighbours") else client.post)(path)

    assert answer.status_code == 200
    text = answer.get_data(as_text=True)
    assert not [word for word in (VICTIM, ATTACKER, scene.call, scene.letter, MARK) if word in text]
