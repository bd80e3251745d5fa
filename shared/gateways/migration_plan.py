"""Which migrations a run has to apply or undo; refuses whatever would leave the schema in an unknown state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shared.errors import ConfigurationError
from shared.gateways.migration_files import Migration
from shared.gateways.migration_journal import Entry


@dataclass(frozen=True)
class Plan:
    """`steps` in the order of work; `reached` is the schema's version afterwards (0: no table at all)."""

    steps: tuple[Migration, ...]
    reached: int


def plan_migration(migrations: Sequence[Migration], entries: Mapping[int, Entry], target: int | None) -> Plan:
    """The pending migrations up to `target`. Raises `ConfigurationError` naming the file that is in the way."""
    _check_target(migrations, target)
    _check_files(migrations, entries)
    newest = max((version for version, entry in entries.items() if entry.state == "applied"), default=0)
    if target is not None and target < newest:
        raise ConfigurationError(
            "target_below_schema",
            f"the schema is at version {newest:03d}, which is above {target:03d}",
            fix=f"to go back, run `pipeline migrate --rollback --to {target}`",
        )
    steps = [item for item in migrations if _is_pending(item, entries) and (target is None or item.version <= target)]
    for item in steps:
        _check_step(item, entries.get(item.version), newest)
    return Plan(tuple(steps), max([newest, *(item.version for item in steps)]))


def plan_rollback(migrations: Sequence[Migration], entries: Mapping[int, Entry], target: int | None) -> Plan:
    """The recorded migrations above `target`, newest first; without a target, the newest one."""
    _check_target(migrations, target)
    known = {item.version: item for item in migrations}
    recorded = sorted(entries, reverse=True)
    chosen = recorded[:1] if target is None else [version for version in recorded if version > target]
    for version in chosen:
        if version not in known:
            raise _missing_file(entries[version])
    left = [version for version in recorded if version not in chosen]
    return Plan(tuple(known[version] for version in chosen), max(left, default=0))


def _is_pending(migration: Migration, entries: Mapping[int, Entry]) -> bool:
    entry = entries.get(migration.version)
    return entry is None or entry.state != "applied"


def _check_target(migrations: Sequence[Migration], target: int | None) -> None:
    versions = {item.version for item in migrations}
    if target is not None and target != 0 and target not in versions:
        raise ConfigurationError(
            "unknown_migration",
            f"there is no migration {target:03d}",
            fix="choose one of " + ", ".join(f"{version}" for version in sorted(versions)) + ", or 0 for none",
        )


def _check_files(migrations: Sequence[Migration], entries: Mapping[int, Entry]) -> None:
    """Every applied migration must have its file, unchanged."""
    known = {item.version: item for item in migrations}
    for version, entry in sorted(entries.items()):
        if version not in known:
            raise _missing_file(entry)
        migration = known[version]
        if entry.state == "applied" and entry.checksum != migration.checksum():
            raise ConfigurationError(
                "migration_edited",
                f"{migration.file_name} was edited after it had been applied to this database",
                fix="restore the file, and put the change into a new migration with the next number",
            )


def _check_step(migration: Migration, entry: Entry | None, newest: int) -> None:
    if entry is None and migration.version < newest:
        raise ConfigurationError(
            "migration_out_of_order",
            f"{migration.file_name} is not applied, but {newest:03d} already is",
            fix=f"give it a number above {newest:03d}",
        )
    if entry is None:
        return
    if entry.state == "rolling_back":
        raise ConfigurationError(
            "rollback_unfinished",
            f"{migration.file_name} is half rolled back",
            fix=f"finish with `pipeline migrate --rollback --to {migration.version - 1}`",
        )
    if entry.checksum not in {migration.checksum(), migration.checksum(entry.done)}:
        raise ConfigurationError(
            "migration_edited",
            f"{migration.file_name} was edited after part of it had been applied ({entry.done} statements for certain)",
            fix="restore those statements, or start anew with "
            f"`pipeline migrate --rollback --to {migration.version - 1}`",
        )


def _missing_file(entry: Entry) -> ConfigurationError:
    return ConfigurationError(
        "migration_file_missing",
        f"{entry.name}.sql is recorded in this database, but the file does not exist here",
        fix="this code is older than the schema: use the release that brought the file",
    )
