"""Gives a new stack what Terraform creates in Google Cloud: topics, subscriptions, database, bucket and a key."""

from __future__ import annotations

from pathlib import Path

from infra.local import gcs
from infra.local.plan import AUDIO_BUCKET, PROJECT_ID, SPANNER_DATABASE, SPANNER_INSTANCE, Plan
from infra.local.spanner import create_database, create_instance
from infra.local.topics import create_topology
from shared.gateways.local_kek import make_key_file


def fill_emulators(plan: Plan, *, backoff_scale: float) -> None:
    """Needs Pub/Sub, Spanner and storage to answer; safe to repeat. The database has no tables yet."""
    make_key_file(Path(plan.env["PIPELINE_LOCAL_PII_KEY_FILE"]))
    create_topology(
        pubsub_address=plan.pubsub, project_id=PROJECT_ID, endpoints=plan.endpoints, backoff_scale=backoff_scale
    )
    create_instance(address=plan.spanner, project_id=PROJECT_ID, instance_id=SPANNER_INSTANCE)
    create_database(
        address=plan.spanner, project_id=PROJECT_ID, instance_id=SPANNER_INSTANCE, database_id=SPANNER_DATABASE
    )
    gcs.create_bucket(plan.storage_url, AUDIO_BUCKET, project_id=PROJECT_ID)
