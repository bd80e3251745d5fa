"""Tink keysets of a tenant: made, wrapped by the key-encryption key, unwrapped, given a new primary.

A tenant has two: `data` encrypts (AES-256-GCM), `lookup` hashes phone numbers (HMAC-SHA256). Each is wrapped with
the associated data `1|tenant|purpose`, so that one tenant's keyset cannot be put into another's row.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any, Literal

from shared.errors import TenantBlocked

Purpose = Literal["data", "lookup"]
PURPOSES: tuple[Purpose, ...] = ("data", "lookup")


def new_keyset(purpose: Purpose) -> Any:
    """A keyset with one fresh key."""
    import tink

    _register()
    return tink.new_keyset_handle(_template(purpose))


def wrap(keyset: Any, kek: Any, *, tenant_id: str, purpose: Purpose) -> str:
    """The keyset as JSON, its keys encrypted by `kek` (a Tink Aead). Raises what `kek` raises."""
    from tink import json_proto_keyset_format

    return str(json_proto_keyset_format.serialize_encrypted(keyset, kek, _bound_to(tenant_id, purpose)))


def unwrap(wrapped: str, kek: Any, *, tenant_id: str, purpose: Purpose) -> Any:
    """Raises `TenantBlocked` for what was not wrapped for this tenant with this key, and what `kek` raises."""
    import tink
    from tink import json_proto_keyset_format

    _register()
    try:
        return json_proto_keyset_format.parse_encrypted(wrapped, kek, _bound_to(tenant_id, purpose))
    except tink.TinkError as error:
        raise TenantBlocked(
            "keyset_unreadable",
            f"the {purpose} keyset of tenant {tenant_id} does not unwrap",
            fix="check PIPELINE_PII_KEY; restore the row of tenant_keysets from a backup",
        ) from error


def primitive(keyset: Any, purpose: Purpose) -> Any:
    """What a keyset can do: an Aead for `data`, a PrfSet for `lookup`."""
    from tink import aead, prf

    return keyset.primitive(aead.Aead if purpose == "data" else prf.PrfSet)


def with_new_primary(keyset: Any, purpose: Purpose) -> Any:
    """The same keys and a fresh one, which encrypts from now on. The old ones still decrypt."""
    from tink import proto_keyset_format, secret_key_access
    from tink.proto import tink_pb2

    token = secret_key_access.TOKEN
    old = tink_pb2.Keyset.FromString(proto_keyset_format.serialize(keyset, token))
    used = {key.key_id for key in old.key}
    while True:
        new = tink_pb2.Keyset.FromString(proto_keyset_format.serialize(new_keyset(purpose), token))
        if new.primary_key_id not in used:
            break
    old.key.extend(new.key)
    old.primary_key_id = new.primary_key_id
    return proto_keyset_format.parse(old.SerializeToString(), token)


def key_ids(wrapped: str) -> tuple[int, ...]:
    """Ids of the keys in a wrapped keyset, the primary first; no key is needed to read them."""
    info = json.loads(wrapped)["keysetInfo"]
    ids = [int(key["keyId"]) for key in info["keyInfo"]]
    primary = int(info["primaryKeyId"])
    return (primary, *(key_id for key_id in ids if key_id != primary))


def _template(purpose: Purpose) -> Any:
    from tink import aead, prf

    if purpose == "data":
        return aead.aead_key_templates.AES256_GCM
    return prf.prf_key_templates.HMAC_SHA256


@cache
def _register() -> None:
    from tink import aead, prf

    aead.register()
    prf.register()


def _bound_to(tenant_id: str, purpose: Purpose) -> bytes:
    return f"1|{tenant_id}|{purpose}".encode()
