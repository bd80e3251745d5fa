"""Makes, rotates and destroys tenants' keysets in Spanner; every change and its line in the audit log are one commit.

Services only read keysets (`shared/gateways/vault.py`); this is for the command line, and for the recorder's own
tenant.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from google.cloud.spanner_v1 import COMMIT_TIMESTAMP, param_types

from shared.errors import AlreadyThere, ConfigurationError
from shared.gateways.database import OpenDatabase, blind_commit, read_rows, transact
from shared.gateways.keysets import PURPOSES, Purpose, key_ids, new_keyset, unwrap, with_new_primary, wrap
from shared.gateways.queries import query
from shared.gateways.tenant_rows import audit

_TENANT = {"tenant_id": param_types.STRING}
_COLUMNS = ("tenant_id", "purpose", "wrapped", "version", "created_at", "updated_at")


@dataclass(frozen=True)
class KeysetLine:
    """One keyset as an operator may see it: ids, never keys. The primary comes first."""

    purpose: str
    version: int
    key_ids: tuple[int, ...]
    is_destroyed: bool


class KeysetStore:
    """`kek` makes the key-encryption key, a Tink Aead. All methods may raise `TransientFailure`."""

    def __init__(self, open_database: OpenDatabase, kek: Callable[[], Any]) -> None:
        self._open = open_database
        self._kek = kek

    def new_rows(self, tenant_id: str) -> list[tuple[Any, ...]]:
        """Fresh keysets, wrapped, as rows for `insert`: made before a transaction that creates their tenant."""
        kek = self._kek()
        return [
            (
                tenant_id,
                purpose,
                wrap(new_keyset(purpose), kek, tenant_id=tenant_id, purpose=purpose),
                1,
                COMMIT_TIMESTAMP,
                COMMIT_TIMESTAMP,
            )
            for purpose in PURPOSES
        ]

    @staticmethod
    def insert(writer: Any, rows: list[tuple[Any, ...]]) -> None:
        """Into a batch or a transaction, which may also create the tenant."""
        writer.insert("tenant_keysets", _COLUMNS, rows)

    def create(self, tenant_id: str, *, actor: str) -> bool:
        """False when the tenant has keysets already, or had them destroyed: there is no second set.

        Raises `InvalidEvent` for an unknown tenant.
        """
        rows = self.new_rows(tenant_id)
        try:
            with blind_commit(self._open, what="create keysets") as batch:
                self.insert(batch, rows)
                audit(batch, tenant_id, actor=actor, action="keys.create", detail={})
        except AlreadyThere:
            return False
        return True

    def show(self, tenant_id: str) -> list[KeysetLine]:
        """Empty when the tenant has none."""
        return [
            KeysetLine(purpose, version, key_ids(wrapped) if wrapped else (), is_destroyed=wrapped is None)
            for purpose, wrapped, version in self._rows(tenant_id)
        ]

    def rotate(self, tenant_id: str, *, actor: str) -> KeysetLine:
        """Give the data keyset a new primary and wrap it with the newest version of the key-encryption key.

        The lookup keyset is wrapped again only: a new key would hide the calls hashed with the old one. Raises
        `ConfigurationError` when there is no keyset or somebody else rotated meanwhile, `TenantBlocked` when it does
        not unwrap.
        """
        rows = self._rows(tenant_id)
        if not rows or any(wrapped is None for _, wrapped, _ in rows):
            raise ConfigurationError(
                "no_keyset", f"tenant {tenant_id} has no keyset", fix="pipeline keys create --tenant TENANT"
            )
        kek = self._kek()
        changed = {purpose: (self._renewed(tenant_id, purpose, wrapped, kek), at) for purpose, wrapped, at in rows}
        newest = key_ids(changed["data"][0])

        def work(transaction: Any) -> bool:
            for purpose, (wrapped, version) in changed.items():
                params = {"tenant_id": tenant_id, "purpose": purpose, "wrapped": wrapped, "version": version}
                types = dict.fromkeys(params, param_types.STRING) | {"version": param_types.INT64}
                statement = query("keys", "replace_keyset")
                if not transaction.execute_update(statement, params=params, param_types=types):
                    return False
            audit(transaction, tenant_id, actor=actor, action="keys.rotate", detail={"primary": str(newest[0])})
            return True

        if not transact(self._open, work, what="rotate keysets", tag="keys_rotate"):
            raise ConfigurationError(
                "keyset_changed", f"somebody changed the keysets of {tenant_id} meanwhile", fix="look, and run it again"
            )
        return KeysetLine("data", changed["data"][1] + 1, newest, is_destroyed=False)

    def destroy(self, tenant_id: str, *, actor: str) -> int:
        """Overwrite the keysets: whatever they sealed is unreadable from now on. Returns how many there were."""

        def work(transaction: Any) -> int:
            statement = query("keys", "destroy_keysets")
            params = {"tenant_id": tenant_id}
            destroyed = int(transaction.execute_update(statement, params=params, param_types=_TENANT))
            if destroyed:
                audit(transaction, tenant_id, actor=actor, action="keys.destroy", detail={"keysets": str(destroyed)})
            return destroyed

        return transact(self._open, work, what="destroy keysets", tag="keys_destroy")

    def _renewed(self, tenant_id: str, purpose: Purpose, wrapped: str, kek: Any) -> str:
        keyset = unwrap(wrapped, kek, tenant_id=tenant_id, purpose=purpose)
        if purpose == "data":
            keyset = with_new_primary(keyset, purpose)
        return wrap(keyset, kek, tenant_id=tenant_id, purpose=purpose)

    def _rows(self, tenant_id: str) -> list[list[Any]]:
        return read_rows(
            self._open, query("keys", "read_keysets"), {"tenant_id": tenant_id}, _TENANT, what="read keysets"
        )
