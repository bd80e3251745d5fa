"""Custom times of recordings: what the bucket's life cycle goes by."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from shared.gateways.objects import GcsObjectStore, translated
from shared.retention import KeptObject

STORED_AT = "stored-at"
"""Metadata of an object that was rewritten: its own creation time is that of the rewriting."""


class GcsKeptObjects:
    """Implements `shared.retention.KeptObjects`."""

    def __init__(self, store: GcsObjectStore) -> None:
        self._store = store

    def kept(self, prefix: str) -> Iterator[KeptObject]:
        with translated("list", prefix):
            for blob in self._store.client.list_blobs(self._store.bucket, prefix=prefix, **self._store.limits):
                first = (blob.metadata or {}).get(STORED_AT)
                stored_at = datetime.fromisoformat(first) if first else blob.time_created
                yield KeptObject(blob.name, blob.generation, stored_at, blob.custom_time)

    def set_custom_time(self, kept: KeptObject, moment: datetime) -> None:
        """Cloud Storage never moves a custom time back: then the object is written anew in its place, without one.

        A crash in between leaves an object without a custom time, which the next run takes for one to be stamped.
        """
        from google.api_core.exceptions import NotFound, PreconditionFailed

        with translated("restamp", kept.name), contextlib.suppress(NotFound, PreconditionFailed):
            is_later = kept.custom_time is None or moment >= kept.custom_time
            blob = self._blob(kept.name) if is_later else self._anew(kept)
            blob.custom_time = moment
            generation = kept.generation if is_later else blob.generation
            blob.patch(if_generation_match=generation, **self._store.limits)

    def _anew(self, kept: KeptObject) -> Any:
        source, target = self._blob(kept.name), self._blob(kept.name)
        source.reload(if_generation_match=kept.generation, **self._store.limits)
        target.content_type = source.content_type
        target.metadata = {**(source.metadata or {}), STORED_AT: kept.stored_at.isoformat()}
        only_this = {"if_generation_match": kept.generation, "if_source_generation_match": kept.generation}
        token, _, _ = target.rewrite(source, **only_this, **self._store.limits)
        while token:  # Cloud Storage copies what is large in several requests
            token, _, _ = target.rewrite(source, token=token, **only_this, **self._store.limits)
        return target

    def _blob(self, name: str) -> Any:
        return self._store.client.bucket(self._store.bucket).blob(name)

    def delete(self, name: str) -> None:
        self._store.delete(name)
