"""What is erased, exported or shredded, and the paper that says so: it names calls and objects, never people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

from schemas.tenant import Tenant
from shared.crm_erasure import (
    REMAINS_FOUND_PEOPLE,
    REMAINS_IN_CRM,
    CrmErased,
    CrmErasers,
    CrmPointer,
    erasure_of,
)
from shared.names import recording_object, transcript_prefix
from shared.ports import Clock, ObjectStore

REMAINS_AFTER_ERASURE = (
    "Pub/Sub keeps messages of these calls until they are acknowledged, dead letters for up to 31 days",
    "dead letters that name no tenant (under `unassigned`): look there when a number is meant",
    "CallRail's own copy of the call and its recording",
    "ids of calls and requests, states, times and billed amounts, which name nobody",
    "a webhook that CallRail sends about an erased call later is kept, sealed; erase again to remove it",
)
REMAINS_WITHOUT_CRM = "what the CRMs hold under crm_records: erase it there, or with --crm"
REMAINS_AFTER_OFFBOARDING = (
    "Pub/Sub keeps messages until they are acknowledged, dead letters for up to 31 days",
    "processes that hold the keys forget them within the keyset cache's time (see cached_for_s)",
    "backups of the database from before hold the wrapped keyset until they expire",
    "what the CRMs hold, and the tenant's secrets in Secret Manager: remove them there",
    "ids, states, times, billed amounts and the audit log, which name no caller",
)


@dataclass(frozen=True)
class ErasedCall:
    """What was removed of one call; all zero and empty when it had been erased before."""

    call_id: str
    call_rows: int = 0
    events: int = 0
    dead_letters: int = 0
    objects: tuple[str, ...] = ()
    crm_records: tuple[CrmPointer, ...] = ()


@dataclass(frozen=True)
class Certificate:
    """`subject` is a call id, or the tenant's keyed hash of a number: the number itself must not stand here."""

    kind: Literal["erasure", "offboarding"]
    tenant_id: str
    subject: str
    actor: str
    at: datetime
    calls: tuple[ErasedCall, ...] = ()
    crm_erased: tuple[CrmErased, ...] = ()
    """What CRMs were asked to remove, and did."""
    keysets_destroyed: int = 0
    unreadable_rows: dict[str, int] = field(default_factory=dict)
    objects_deleted: int = 0
    cached_for_s: float = 0.0
    remains: tuple[str, ...] = ()


class PrivacyStore(Protocol):
    """What is asked of the database; every method takes the tenant first."""

    def calls_of(self, tenant_id: str, number: str) -> list[str]: ...

    def requests_of(self, tenant_id: str, call_id: str) -> list[str]: ...

    def crm_records(self, tenant_id: str, call_id: str) -> list[CrmPointer]: ...

    def record_crm_erasure(self, tenant_id: str, erased: CrmErased, *, actor: str) -> None: ...

    def erase(self, tenant_id: str, call_id: str, *, objects: Sequence[str], actor: str) -> ErasedCall: ...

    def export(self, tenant_id: str, call_id: str) -> dict[str, Any]: ...

    def rows_of(self, tenant_id: str) -> dict[str, int]: ...


@dataclass(frozen=True)
class PrivacyDesk:
    """Answers the requests of people whose calls we hold."""

    store: PrivacyStore
    objects: ObjectStore
    crms: CrmErasers
    now: Clock

    def erase_in_crms(
        self, tenant: Tenant, call_ids: Sequence[str], *, e164: str, with_found_people: bool, actor: str
    ) -> tuple[CrmErased, ...]:
        """Remove the calls' records from the tenant's CRMs; before `erase`, which forgets where they are."""
        pointers = [one for call_id in call_ids for one in self.store.crm_records(tenant.tenant_id, call_id)]
        done = []
        for provider in tenant.config.crm_config.providers:
            theirs = [one for one in pointers if one.provider == provider]
            wanted = erasure_of(theirs, call_ids=call_ids, e164=e164, with_found_people=with_found_people)
            erased = self.crms.for_tenant(tenant, provider).erase(wanted)
            self.store.record_crm_erasure(tenant.tenant_id, erased, actor=actor)
            done.append(erased)
        return tuple(done)

    def erase(
        self,
        tenant_id: str,
        call_ids: Sequence[str],
        *,
        subject: str,
        actor: str,
        in_crms: tuple[CrmErased, ...] | None = None,
        with_found_people: bool = False,
    ) -> Certificate:
        """Remove everything about these calls. Objects go first: an interrupted erasure still finds the calls again.

        `in_crms` is what `erase_in_crms` did, for the certificate; None when nobody asked for it.
        """
        erased = []
        for call_id in call_ids:
            names = self._delete(self._prefixes(tenant_id, call_id))
            erased.append(self.store.erase(tenant_id, call_id, objects=names, actor=actor))
        return Certificate(
            "erasure",
            tenant_id,
            subject,
            actor,
            self.now(),
            calls=tuple(erased),
            objects_deleted=sum(len(call.objects) for call in erased),
            crm_erased=in_crms or (),
            remains=(*REMAINS_AFTER_ERASURE, *_remains_in_crms(in_crms, with_found_people=with_found_people)),
        )

    def export(self, tenant_id: str, call_ids: Sequence[str]) -> list[dict[str, Any]]:
        """Everything we hold about these calls, opened."""
        return [
            {
                **self.store.export(tenant_id, call_id),
                "objects": [
                    name for prefix in self._prefixes(tenant_id, call_id) for name in self.objects.list_names(prefix)
                ],
            }
            for call_id in call_ids
        ]

    def delete_objects_of(self, tenant_id: str) -> int:
        """Audio, Speech's output and waiting webhooks of a tenant: the keyset does not seal them."""
        return len(self._delete([f"{folder}/{tenant_id}/" for folder in ("recordings", "transcripts", "inbox")]))

    def _prefixes(self, tenant_id: str, call_id: str) -> list[str]:
        requests = self.store.requests_of(tenant_id, call_id)
        return [
            recording_object(tenant_id, call_id, ""),
            *(transcript_prefix(tenant_id, request_id) for request_id in requests),
            *(f"inbox/{tenant_id}/{request_id}-" for request_id in requests),
        ]

    def _delete(self, prefixes: Sequence[str]) -> tuple[str, ...]:
        deleted: list[str] = []
        for prefix in prefixes:
            while names := self.objects.list_names(prefix):
                for name in names:
                    self.objects.delete(name)
                deleted += names
        return tuple(deleted)


def _remains_in_crms(in_crms: tuple[CrmErased, ...] | None, *, with_found_people: bool) -> list[str]:
    if in_crms is None:
        return [REMAINS_WITHOUT_CRM]
    found = [] if with_found_people else [REMAINS_FOUND_PEOPLE]
    return [*(REMAINS_IN_CRM[erased.provider] for erased in in_crms), *found]
