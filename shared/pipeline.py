"""`infra/pipeline.json` as typed objects: the one list of topics and services (Terraform reads the same file)."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import Field

from schemas.base import Contract

PIPELINE_FILE = Path(__file__).resolve().parents[1] / "infra" / "pipeline.json"


DAYS_OF_RETENTION = 7
"""Pub/Sub's own default; 31 days are the most it takes."""


class Subscription(Contract):
    """A push subscription and its topic. `retention_days` is how long an undelivered message waits in it."""

    topic: str
    subscription: str
    retention_days: int = Field(default=DAYS_OF_RETENTION, ge=1, le=31)


class Archive(Contract):
    """A pull subscription that keeps a topic's raw messages until a person drains it.

    It must be created without an expiration: Pub/Sub deletes a subscription that nobody reads for 31 days.
    """

    topic: str
    subscription: str
    retention_days: int = Field(ge=1, le=31)


class Service(Contract):
    """One deployable service. Delivery settings matter only where something is subscribed to."""

    role: Literal["receiver", "stage", "recorder", "operator"]
    subscribes: tuple[Subscription, ...]
    publishes: tuple[str, ...]
    ack_deadline_s: int = 10
    max_delivery_attempts: int = 5
    min_backoff_s: float = 10
    max_backoff_s: float = 600
    memory: str
    cpu: int
    concurrency: int
    min_instances: int
    max_instances: int
    timeout_s: int


class Pipeline(Contract):
    """Topics and services by name; `observed_topics` explains the topics nobody of ours subscribes to."""

    topics: tuple[str, ...]
    services: dict[str, Service]
    archives: tuple[Archive, ...] = ()
    observed_topics: dict[str, str] = Field(default_factory=dict)

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages' names, in the order in which a call goes through them."""
        return tuple(name for name, service in self.services.items() if service.role == "stage")

    def archive_of(self, topic: str) -> Archive | None:
        """The archive of a topic's messages, where it has one."""
        return next((archive for archive in self.archives if archive.topic == topic), None)

    def topic_of_subscription(self, subscription: str) -> str | None:
        """The topic behind a subscription's name or full path."""
        name = subscription.rpartition("/")[2]
        for service in self.services.values():
            for item in service.subscribes:
                if item.subscription == name:
                    return item.topic
        return None


@cache
def load_pipeline(path: Path = PIPELINE_FILE) -> Pipeline:
    """Read and check the file once per process."""
    return Pipeline.model_validate_json(path.read_text(encoding="utf-8"))
