"""detect-secrets' plugins for the secrets of this product that it does not know by itself."""

from __future__ import annotations

import re

from detect_secrets.plugins.base import RegexBasedDetector


class HubSpotToken(RegexBasedDetector):
    """Service keys and private-app tokens."""

    secret_type = "HubSpot token"  # noqa: S105 - the name of a kind
    denylist = (re.compile(r"\bpat-[a-z]{2}\d-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"),)


class SalesforceConsumer(RegexBasedDetector):
    """A connected app's consumer key, as Salesforce makes them, and session ids."""

    secret_type = "Salesforce key"  # noqa: S105 - the name of a kind
    denylist = (re.compile(r"\b3MVG9[\w.]{40,}"), re.compile(r"\b00D[A-Za-z0-9]{12,15}![\w.]{40,}"))


class GoogleCredential(RegexBasedDetector):
    """API keys, access tokens, refresh tokens and client secrets of Google."""

    secret_type = "Google credential"  # noqa: S105 - the name of a kind
    denylist = (
        re.compile(r"\bAIza[\w-]{35}"),
        re.compile(r"\bya29\.[\w-]{30,}"),
        re.compile(r"\b1//[\w-]{40,}"),
        re.compile(r"\bGOCSPX-[\w-]{20,}"),
    )


class TinkKeyset(RegexBasedDetector):
    """A keyset in the clear: the value of a key."""

    secret_type = "Tink keyset"  # noqa: S105 - the name of a kind
    denylist = (re.compile(r'"keyMaterialType"\s*:\s*"(?:SYMMETRIC|ASYMMETRIC_PRIVATE)"'),)
