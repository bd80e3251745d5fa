"""Publishes to Pub/Sub and waits for the confirmation; nothing is acknowledged upstream before that."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shared.errors import TransientFailure
from shared.gateways.gathering import Gatherer

if TYPE_CHECKING:
    from google.cloud.pubsub_v1 import PublisherClient

_SHARE_OF_RETRIES = 0.8
_SENDERS = 4
"""Requests under way at once: where a round trip takes twenty milliseconds, nobody waits for a whole one before his
own begins, and a request that hangs does not hold up the others."""
_MAX_MESSAGE_BYTES = 10_000_000  # Pub/Sub's own limit


@dataclass(frozen=True)
class _Connection:
    client: PublisherClient
    gatherer: Gatherer
    new_message: Any
    """Pub/Sub's plain protobuf message; the client's wrapper around it costs more than the message."""


class PubSubPublisher:
    """Implements `shared.ports.Publisher`.

    Messages of several threads share requests; `window_ms` is how long a request then waits for more of them. A lone
    sender never waits (shared/gateways/gathering.py).
    """

    def __init__(self, *, project_id: str, topic_prefix: str, timeout_s: float, window_ms: float) -> None:
        self._project_id = project_id
        self._topic_prefix = topic_prefix
        self._timeout_s = timeout_s
        self._window_s = window_ms / 1000
        self._lock = threading.Lock()
        self._connection: _Connection | None = None
        self._paths: dict[str, str] = {}

    def publish(self, topic: str, data: bytes, attributes: Mapping[str, str]) -> str:
        from google.api_core.exceptions import GoogleAPICallError, RetryError
        from google.auth.exceptions import GoogleAuthError

        try:
            connection = self._connected()
            message = connection.new_message(data=data, attributes=attributes)
            if message.ByteSize() > _MAX_MESSAGE_BYTES:
                raise ValueError("too large for Pub/Sub")
            return connection.gatherer.publish(self._path(topic), message, timeout_s=self._timeout_s)
        except TimeoutError as error:
            raise TransientFailure("publish_timeout", f"no confirmation from topic {topic} in time") from error
        except (GoogleAPICallError, GoogleAuthError, RetryError, ValueError, RuntimeError) as error:
            # A missing topic or a refused message is our fault, but the sender must still come again.
            raise TransientFailure("publish_failed", f"topic {topic}: {type(error).__name__}") from error

    def connect(self) -> None:
        """Load the client now instead of at the first publish."""
        self._connected()

    def check(self, topic: str, *, timeout_s: float) -> bool:
        """Whether the topic answers: what the health page says of the publish path."""
        from google.api_core.exceptions import GoogleAPICallError, RetryError
        from google.auth.exceptions import GoogleAuthError

        try:
            self._connected().client.get_topic(topic=self._path(topic), timeout=timeout_s, retry=None)
        except (GoogleAPICallError, GoogleAuthError, RetryError):
            return False
        return True

    def _path(self, topic: str) -> str:
        path = self._paths.get(topic)
        if path is None:
            path = self._paths[topic] = f"projects/{self._project_id}/topics/{self._topic_prefix}{topic}"
        return path

    def _connected(self) -> _Connection:
        if self._connection is None:
            with self._lock:
                if self._connection is None:
                    self._connection = self._connect()
        return self._connection

    def _connect(self) -> _Connection:
        from google.api_core.retry import Retry
        from google.cloud.pubsub_v1 import PublisherClient
        from google.pubsub_v1.services.publisher import PublisherClient as PublisherRequests
        from google.pubsub_v1.types import PublishRequest, PubsubMessage

        client = PublisherClient()
        new_request = PublishRequest.pb()
        # One ring only, ended before the caller stops waiting: who waits hears what was wrong, not that time is up.
        retry = Retry(initial=0.1, maximum=1.0, timeout=self._timeout_s * _SHARE_OF_RETRIES)

        def send(path: str, messages: Sequence[Any]) -> Sequence[str]:
            # The generated client's request: `client.publish` itself is its own gathering, with a window.
            request = PublishRequest.wrap(new_request(topic=path, messages=messages))
            answer = PublisherRequests.publish(client, request=request, retry=retry, timeout=self._timeout_s)
            return answer.message_ids

        return _Connection(client, Gatherer(send, senders=_SENDERS, window_s=self._window_s), PubsubMessage.pb())
