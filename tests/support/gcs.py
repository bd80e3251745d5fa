"""A real object store for tests: a bucket of its own on the session's Cloud Storage stand-in (fixture `gcs_server`)."""

from __future__ import annotations

import uuid

from infra.local import gcs
from shared.gateways.objects import GcsObjectStore

PROJECT = "test-project"


def fresh_store(server_url: str) -> GcsObjectStore:
    """The production gateway on a new, empty bucket."""
    bucket = f"audio-{uuid.uuid4().hex[:12]}"
    gcs.create_bucket(server_url, bucket, project_id=PROJECT)
    return GcsObjectStore(bucket, project_id=PROJECT, endpoint=server_url)
