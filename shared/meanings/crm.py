"""Codes of the CRM stage: HubSpot and Salesforce."""

from __future__ import annotations

from shared.meanings.chapter import Chapter, Meaning

_AGAIN = "nothing: it is tried again"
_BY_ITSELF = "the calls then go on by themselves"
_TOKEN = f"put a valid token into the tenant's HubSpot secret; {_BY_ITSELF}"
_ONE_RECORD = "look at the record in the CRM with the detail in hand, mend it there, then replay"
_GRANT = f"give the integration user's permission set what docs/api/salesforce-setup.md lists; {_BY_ITSELF}"
_SIGN_IN = f"correct the credentials secret by docs/api/salesforce-setup.md; {_BY_ITSELF}"

HUBSPOT = Chapter(
    title="HubSpot",
    look="HubSpot's status page; the correlationId in the detail is what HubSpot's support asks for.",
    avoid="Do not create calls by hand meanwhile: the pipeline finds its own by their keys, and would add a second.",
    meanings={
        "hubspot_401": Meaning("HubSpot refuses the tenant's token: revoked, rotated or mistyped", _TOKEN),
        "hubspot_403": Meaning(
            "HubSpot's token lacks a scope",
            f"grant it contacts read and write and the contact schema scopes; {_BY_ITSELF}",
        ),
        "hubspot_token_malformed": Meaning("the tenant's secret holds no HubSpot token", _TOKEN),
        "hubspot_property_missing": Meaning(
            "a property that we write does not exist in the account, or is not unique",
            f"`pipeline tenant check TENANT` creates what is missing; {_BY_ITSELF}",
        ),
        "hubspot_daily_quota": Meaning(
            "the account has used up HubSpot's requests of the day",
            "nothing: the calls wait and go on at the next look. Often: find what else uses the account's requests",
        ),
        "hubspot_throttled": Meaning(
            "HubSpot asks us to slow down, often because another app uses up the portal's limit", _AGAIN
        ),
        "hubspot_locked": Meaning("somebody else is writing the same HubSpot record", _AGAIN),
        "hubspot_conflict": Meaning("another HubSpot record already holds a value that must be unique", _ONE_RECORD),
        "hubspot_not_found": Meaning("a HubSpot record that we wrote before was deleted", "replay: it is made anew"),
        "hubspot_record_vanished": Meaning("a HubSpot record vanished while it was being written", _AGAIN),
        "hubspot_refused": Meaning("HubSpot refuses this record, and no other", _ONE_RECORD),
        "hubspot_unreadable": Meaning("HubSpot answered something that is not its JSON", _AGAIN),
        "hubspot_out_of_time": Meaning("HubSpot was too slow for one synchronisation", _AGAIN),
        "hubspot_timeout": Meaning(
            "HubSpot did not answer in time; it may have done the work, which a repeat finds", _AGAIN
        ),
        "hubspot_unreachable": Meaning("HubSpot could not be reached, or broke the connection off", _AGAIN),
    },
    families={
        "hubspot_<http status>": Meaning("HubSpot answered with a fault of its own", _AGAIN),
    },
)

