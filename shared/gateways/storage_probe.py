"""A short look at Cloud Storage that needs none of its client: the receiver asks it too, and starts light."""

from __future__ import annotations

import httpx

from shared.settings import Settings

_TIMEOUT_S = 2.0


def storage_answers(settings: Settings) -> bool:
    """Whether the audio bucket, where the inbox is as well, can be reached."""
    base = settings.stand_ins.storage_url or "https://storage.googleapis.com"
    try:
        answer = httpx.get(f"{base}/storage/v1/b/{settings.bucket}", timeout=_TIMEOUT_S, trust_env=False)
    except httpx.HTTPError:
        return False
    # Without credentials 401 and 403 still say that the service and the bucket's name are there.
    return answer.status_code in {200, 401, 403}
