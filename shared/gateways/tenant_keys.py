"""One tenant's keys, unwrapped: seals and opens its personal data, and hashes phone numbers for look-ups.

A sealed text is `sealed:1:` and the base64 of Tink's ciphertext. It is bound to its place by the associated data
`1|tenant|call|field`: a value that was copied to another tenant, call, row or column does not open.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from shared.errors import PermanentFailure

SEALED = "sealed:1:"
_HASH_BYTES = 16
"""128 bits: two numbers of one tenant do not meet, and a row of the index stays small."""


class Place(NamedTuple):
    """Where a value is stored. `field` is the column, and what else names the row within the call."""

    tenant_id: str
    call_id: str
    field: str

    @property
    def associated_data(self) -> bytes:
        return "|".join(("1", *self)).encode()


@dataclass(frozen=True)
class TenantKeys:
    """`data` is Tink's Aead, `lookup` its PrfSet; `version` counts the rotations."""

    data: Any = field(repr=False)
    lookup: Any = field(repr=False)
    version: int

    def seal(self, place: Place, text: str) -> str:
        sealed: bytes = self.data.encrypt(text.encode(), place.associated_data)
        return SEALED + base64.b64encode(sealed).decode()

    def open(self, place: Place, sealed: str) -> str:
        """Raises `PermanentFailure` for what was not sealed for this place with one of these keys."""
        import tink

        try:
            ciphertext = base64.b64decode(sealed.removeprefix(SEALED), validate=True)
            text: bytes = self.data.decrypt(ciphertext, place.associated_data)
        except (tink.TinkError, binascii.Error) as error:
            raise PermanentFailure(
                "personal_data_unreadable",
                f"{place.field} was not sealed for this call with a key of this tenant",
                fix="look for a copied or restored row; docs/security/personal-data.md",
            ) from error
        return text.decode()

    def phone_hash(self, number: str) -> str:
        """Equal for equal numbers of this tenant, and of no use without its key."""
        return str(self.lookup.primary().compute(number.encode(), _HASH_BYTES).hex())

    def phone_hashes(self, number: str) -> list[str]:
        """By every key of the keyset: what a look-up has to ask for."""
        return sorted(prf.compute(number.encode(), _HASH_BYTES).hex() for prf in self.lookup.all().values())
