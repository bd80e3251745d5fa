"""The key-encryption key in Cloud KMS, over KMS's own protocol: checksums, binding, refusals as ours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import tink

from infra.local.standins.faults import FaultRule
from shared.errors import ConfigurationError, TenantBlocked, TransientFailure
from shared.gateways import kms
from shared.gateways.keysets import new_keyset, primitive, unwrap, wrap
from shared.gateways.kms import KmsAead
from shared.gateways.local_kek import local_key, make_key_file
from tests.support.kms import KEY, KmsService, serve_kms

TENANT = "acme-plumbing"


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[str, KmsService]]:
    with serve_kms() as running:
        yield running


@pytest.fixture
def service(served: tuple[str, KmsService], monkeypatch: pytest.MonkeyPatch) -> Iterator[KmsService]:
    monkeypatch.setattr(kms, "BUDGET_S", 0.05)  # one attempt
    yield served[1]
    served[1].plan.clear()
    served[1].seen.clear()


@pytest.fixture
def kek(served: tuple[str, KmsService], service: KmsService) -> KmsAead:
    return KmsAead(KEY, local_address=served[0])


def test_a_keyset_goes_through_cloud_kms_and_comes_back(kek: KmsAead, service: KmsService) -> None:
    keyset = new_keyset("data")

    wrapped = wrap(keyset, kek, tenant_id=TENANT, purpose="data")
    back = unwrap(wrapped, kek, tenant_id=TENANT, purpose="data")

    sealed = primitive(keyset, "data").encrypt(b"hello", b"here")
    assert primitive(back, "data").decrypt(sealed, b"here") == b"hello"
    assert service.seen == [KEY] * 3, "Tink tries what it wrapped; what the keyset then seals costs nothing"


@pytest.mark.parametrize(("tenant_id", "purpose"), [("other-dental", "data"), (TENANT, "lookup")])
def test_a_wrapped_keyset_in_another_row_does_not_unwrap(kek: KmsAead, tenant_id: str, purpose: str) -> None:
    wrapped = wrap(new_keyset("data"), kek, tenant_id=TENANT, purpose="data")

    with pytest.raises(TenantBlocked, match="keyset_unreadable") as caught:
        unwrap(wrapped, kek, tenant_id=tenant_id, purpose=purpose)  # type: ignore[arg-type] # from a table
    assert "encryptedKeyset" not in str(caught.value)


@pytest.mark.parametrize("status", ["NOT_FOUND", "PERMISSION_DENIED", "FAILED_PRECONDITION"])
def test_a_key_that_may_not_be_used_is_ours_to_mend_and_costs_no_call(
    kek: KmsAead, service: KmsService, status: str
) -> None:
    service.plan.add(FaultRule(operation="decrypt", kind="status", grpc_code=status, times=9))

    with pytest.raises(TransientFailure, match="kms_refused"):
        kek.decrypt(b"some bytes", b"")


def test_a_missing_key_says_which(served: tuple[str, KmsService], service: KmsService) -> None:
    with pytest.raises(TransientFailure, match=r"cryptoKeys/other does not exist"):
        KmsAead(KEY.replace("pii-encryption-key", "other"), local_address=served[0]).encrypt(b"keys", b"")
    assert len(service.seen) >= 1


def test_an_outage_is_transient(kek: KmsAead, service: KmsService) -> None:
    service.plan.add(FaultRule(operation="encrypt", kind="status", grpc_code="UNAVAILABLE", times=9))

    with pytest.raises(TransientFailure, match="kms_unavailable"):
        kek.encrypt(b"keys", b"")


@pytest.mark.parametrize("operation", ["encrypt", "decrypt"])
def test_what_was_damaged_on_the_way_is_not_believed(kek: KmsAead, service: KmsService, operation: str) -> None:
    ciphertext = kek.encrypt(b"keys", b"row")
    service.plan.add(FaultRule(operation=operation, kind="rubbish", body="", times=9))

    data = {"encrypt": b"keys", "decrypt": ciphertext}[operation]
    with pytest.raises(TransientFailure, match="kms_damaged"):
        getattr(kek, operation)(data, b"row")


def test_a_forged_ciphertext_is_tinks_error_and_shows_nothing(kek: KmsAead) -> None:
    with pytest.raises(tink.TinkError) as caught:
        kek.decrypt(b"forged", b"row")
    assert caught.value.__cause__ is None


# --- the laptop's key -----------------------------------------------------------------------------------


def test_a_key_file_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "key.json"
    make_key_file(path)
    first = path.read_bytes()
    make_key_file(path)

    assert path.read_bytes() == first
    assert path.stat().st_mode & 0o077 == 0
    assert [file.name for file in path.parent.iterdir()] == ["key.json"]
    key = local_key(str(path))()
    assert key.decrypt(key.encrypt(b"keys", b"row"), b"row") == b"keys"


def test_a_file_without_a_key_is_named_to_the_engineer(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    path.write_text("{}")
    for wrong in (path, tmp_path / "nowhere.json"):
        with pytest.raises(ConfigurationError, match="local_key_unreadable"):
            local_key(str(wrong))()
