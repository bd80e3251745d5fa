"""Replacing a signing key: both keys sign in between, one at either end, and no step can be done twice by mistake."""

from __future__ import annotations

import pytest

from handlers.cli.tenant_rotation import begun, finished
from handlers.signature import callrail_signature, is_signed
from schemas.tenant import Tenant
from shared.errors import ConfigurationError
from tests.support.tenants import make_tenant

KEYS = {"acme-plumbing-webhook-secret": "the-old-key-of-callrail", "new-name": "the-new-key-of-callrail"}
BODY = b'{"resource_id":"CAL1"}'


def signers(tenant: Tenant) -> set[str]:
    """Which secrets sign a webhook of the tenant."""
    keys = [KEYS[name] for name in tenant.config.webhook_secret_names]
    return {
        name
        for name, key in KEYS.items()
        if is_signed("callrail", keys, BODY, {"Signature": callrail_signature(key, BODY)}, now_s=0)
    }


def test_both_keys_sign_from_the_beginning_of_a_rotation_to_its_end() -> None:
    before = make_tenant()
    during = begun(before, "new-name")
    after = finished(during)

    assert signers(before) == {"acme-plumbing-webhook-secret"}
    assert signers(during) == set(KEYS)
    assert signers(after) == {"new-name"}


def test_a_rotation_changes_nothing_else() -> None:
    before = make_tenant(webhook_token="a-token-that-nobody-can-guess", ai_config={"lead_scoring_threshold": 55})
    after = finished(begun(before, "new-name"))

    names = {"webhook_secret_names": before.config.webhook_secret_names}
    assert after.config.model_copy(update=names) == before.config


def test_a_third_key_is_refused_and_so_is_finishing_what_never_began() -> None:
    during = begun(make_tenant(), "new-name")

    with pytest.raises(ConfigurationError, match="two signing keys"):
        begun(during, "third-name")
    with pytest.raises(ConfigurationError, match="one signing key only"):
        finished(make_tenant())
