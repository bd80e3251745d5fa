"""Puts together what people use to erase, export and remove personal data; services import none of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from handlers import wiring
from shared.settings import Settings

if TYPE_CHECKING:
    from shared.privacy import PrivacyDesk
    from shared.retention import RetentionDesk


def privacy_desk(settings: Settings) -> PrivacyDesk:
    """Erases and exports what is held about callers, for the command line."""
    from shared.gateways.privacy_store import SpannerPrivacy
    from shared.privacy import PrivacyDesk

    store = SpannerPrivacy(wiring.database(settings), wiring.vault(settings))
    return PrivacyDesk(store, wiring.objects(settings), wiring.crm_registry(settings), wiring.now)


def retention_desk(settings: Settings) -> RetentionDesk:
    """Applies tenants' retention to what is stored, for the command line."""
    from shared.gateways.kept_objects import GcsKeptObjects
    from shared.gateways.retention_store import SpannerRetention
    from shared.retention import RetentionDesk

    return RetentionDesk(
        SpannerRetention(wiring.database(settings)), GcsKeptObjects(wiring.objects(settings)), wiring.now
    )
