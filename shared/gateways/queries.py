"""Loads the named SQL statements of `sql/queries/`, so that all SQL lies in one place that a test can read.

A file holds statements, each after a line `-- name: some_name`. Every statement must filter on `@tenant_id`;
the few that cannot carry a line `-- across tenants: <why>` (tests/architecture/test_sql.py enforces it).
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

SQL_DIR = Path(__file__).resolve().parents[2] / "sql"
_NAME = re.compile(r"^-- name: (?P<name>[a-z_0-9]+)$", re.MULTILINE)


@cache
def load_queries(file_name: str) -> dict[str, str]:
    """Statements of `sql/queries/<file_name>.sql` by name."""
    text = (SQL_DIR / "queries" / f"{file_name}.sql").read_text(encoding="utf-8")
    parts = _NAME.split(text)
    return dict(zip(parts[1::2], (statement.strip() for statement in parts[2::2]), strict=True))


def query(file_name: str, name: str) -> str:
    """One statement. Raises `KeyError` when the file has no such name: a bug, found by the first test that uses it."""
    return load_queries(file_name)[name]
