"""Publishes to Pub/Sub and waits for the confirmation; nothing is acknowledged upstream before that."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import TimeoutError as FutureTimeout
from typing import TYPE_CHECKING

from shared.errors import TransientFailure

if TYPE_CHECKING:
    from google.cloud.pubsub_v1 import PublisherClient

_BATCH_MESSAGES = 200
_BATCH_BYTES = 1_000_000


class PubSubPublisher:
    """Implements `shared.ports.Publisher`.

    `window_ms` is how long the client gathers messages for one request. A sender that waits sees the window as
    latency, and a busy receiver gets fewer, larger requests from it (`make bench` measures both).
    """

    def __init__(self, *, project_id: str, topic_prefix: str, timeout_s: float, window_ms: float) -> None:
        self._project_id = project_id
        self._topic_prefix = topic_prefix
        self._timeout_s = timeout_s
        self._window_s = window_ms / 1000
        self._lock = threading.Lock()
        self._client: PublisherClient | None = None
        self._paths: dict[str, str] = {}

    def publish(self, topic: str, data: bytes, attributes: Mapping[str, str]) -> str:
        from google.api_core.exceptions import GoogleAPICallError, RetryError
        from google.auth.exceptions import GoogleAuthError

        try:
            future = self._connected().publish(self._path(topic), data, **attributes)
            message_id: str = future.result(timeout=self._timeout_s)
        except FutureTimeout as error:
            raise TransientFailure("publish_timeout", f"no confirmation from topic {topic} in time") from error
        except (GoogleAPICallError, GoogleAuthError, RetryError, ValueError, RuntimeError) as error:
            # A missing topic or a refused message is our fault, but the sender must still come again.
            raise TransientFailure("publish_failed", f"topic {topic}: {type(error).__name__}") from error
        return message_id

    def check(self, topic: str, *, timeout_s: float) -> bool:
        """Whether the topic answers: what the health page says of the publish path."""
        from google.api_core.exceptions import GoogleAPICallError, RetryError
        from google.auth.exceptions import GoogleAuthError

        try:
            self._connected().get_topic(topic=self._path(topic), timeout=timeout_s, retry=None)
        except (GoogleAPICallError, GoogleAuthError, RetryError):
            return False
        return True

    def _path(self, topic: str) -> str:
        path = self._paths.get(topic)
        if path is None:
            path = self._paths[topic] = f"projects/{self._project_id}/topics/{self._topic_prefix}{topic}"
        return path

    def _connected(self) -> PublisherClient:
        if self._client is None:
            with self._lock:
                if self._client is None:
                    self._client = self._connect()
        return self._client

    def _connect(self) -> PublisherClient:
        from google.api_core.retry import Retry
        from google.cloud.pubsub_v1 import PublisherClient
        from google.cloud.pubsub_v1.types import BatchSettings, PublisherOptions

        return PublisherClient(
            batch_settings=BatchSettings(
                max_messages=_BATCH_MESSAGES, max_bytes=_BATCH_BYTES, max_latency=self._window_s
            ),
            publisher_options=PublisherOptions(
                # One ring only, ended before the caller stops waiting.
                retry=Retry(initial=0.1, maximum=1.0, timeout=self._timeout_s),
                timeout=self._timeout_s,
            ),
        )