SALESFORCE = Chapter(
    title="Salesforce",
    look="status.salesforce.com for the org's instance; the integration user's login history.",
    avoid="Do not lift validation rules for everybody to let one record pass.",
    meanings={
        "salesforce_bad_credentials": Meaning("the credentials secret is not the document that is expected", _SIGN_IN),
        "salesforce_bad_private_key": Meaning("the private key in the credentials secret is not one", _SIGN_IN),
        "salesforce_login_refused": Meaning(
            "Salesforce refuses the login: key, secret, user or the app's policies", _SIGN_IN
        ),
        "salesforce_foreign_instance": Meaning("the login leads to a host that is not Salesforce's", _SIGN_IN),
        "salesforce_session_refused": Meaning("Salesforce gave a session and refused it at once", _GRANT),
        "salesforce_invalid_session_id": Meaning("Salesforce refuses the session again and again", _GRANT),
        "salesforce_login_failed": Meaning("Salesforce's login service has a fault of its own", _AGAIN),
        "salesforce_login_rate": Meaning(
            "Salesforce limits the integration user's logins for now", "nothing: it waits"
        ),
        "salesforce_request_limit_exceeded": Meaning(
            "the org has used up its API requests of the day (or too many run at once)",
            "nothing: the calls wait and go on. Often: raise the org's limit or find what else uses it",
        ),
        "salesforce_timeout": Meaning(
            "Salesforce did not answer in time; it may have done the work, which a repeat finds", _AGAIN
        ),
        "salesforce_unreachable": Meaning("Salesforce could not be reached, or broke the connection off", _AGAIN),
        "salesforce_bad_answer": Meaning("Salesforce answered something that is not in its known form", _AGAIN),
        "salesforce_unsettled": Meaning("records of the call keep changing while they are written", _AGAIN),
        "salesforce_unable_to_lock_row": Meaning("somebody else holds the record", _AGAIN),
        "salesforce_server_unavailable": Meaning("Salesforce is not available", _AGAIN),
        "salesforce_unknown_exception": Meaning("Salesforce had a fault of its own", _AGAIN),
        "salesforce_query_timeout": Meaning("Salesforce's query took too long", _AGAIN),
        "salesforce_request_running_too_long": Meaning("Salesforce cut a slow request off", _AGAIN),
        "salesforce_api_currently_disabled": Meaning("the org's API is off for the moment", _AGAIN),
        "salesforce_processing_halted": Meaning("Salesforce stopped a composite request without a reason", _AGAIN),
        "salesforce_invalid_field": Meaning(
            "a field that we write does not exist in the org, or is hidden from the integration user",
            f"create it, or make it visible, by docs/api/salesforce-setup.md; {_BY_ITSELF}",
        ),
        "salesforce_invalid_field_for_insert_update": Meaning("a field that we write is read-only there", _GRANT),
        "salesforce_invalid_type": Meaning("the integration user cannot see the object", _GRANT),
        "salesforce_required_field_missing": Meaning(
            "the org demands a field that we do not fill", f"make it optional, or give it a default; {_BY_ITSELF}"
        ),
        "salesforce_invalid_or_null_for_restricted_picklist": Meaning(
            "a picklist of the org does not know our value", f"add it or lift the restriction; {_BY_ITSELF}"
        ),
        "salesforce_insufficient_access": Meaning("the integration user may not do this", _GRANT),
        "salesforce_insufficient_access_or_readonly": Meaning("the integration user may not write this record", _GRANT),
        "salesforce_insufficient_access_on_cross_reference_entity": Meaning(
            "the integration user may not use a record that ours refers to", _GRANT
        ),
        "salesforce_api_disabled_for_org": Meaning(
            "the org's edition or the user's profile has no API access", f"change either; {_BY_ITSELF}"
        ),
        "salesforce_storage_limit_exceeded": Meaning("the org's storage is full", f"make room; {_BY_ITSELF}"),
        "salesforce_duplicates_detected": Meaning(
            "a duplicate rule of the org blocks the record",
            "merge the duplicates, or let the rule allow with an alert; then replay",
        ),
        "salesforce_field_custom_validation_exception": Meaning(
            "a validation rule of the org refused the record", _ONE_RECORD
        ),
        "salesforce_string_too_long": Meaning(
            "a field of the org is shorter than docs/api/salesforce-setup.md says", "lengthen it, then replay"
        ),
        "salesforce_cannot_insert_update_activate_entity": Meaning(
            "an Apex trigger of the org refused the record", _ONE_RECORD
        ),
        "salesforce_entity_is_locked": Meaning("an approval process holds the record", "end it, then replay"),
        "salesforce_not_found": Meaning("a record that we wrote before is gone", "replay: it is made anew"),
        "salesforce_entity_is_deleted": Meaning("a record that we wrote before was deleted", "replay: it is made anew"),
        "salesforce_cannot_update_converted_lead": Meaning(
            "the caller's lead was converted meanwhile", "replay: the contact is found instead"
        ),
        "salesforce_invalid_cross_reference_key": Meaning("a record that ours refers to is gone", "replay"),
        "salesforce_duplicate_value": Meaning("a unique field of the org already holds the value", _ONE_RECORD),
    },
    families={
        "salesforce_<error code>": Meaning(
            "Salesforce answered with this error code, which our table does not list or which means that our request "
            "is at fault",
            "read the detail and Salesforce's documentation of the code; tell the engineers",
        ),
    },
)

CHAPTERS = (HUBSPOT, SALESFORCE)
