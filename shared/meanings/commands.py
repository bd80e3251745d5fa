"""Codes that only a person at the command line, or a service at its start, meets. The message says what to do."""

from __future__ import annotations

from shared.meanings.chapter import Chapter, Meaning

_SEE_HELP = "see the command's --help"
_FILE = "correct the file and run the command again; nothing was changed"
_MIGRATION = "do what the message says; the schema is as it was"

COMMANDS = Chapter(
    title="Command line and start-up",
    look="The message itself: these never concern a call in flight.",
    avoid="Do not set PIPELINE_ENVIRONMENT=local to get past a refusal: it turns the checks off.",
    meanings={
        "bad_settings": Meaning("an environment variable is wrong or missing", "see the settings table in README.md"),
        "push_auth_incomplete": Meaning("the service does not know whose push tokens to accept", "set what is named"),
        "unknown_service": Meaning("no service has this name", "see infra/pipeline.json"),
        "bad_local_endpoint": Meaning("a stand-in's address is not on this machine", "it must be loopback"),
        "bad_crash_point": Meaning("a crash point that does not exist", "use one of those listed"),
        "bad_duration": Meaning("a duration that cannot be read", "write 90s, 2m or 1h"),
        "one_mode": Meaning("two options that exclude each other", _SEE_HELP),
        "one_source": Meaning("two options that exclude each other", _SEE_HELP),
        "unknown_event": Meaning("CallRail has no trigger of this name", _SEE_HELP),
        "no_token": Meaning("an event needs the tenant's own webhook address", "give the tenant a webhook_token"),
        "unreadable_payload": Meaning("the file cannot be read", _FILE),
        "unreadable_file": Meaning("the file cannot be read", _FILE),
        "no_audio_file": Meaning("there is no such file", _FILE),
        "no_log": Meaning("a service that was started by hand has its output in its own terminal", "look there"),
        "stack_starting": Meaning("the local stack is still starting", "try again in a few seconds"),
        "several_tenants": Meaning("more than one tenant has a call of this id", "say which with --tenant"),
        "no_such_call": Meaning(
            "the tenant has no such call", "`pipeline why CALL --tenant TENANT` says what to check"
        ),
        "no_such_dead_letter": Meaning(
            "the tenant has no such dead letter", "`pipeline dead-letters list --tenant TENANT`"
        ),
        "closed": Meaning("the dead letter is closed: its stage is done", "nothing"),
        "not_open": Meaning("only an open dead letter can be discarded", "nothing"),
        "no_topic": Meaning("nobody knows where the dead letter's message came from", "discard it with a reason"),
        "bad_tenant_file": Meaning("the tenant's file has mistakes, all listed", _FILE),
        "published_secret": Meaning("the signing key is an example that anybody can read", "use CallRail's own key"),
        "tenant_exists": Meaning("the tenant is there already", "`pipeline tenant update TENANT --config FILE`"),
        "tenant_offboarded": Meaning("the tenant was offboarded for good", "create a new tenant"),
        "route_taken": Meaning("a company or token belongs to another tenant", "correct the file"),
        "bad_secret_value": Meaning("the value is empty or too long for Secret Manager", _FILE),
        "bad_migration": Meaning("a migration file cannot be read", _MIGRATION),
        "bad_migration_name": Meaning("a migration file has a wrong name", _MIGRATION),
        "empty_migration": Meaning("a migration file holds no statement", _MIGRATION),
        "migration_number_taken": Meaning("two migrations have one number", _MIGRATION),
        "migration_edited": Meaning("a migration was changed after it had been applied", _MIGRATION),
        "migration_file_missing": Meaning(
            "the schema is ahead of this release", "use the release that brought the file; workers of this one go on"
        ),
        "migration_out_of_order": Meaning("a migration has a number below one that is applied", _MIGRATION),
        "migration_running": Meaning("somebody else is migrating this database", "wait, then run again"),
        "rollback_unfinished": Meaning("a rollback was interrupted", _MIGRATION),
        "no_rollback": Meaning("the migration has no way back", _MIGRATION),
        "target_below_schema": Meaning("the schema is already above the target", _MIGRATION),
        "unknown_migration": Meaning("there is no such migration", _MIGRATION),
        "not_an_emulator": Meaning("an emulator's shortcut was asked of a real database", _MIGRATION),
        "no_spanner_emulator": Meaning("a test would have reached Google", "start the local stack"),
        "emulator_knows_not": Meaning("the emulator does not know the statement", _MIGRATION),
    },
)

CHAPTERS = (COMMANDS,)
