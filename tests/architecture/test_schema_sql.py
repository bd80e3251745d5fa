"""`sql/schema.sql` is the sum of the migrations, word for word (the emulator's view: tests/integration)."""

from __future__ import annotations

from shared.gateways.migration_files import load_migrations, split_statements
from shared.gateways.queries import SQL_DIR
from shared.gateways.schema_sum import schema_sum


def test_schema_sql_is_up_to_date() -> None:
    written = (SQL_DIR / "schema.sql").read_text(encoding="utf-8")

    assert written == schema_sum(), "run `python -m shared.gateways.schema_sum`"


def test_schema_sql_reads_back_as_the_statements_of_all_migrations() -> None:
    """The text may be right and still be cut wrongly: markers and comments must survive the round trip."""
    read = list(split_statements((SQL_DIR / "schema.sql").read_text(encoding="utf-8"), "schema.sql"))
    expected = [item for migration in load_migrations() for item in migration.statements]

    assert read[0].text.startswith("CREATE TABLE IF NOT EXISTS schema_migrations")
    assert [(item.text, item.spanner_only) for item in read[1:]] == [
        (item.text, item.spanner_only) for item in expected
    ]
