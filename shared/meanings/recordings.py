"""Codes of the download stage: CallRail's recordings."""

from __future__ import annotations

from shared.meanings.chapter import Chapter, Meaning

_LATER = (
    "nothing: the stage looks again, at growing distances, until the tenant's deadline; then the call goes on without"
)
_KEY = (
    "set callrail_account_id and callrail_api_key_secret with `pipeline tenant update TENANT --config FILE`; "
    "the calls then go on by themselves"
)
_LISTEN = (
    "open the recording in CallRail: when it plays there, tell the engineers; when it does not, discard the letter"
)

RECORDINGS = Chapter(
    title="Recordings (CallRail)",
    look="The call on CallRail's own screen; CallRail's status page; the `download` worker's log.",
    avoid="Do not add hosts to `recordings.allowed_hosts` that are not the tenant's: the list is what keeps a forged "
    "webhook out of our network.",
    meanings={
        "recording_not_ready": Meaning("CallRail has not published the recording yet", _LATER),
        "recording_empty": Meaning("CallRail gave an empty recording, as it does while it is being made", _LATER),
        "recording_link_missing": Meaning("CallRail has not told where the recording is yet", _LATER),
        "recording_link_refused": Meaning(
            "the link to the recording has run out or needs a login, and no fresh one could be had", _KEY
        ),
        "callrail_key_missing": Meaning("the recording can only be had with CallRail's API, and there is no key", _KEY),
        "callrail_key_refused": Meaning(
            "CallRail refuses the tenant's API key: revoked, mistyped, or of a user who left",
            "add a version with a valid key to the secret that is named; the calls then go on by themselves",
        ),
        "callrail_rubbish": Meaning(
            "CallRail's API answered something that is not its JSON", "nothing: it is asked again"
        ),
        "recording_throttled": Meaning(
            "CallRail limits how often we may ask", "nothing: the stage waits as long as CallRail says"
        ),
        "recording_unavailable": Meaning(
            "CallRail's recording host answered with an error of its own", "nothing: it is asked again"
        ),
        "recording_timeout": Meaning("CallRail's recording host was too slow", "nothing: it is asked again"),
        "recording_unreachable": Meaning(
            "the connection to CallRail's recording host could not be made or was lost", "nothing: it is asked again"
        ),
        "recording_interrupted": Meaning(
            "the recording's transfer broke off in the middle; nothing was stored", "nothing: it is asked again"
        ),
        "recording_refused": Meaning("the recording's host refuses the request for good", _LISTEN),
        "recording_not_audio": Meaning(
            "there was something else in the recording's place, mostly a login page", f"{_KEY}. Then replay"
        ),
        "recording_unreadable": Meaning("the file begins like audio and cannot be read as such", _LISTEN),
        "recording_too_large": Meaning(
            "the recording is larger than PIPELINE_RECORDING_MAX_BYTES",
            "raise the setting of the download service if such calls are wanted, then replay",
        ),
        "recording_too_long": Meaning(
            "Speech-to-Text takes no recording of this length",
            "discard the letter; the call is in the CRM without words",
        ),
        "recording_compressed": Meaning("the host compressed the recording, which was not asked for", _LISTEN),
        "recording_host_forbidden": Meaning(
            "the recording lies on a host that is not on the tenant's list",
            "if the host is the tenant's own, add it to recordings.allowed_hosts and replay; if nobody knows it, "
            "somebody has the tenant's signing key: replace that key",
        ),
        "recording_link_forbidden": Meaning(
            "the recording link is not plain https; such links are never followed",
            "as for recording_host_forbidden",
        ),
        "recording_link_unreadable": Meaning("the recording link is not a URL", _LISTEN),
        "recording_address_forbidden": Meaning(
            "the recording's host resolves to an address inside a private network; it was not connected to",
            "as for recording_host_forbidden",
        ),
        "recording_too_many_redirects": Meaning("the recording's host redirects without end", _LISTEN),
    },
)

API = Chapter(
    title="CallRail's list of calls (backfill and reconciliation)",
    look="`pipeline reconciliation --tenant TENANT` shows each day's report.",
    avoid="Do not run backfills of one account side by side: they share its 1,000 requests an hour.",
    meanings={
        "callrail_access_missing": Meaning(
            "the tenant has no account id or API key, so its calls cannot be listed", _KEY
        ),
        "callrail_forbidden": Meaning(
            "the tenant's API key may not list calls", "give the key's user access to the account's reports"
        ),
        "callrail_not_found": Meaning(
            "CallRail does not know the account or company", "check callrail_account_id and callrail_company_ids"
        ),
        "callrail_refused": Meaning("CallRail refuses the request for good: a bug", "tell the engineers"),
        "callrail_next_page_forbidden": Meaning(
            "CallRail's answer points outside its list of calls; it was not followed", "tell the engineers"
        ),
        "callrail_unavailable": Meaning(
            "CallRail's API could not be reached or had a fault of its own", "run it again"
        ),
        "callrail_unreadable": Meaning("CallRail's list of calls is not in its known form", "run it again"),
        "callrail_budget": Meaning(
            "the account's requests of this hour are used up", "go on when the message says; finished days are kept"
        ),
        "callrail_list_unsteady": Meaning(
            "CallRail's list kept changing while it was read", "run it again; finished days are kept"
        ),
    },
)

CHAPTERS = (RECORDINGS, API)
