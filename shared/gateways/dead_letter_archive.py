"""The archive of raw dead letters: a pull subscription that is read only when somebody drains it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from shared.deliveries import Delivery
from shared.desk_ports import ArchivedMessage
from shared.errors import ConfigurationError, TransientFailure

if TYPE_CHECKING:
    from google.cloud.pubsub_v1 import SubscriberClient

_PULL_TIMEOUT_S = 5.0
"""Pub/Sub holds a pull open while it finds nothing; after this the subscription counts as empty."""
_ACKNOWLEDGE_TIMEOUT_S = 20.0


class PubSubArchive:
    """Implements `shared.desk_ports.Archive`. A context manager: it holds a connection."""

    def __init__(self, *, project_id: str, subscription: str) -> None:
        from google.cloud.pubsub_v1 import SubscriberClient

        self._client: SubscriberClient = SubscriberClient()
        self._subscription = subscription
        self._path = f"projects/{project_id}/subscriptions/{subscription}"

    def __enter__(self) -> PubSubArchive:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def pull(self, *, limit: int) -> list[ArchivedMessage]:
        from google.api_core.exceptions import DeadlineExceeded

        with self._translated("pull"):
            try:
                answer = self._client.pull(
                    subscription=self._path, max_messages=limit, timeout=_PULL_TIMEOUT_S, retry=None
                )
            except DeadlineExceeded:
                return []
        return [
            ArchivedMessage(
                ack_id=received.ack_id,
                delivery=Delivery(
                    message_id=received.message.message_id,
                    data=received.message.data,
                    attributes=dict(received.message.attributes),
                    subscription=self._path,
                    published_at=received.message.publish_time,
                ),
            )
            for received in answer.received_messages
        ]

    def acknowledge(self, ack_ids: Sequence[str]) -> None:
        if not ack_ids:
            return
        with self._translated("acknowledge"):
            self._client.acknowledge(subscription=self._path, ack_ids=list(ack_ids), timeout=_ACKNOWLEDGE_TIMEOUT_S)

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        from google.api_core.exceptions import GoogleAPICallError, NotFound, PermissionDenied, RetryError
        from google.auth.exceptions import GoogleAuthError

        try:
            yield
        except (NotFound, PermissionDenied) as error:
            raise ConfigurationError(
                "archive_not_readable",
                f"{doing} of {self._subscription}: {type(error).__name__}",
                fix="create the subscription (infra/pipeline.json) and grant roles/pubsub.subscriber on it",
            ) from error
        except (GoogleAPICallError, GoogleAuthError, RetryError) as error:
            raise TransientFailure(
                "archive_unavailable", f"{doing} of {self._subscription}: {type(error).__name__}"
            ) from error
