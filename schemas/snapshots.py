"""JSON Schema snapshots of the contracts, for people and programs outside: `python -m schemas.snapshots`.

They lie in `schemas/json/`. A change of a contract shows there as a change of a file, and a unit test fails while the
files do not say what the models say.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from schemas.analysis import CallAnalysis
from schemas.base import Contract
from schemas.events import EVENT_TYPES
from schemas.tenant import TenantConfig
from schemas.transcript import Transcript

FOLDER = Path(__file__).resolve().parent / "json"
_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def snapshots() -> dict[str, str]:
    """The text of every snapshot by file name."""
    # What we write always has every field; what a person writes may leave out whatever has a default.
    written: dict[str, type[Contract]] = {
        **{f"events/{name}": event for name, event in EVENT_TYPES.items()},
        "call_analysis": CallAnalysis,
        "transcript": Transcript,
    }
    texts = {name: _text(contract.model_json_schema(schema_generator=_AsWritten)) for name, contract in written.items()}
    texts["tenant_config"] = _text(TenantConfig.model_json_schema())
    return {f"{name}.schema.json": text for name, text in texts.items()}


class _AsWritten(GenerateJsonSchema):
    """Says that a field with a default is required too."""

    def field_is_required(self, field: Any, total: bool) -> bool:
        del field, total
        return True


def stale(folder: Path = FOLDER) -> list[str]:
    """Names of files that are missing, out of date, or of no contract any more."""
    wanted = snapshots()
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    outdated = [name for name in wanted.keys() & present if (folder / name).read_text(encoding="utf-8") != wanted[name]]
    return sorted([*outdated, *(wanted.keys() ^ present)])


def write(folder: Path = FOLDER) -> list[str]:
    """Bring the folder up to date; returns the names of the files that changed."""
    changed = stale(folder)
    wanted = snapshots()
    for name in changed:
        path = folder / name
        if name not in wanted:
            path.unlink()
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted[name], encoding="utf-8")
    return changed


def _text(schema: dict[str, Any]) -> str:
    return json.dumps({"$schema": _DIALECT, **schema}, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for changed_name in write():
        sys.stdout.write(f"{FOLDER.name}/{changed_name}\n")
