"""Codes that only a person at the command line, or a service at its start, meets. The message says what to do."""

from __future__ import annotations

from shared.meanings.chapter import Chapter, Meaning

_SEE_HELP = "see the command's --help"
_FILE = "correct the file and run the command again; nothing was changed"
_MIGRATION = "do what the message says; the schema is as it was"

_OUTPUT = "write it anew: `terraform output -json`, see docs/operations/infrastructure.md"

COMMANDS = Chapter(
    title="Command line and start-up",
    look="The message itself: these never concern a call in flight.",
    avoid="Do not set PIPELINE_ENVIRONMENT=local to get past a refusal: it turns the checks off.",
    meanings={
        "no_environment_file": Meaning("`--env` was given and Terraform's output is not there", _OUTPUT),
        "bad_environment_file": Meaning("the file that `--env` means is not this release's Terraform output", _OUTPUT),
        "other_environment": Meaning("the file that `--env` means describes another environment", _OUTPUT),
        "stale_environment_file": Meaning("the file that `--env` means is of another release", _OUTPUT),
        "two_environments": Meaning("the shell's variables contradict `--env`", "unset them, or leave `--env` away"),
        "bad_settings": Meaning("an environment variable is wrong or missing", "see the settings table in README.md"),
        "push_auth_incomplete": Meaning("the service does not know whose push tokens to accept", "set what is named"),
        "unknown_service": Meaning("no service has this name", "see infra/pipeline.json"),
        "bad_local_endpoint": Meaning("a stand-in's address is not on this machine", "it must be loopback"),
        "bad_crash_point": Meaning("a crash point that does not exist", "use one of those listed"),
        "unknown_part": Meaning("there is no such part to measure", _SEE_HELP),
        "bad_duration": Meaning("a duration that cannot be read", "write 90s, 2m or 1h"),
        "target_not_owned": Meaning("a load test was aimed at somebody's host", "name it again with --i-own-this"),
        "target_not_encrypted": Meaning("a load test would send signed webhooks in the clear", "use https"),
        "bad_target": Meaning("the load test's target is no http address", _SEE_HELP),
        "load_out_of_bounds": Meaning("a load test of this rate and length is too much", _SEE_HELP),
        "load_needs_more": Meaning("the load test does not know whom to be", _SEE_HELP),
        "bad_plot": Meaning("a plot cannot be written under this name", "write NAME.png or NAME.svg"),
        "unknown_region": Meaning("the price list knows no such region", "see infra/cost/prices.toml"),
        "bad_units": Meaning("Spanner cannot have so many processing units", "a multiple of 100"),
        "one_mode": Meaning("two options that exclude each other", _SEE_HELP),
        "one_source": Meaning("two options that exclude each other", _SEE_HELP),
        "unknown_event": Meaning("CallRail has no trigger of this name", _SEE_HELP),
        "no_token": Meaning("an event needs the tenant's own webhook address", "give the tenant a webhook_token"),
        "unreadable_payload": Meaning("the file cannot be read", _FILE),
        "unreadable_file": Meaning("the file cannot be read", _FILE),
        "bad_connections": Meaning(
            "`pipeline bench --connections` was given something else than numbers", "write 1,32,128,512"
        ),
        "no_telemetry_credentials": Meaning(
            "spans or metrics are to go to Google, and the process has no credentials of Google",
            "give it a service account, or set PIPELINE_TRACES and PIPELINE_METRICS to otlp, console or off",
        ),
        "cloud_trace_forbidden": Meaning(
            "who runs `pipeline trace CALL` may not read Cloud Trace", "ask for roles/cloudtrace.user on the project"
        ),
        "cloud_trace_unreachable": Meaning("Cloud Trace gave no answer", "try again"),
        "cloud_trace_unavailable": Meaning("Cloud Trace answered with an error of its own", "try again"),
        "no_traces": Meaning(
            "the local stack records no spans, or they go elsewhere", "start it with PIPELINE_TRACES=console"
        ),
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
        "not_discarded": Meaning("only a discarded letter can be restored", "nothing"),
        "too_late": Meaning("the discarded letter's time is over", "`pipeline backfill --tenant TENANT --since 7d`"),
        "empty_text": Meaning("a reason or note that says nothing", "say something that helps the next person"),
        "editing_is_off": Meaning("editing dead letters is off, as it should be", "mend the cause and replay"),
        "edit_refused": Meaning("the edited event cannot be read as one of ours", _FILE),
        "edit_locked": Meaning("ids and tenant of an event cannot be edited", _FILE),
        "edit_empty": Meaning("the edited event says what the original says", _FILE),
        "edit_unreadable": Meaning("a letter whose event cannot be read cannot be edited", "discard it with a reason"),
        "unreadable_edit": Meaning("the file cannot be read", _FILE),
        "unreadable_import": Meaning("the file cannot be read", _FILE),
        "line_too_long": Meaning("a line of the file is longer than any letter", _FILE),
        "bad_line": Meaning("a line of the file is no letter", _FILE),
        "another_tenant": Meaning("a line of the file belongs to another tenant", _FILE),
        "another_tenants_event": Meaning("a line's event belongs to another tenant or call", _FILE),
        "event_unreadable": Meaning("a line's event cannot be read, so nobody knows whose it is", _FILE),
        "bad_age": Meaning("a length of time that cannot be read", "write 90s, 5m, 2h or 3d"),
        "bad_sort": Meaning("an order that does not exist", _SEE_HELP),
        "bad_state": Meaning("a state that does not exist", _SEE_HELP),
        "bad_steps": Meaning("steps that cannot be read", "write 1,5,25"),
        "steps_need_outcomes": Meaning("steps need to see what became of the replayed letters", "give a longer --wait"),
        "no_tenant": Meaning("ids alone do not say whose letters are meant", "add --tenant"),
        "no_selection": Meaning("nothing says which letters are meant", "give ids, a filter, or --all"),
        "unknown_stage": Meaning("no stage has this name", "download, transcribe, analyze or crm_sync"),
        "nothing_to_replay": Meaning("none of the letters can be replayed now", "`pipeline dead-letters list`"),
        "not_replayed": Meaning("the letter was left where it is; the message says why", "do what it says"),
        "no_such_replay": Meaning("there is no such replay", "`pipeline dead-letters jobs`"),
        "not_running": Meaning("the replay is over", "nothing"),
        "replay_not_free": Meaning("the replay is finished, or runs somewhere else", "`pipeline dead-letters jobs`"),
        "replay_interrupted": Meaning("the replay stopped half-way; nothing is lost", "resume it as the message says"),
        "unreadable_time": Meaning("a time that cannot be read", "write 7d, 36h or 2026-11-23"),
        "unreadable_rate": Meaning("a rate that cannot be read", "write 10/s or 0.5/s"),
        "empty_window": Meaning("a window that begins after its end or in the future", _SEE_HELP),
        "window_too_old": Meaning("CallRail's list does not reach so far back", "do what the message says"),
        "interrupted": Meaning("stopped by the person at the keyboard; what is finished is kept", "run it again"),
        "tenant_not_active": Meaning(
            "the tenant is suspended, so its calls would not be processed", "`pipeline tenant resume TENANT`"
        ),
        "bad_tenant_file": Meaning("the tenant's file has mistakes, all listed", _FILE),
        "bad_onboarding_file": Meaning("the onboarding file has mistakes, all listed", _FILE),
        "no_webhook_url": Meaning(
            "nothing says where CallRail reaches the receiver", "give --webhook-url, or set WEBHOOK_URL"
        ),
        "published_secret": Meaning("the signing key is an example that anybody can read", "use CallRail's own key"),
        "rotation_unfinished": Meaning(
            "two signing keys are in use already", "`pipeline tenant rotate-secret TENANT --finish`"
        ),
        "no_rotation": Meaning("there is one signing key only", "`pipeline tenant rotate-secret TENANT`"),
        "weak_key": Meaning(
            "the signing key is too short, or an example that anybody can read", "use CallRail's own key"
        ),
        "tenant_exists": Meaning("the tenant is there already", "`pipeline tenant update TENANT --config FILE`"),
        "tenant_offboarded": Meaning("the tenant was offboarded for good", "create a new tenant"),
        "no_subject": Meaning("nothing says whose data is meant", "--call CALL, or --phone NUMBER"),
        "unreadable_number": Meaning("the text is no telephone number", "write it as +13035550142"),
        "not_confirmed": Meaning("what cannot be undone needs a confirmation", "add --yes"),
        "no_keyset": Meaning("the tenant has no keyset, or had it destroyed", "`pipeline keys show --tenant TENANT`"),
        "keyset_changed": Meaning("somebody changed the keyset at the same moment", "look at it, then run again"),
        "local_key_unreadable": Meaning("the laptop's key file holds no key", "`pipeline local up` makes one"),
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
