"""A customer leaves with everything: `pipeline tenant export` against the Spanner emulator and a storage server."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from schemas.calls import CallDetails, CallRecord, Marketing
from shared.errors import PermanentFailure
from shared.gateways import export_store
from shared.gateways.objects import GcsObjectStore
from shared.gateways.run_store import SpannerRunStore
from shared.tenant_export import SHEET_COLUMNS, cell, sheet_line, sheet_row
from tests.e2e.command_line import Ran, pipeline
from tests.support.callers import NAME, NUMBER, OURS, THEIRS, WORDS
from tests.support.desk_bench import DeskBench
from tests.support.emulators import TEST_INSTANCE, TEST_PROJECT
from tests.support.pipeline_database import PipelineDatabase
from tests.support.privacy import BUCKET, call_of, hold, objects, received, storage_url

__all__ = ["objects", "storage_url"]

pytestmark = pytest.mark.emulators

Export = Callable[..., Ran]


@pytest.fixture
def export(
    pipeline_database: PipelineDatabase, storage_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Export:
    for name, value in {
        "PIPELINE_ENVIRONMENT": "local",
        "GOOGLE_CLOUD_PROJECT": TEST_PROJECT,
        "PIPELINE_SPANNER_INSTANCE": TEST_INSTANCE,
        "PIPELINE_SPANNER_DATABASE": pipeline_database.database.database_id,
        "PIPELINE_AUDIO_BUCKET": BUCKET,
        "STORAGE_EMULATOR_HOST": storage_url,
    }.items():
        monkeypatch.setenv(name, value)

    def run(*more: str) -> Ran:
        return pipeline("tenant", "export", OURS, "--out", str(tmp_path / "ours.zip"), *more)

    return run


@pytest.fixture
def store(pipeline_database: PipelineDatabase) -> SpannerRunStore:
    return SpannerRunStore(pipeline_database.open, pipeline_database.vault)


def read(tmp_path: Path, name: str) -> bytes:
    with zipfile.ZipFile(tmp_path / "ours.zip") as archive:
        return archive.read(name)


def lines(tmp_path: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in read(tmp_path, name).splitlines()]


def test_everything_of_one_tenant_and_nothing_of_another(
    export: Export,
    pipeline_database: PipelineDatabase,
    store: SpannerRunStore,
    objects: GcsObjectStore,
    tmp_path: Path,
) -> None:
    hold(store, objects, received(1), received(2), received(3), received(9, THEIRS))
    letter = received(5).model_copy(update={"request_id": "r-00000000000005"})
    DeskBench(pipeline_database).fail("download", PermanentFailure("no_such_thing", "a final no"), letter)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export_store, "PAGE_SIZE", 2)
        ran = export("--with-audio")

    assert ran.status == 0, ran.err
    calls = {line["call_id"]: line for line in lines(tmp_path, "calls.jsonl")}
    assert set(calls) == {call_of(number) for number in (1, 2, 3, 5)}
    first = calls[call_of(1)]
    assert first["call"]["details"]["caller_number"] == NUMBER
    assert WORDS in json.dumps(first["call"]["transcript"])
    assert first["events"][0]["payload"]["customer_name"] == NAME
    assert calls[call_of(5)]["dead_letters"][0]["reason"] == "no_such_thing"
    assert len({line["request_id"] for line in lines(tmp_path, "requests.jsonl")}) == 4
    assert {line["stage"] for row in lines(tmp_path, "requests.jsonl") for line in row["stages"]} == {"download"}
    sheet = list(csv.DictReader(io.StringIO(read(tmp_path, "calls.csv").decode())))
    assert len(sheet) == sum(line["call"] is not None for line in calls.values())
    assert sheet[0]["caller_number"] == f"'{NUMBER}"
    with zipfile.ZipFile(tmp_path / "ours.zip") as archive:
        names = archive.namelist()
        assert archive.testzip() is None
    assert f"objects/recordings/{OURS}/{call_of(1)}.mp3" in names
    assert [name for name in names if THEIRS in name] == []
    assert read(tmp_path, f"objects/recordings/{OURS}/{call_of(1)}.mp3") == b"audio"


def test_the_manifest_counts_and_sums_every_file_and_the_audit_log_knows(
    export: Export,
    pipeline_database: PipelineDatabase,
    store: SpannerRunStore,
    objects: GcsObjectStore,
    tmp_path: Path,
) -> None:
    hold(store, objects, received(1))

    printed = export("--json").document()

    manifest = json.loads(read(tmp_path, "manifest.json"))
    assert {file["name"]: file["rows"] for file in manifest["files"]} == {
        "tenant.json": 1,
        "calls.jsonl": 1,
        "calls.csv": 1,
        "requests.jsonl": 1,
        "audit.jsonl": 1,
    }
    for file in manifest["files"]:
        data = read(tmp_path, file["name"])
        assert (file["bytes"], file["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    archive = tmp_path / "ours.zip"
    assert printed["archive_sha256"] == hashlib.sha256(archive.read_bytes()).hexdigest()
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    actions = pipeline_database.rows(f"SELECT action FROM audit_log WHERE tenant_id = '{OURS}' ORDER BY occurred_at")
    assert actions == [["tenant.export"], ["tenant.exported"]]
    assert NAME not in json.dumps(printed)


def test_secrets_are_not_in_it(export: Export, tmp_path: Path) -> None:
    assert export().status == 0

    tenant = json.loads(read(tmp_path, "tenant.json"))

    assert tenant["config"]["webhook_secret_names"] == [f"{OURS}-webhook-secret"]
    assert tenant["config"]["webhook_token"] in {"", "left out"}
    assert "wrapped" not in read(tmp_path, "tenant.json").decode()


def test_a_damaged_call_is_named_and_the_rest_comes_out(
    export: Export,
    pipeline_database: PipelineDatabase,
    store: SpannerRunStore,
    objects: GcsObjectStore,
    tmp_path: Path,
) -> None:
    hold(store, objects, received(1), received(2))
    sql = f"SELECT details FROM call_records WHERE call_id = '{call_of(2)}'"
    of_another_call = pipeline_database.value(sql)
    with pipeline_database.database.batch() as batch:
        batch.update("call_records", ("tenant_id", "call_id", "details"), [(OURS, call_of(1), of_another_call)])

    ran = export()

    assert "1 could not be opened" in ran.out
    assert json.loads(read(tmp_path, "manifest.json"))["unreadable"] == [call_of(1)]
    broken, whole = lines(tmp_path, "calls.jsonl")
    assert "unreadable" in broken
    assert whole["call"]["details"]["caller_number"] == NUMBER


def test_a_failed_export_leaves_no_file_and_an_old_one_is_not_overwritten(
    export: Export, pipeline_database: PipelineDatabase, tmp_path: Path
) -> None:
    assert export().status == 0
    before = (tmp_path / "ours.zip").read_bytes()

    assert "it exists" in export().err
    assert (tmp_path / "ours.zip").read_bytes() == before
    (tmp_path / "ours.zip").unlink()
    pipeline_database.keysets.destroy(OURS, actor="test")
    shredded = export()

    assert shredded.status == 1
    assert "was destroyed" in shredded.err
    assert list(tmp_path.glob("ours*")) == []


# --- the sheet ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("=HYPERLINK(0)", "'=HYPERLINK(0)"),
        ("+13035550142", "'+13035550142"),
        ("-1+1", "'-1+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("fine\n=1+1", "fine\n'=1+1"),
        ("plain, with a comma", "plain, with a comma"),
        (-5, "-5"),
        (None, ""),
    ],
)
def test_no_cell_is_a_formula(value: Any, shown: str) -> None:
    assert cell(value) == shown


def test_a_row_of_the_sheet_reads_back_whole() -> None:
    marketing = Marketing(source='=cmd|"calc"', campaign="a, b")
    record = CallRecord(tenant_id=OURS, details=CallDetails(call_id="CAL1", marketing=marketing))

    (row,) = csv.reader(io.StringIO(sheet_line(sheet_row(record)).decode()))

    shown = dict(zip(SHEET_COLUMNS, row, strict=True))
    assert (shown["source"], shown["campaign"], shown["lead_score"]) == ('\'=cmd|"calc"', "a, b", "")
