"""Codes of what the pipeline stands on: Spanner, Pub/Sub, Cloud Storage, Secret Manager, identity tokens."""

from __future__ import annotations

from shared.meanings.chapter import Chapter, Meaning

_AGAIN = "nothing: it is tried again; when it lasts, see the outage section"

SPANNER = Chapter(
    title="Spanner",
    look="The instance's CPU and latency; `pipeline migrate --dry-run` says whether migrations are missing.",
    avoid="Do not roll a migration back to get rid of an error: its columns hold data.",
    meanings={
        "spanner_unavailable": Meaning("Spanner gave no answer, or aborted too often", _AGAIN),
        "spanner_timeout": Meaning("Spanner did not answer in time", _AGAIN),
        "spanner_not_found": Meaning(
            "a session, the database, a table or a column is not there; a lost session mends itself, a missing column "
            "means that the schema is behind this release",
            "`pipeline migrate --dry-run`, then `pipeline migrate`",
        ),
        "spanner_refused": Meaning(
            "Spanner refuses the statement: the schema is behind or ahead of this release, or the service's database "
            "role lacks a grant",
            "`pipeline migrate --dry-run`, then `pipeline migrate`; check the service's database role",
        ),
        "spanner_forbidden": Meaning("the account has no right to this database", "grant what the message says"),
        "spanner_database_missing": Meaning(
            "instance or database do not exist", "check PIPELINE_SPANNER_INSTANCE and PIPELINE_SPANNER_DATABASE"
        ),
        "spanner_no_credentials": Meaning("no Google credentials could be had", "log in, or attach a service account"),
    },
)

PUBSUB = Chapter(
    title="Pub/Sub and push requests",
    look="The subscription's oldest unacknowledged message and its push responses; the worker's log.",
    avoid="Do not purge or seek a subscription: its messages are the calls.",
    meanings={
        "publish_timeout": Meaning("Pub/Sub did not confirm a message in time, so nothing was acknowledged", _AGAIN),
        "publish_failed": Meaning(
            "Pub/Sub refused a message (a missing topic or right) or could not be reached; nothing was acknowledged",
            "check that the topic exists and the service may publish; it is tried again by itself",
        ),
        "no_archive": Meaning("infra/pipeline.json names no archive of dead letters", "name one"),
        "archive_not_readable": Meaning(
            "the archive subscription of dead letters does not exist or may not be read",
            "create it as infra/pipeline.json says, and grant roles/pubsub.subscriber on it",
        ),
        "archive_unavailable": Meaning("the archive subscription gave no answer", "run the command again"),
        "push_keys_unavailable": Meaning("Google's signing keys could not be fetched; the push is put back", _AGAIN),
        "push_token_missing": Meaning(
            "a request without an identity token: not Pub/Sub, or a subscription without `oidc_token`",
            "check the subscription's push configuration",
        ),
        "push_token_invalid": Meaning(
            "the identity token does not hold", "check the subscription's push configuration"
        ),
        "push_token_expired": Meaning(
            "the identity token's time is over", "compare the clocks; check for a replayed request"
        ),
        "push_token_issuer": Meaning("the identity token was not issued by Google", "somebody is trying the door"),
        "push_token_audience": Meaning(
            "the identity token was made for another service",
            "PIPELINE_PUSH_AUDIENCE and the subscription's audience must be the same",
        ),
        "push_token_account": Meaning(
            "the identity token belongs to another account",
            "PIPELINE_PUSH_SERVICE_ACCOUNT and the subscription's account must be the same",
        ),
    },
)

STORAGE = Chapter(
    title="Cloud Storage",
    look="The audio bucket's permissions, lifecycle rules and objects under recordings/, transcripts/ and inbox/.",
    avoid="Do not delete under transcripts/ or inbox/ by hand: an object there may be the only copy.",
    meanings={
        "object_missing": Meaning("an object is not there yet, or any more", _AGAIN),
        "object_too_large": Meaning("an object is larger than what we would ever read", "tell the engineers"),
        "storage_refused": Meaning(
            "the service may not use the audio bucket, or the bucket is not there",
            "check that the bucket exists and grant the service account its role; it is tried again by itself",
        ),
        "storage_rejected": Meaning("Cloud Storage refuses the request for good: a bug", "tell the engineers"),
        "storage_unavailable": Meaning("Cloud Storage is busy or has a fault of its own", _AGAIN),
        "storage_unreachable": Meaning("Cloud Storage could not be reached", _AGAIN),
    },
)

SECRETS = Chapter(
    title="Secret Manager",
    look="The secret that the detail names: its newest version, who may read it.",
    avoid="Do not paste a secret's value into a note, a reason or a ticket.",
    meanings={
        "secret_missing": Meaning(
            "the secret does not exist or has no version",
            "add it, or correct its name with `pipeline tenant update TENANT --config FILE`",
        ),
        "secret_forbidden": Meaning(
            "the service may not read the secret", "grant roles/secretmanager.secretAccessor on it to the service"
        ),
        "secret_disabled": Meaning(
            "the secret's newest version is disabled or destroyed", "enable it or add a version"
        ),
        "secret_name_invalid": Meaning("Secret Manager refuses the secret's name", "correct it in the tenant's file"),
        "secret_empty": Meaning("the secret holds nothing", "add a version that holds the value"),
        "secret_unreadable": Meaning("the secret does not hold text", "add a version that holds text"),
        "secret_damaged": Meaning("the secret's value arrived damaged", _AGAIN),
        "secret_manager_no_credentials": Meaning("the service has no Google credentials", "attach a service account"),
        "signing_key_unreadable": Meaning(
            "the receiver could not read the tenant's signing key, so it answered 503 and kept nothing",
            "mend the secret that is named; then `pipeline backfill --tenant TENANT --since 7d`",
        ),
    },
    families={
        "secret_manager_<grpc status>": Meaning("Secret Manager gave an error of this name", _AGAIN),
    },
)

PERSONAL_DATA = Chapter(
    title="Personal data and Cloud KMS",
    look="`pipeline keys show --tenant TENANT`; the key's state in Cloud KMS; docs/security/personal-data.md.",
    avoid="Do not disable or destroy a version of `pii-encryption-key`: every tenant wrapped with it stops at once.",
    meanings={
        "kms_unavailable": Meaning("Cloud KMS gave no answer", _AGAIN),
        "kms_damaged": Meaning("a checksum did not fit: bits flipped between us and Cloud KMS", _AGAIN),
        "kms_refused": Meaning(
            "the key of Cloud KMS is missing, disabled, or may not be used by this service",
            "enable the key version, grant roles/cloudkms.cryptoKeyEncrypterDecrypter; calls go on by themselves",
        ),
        "kms_no_credentials": Meaning("no Google credentials could be had", "log in, or attach a service account"),
        "keyset_missing": Meaning(
            "the tenant was made before personal data was sealed, and has no keyset yet",
            "`pipeline keys create --tenant TENANT`",
        ),
        "keyset_destroyed": Meaning("the tenant was offboarded and its data shredded", "nothing: it is meant to be so"),
        "keyset_unreadable": Meaning(
            "the tenant's keyset does not unwrap: another key wrapped it, or the row was changed",
            "check PIPELINE_PII_KEY; restore the row of tenant_keysets from a backup",
        ),
        "personal_data_unreadable": Meaning(
            "a stored value was not sealed for this call and tenant: a row was copied, restored or tampered with",
            "find out who wrote the row; then replay from the stage that writes it",
        ),
    },
)

CHAPTERS = (SPANNER, PUBSUB, STORAGE, SECRETS, PERSONAL_DATA)
