"""Cloud KMS as a Tink Aead: wraps and unwraps keysets with `pii-encryption-key`. The client is made on first use.

Both directions carry checksums, as Google asks: a bit that flipped on the way would make a keyset worthless for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

from shared.errors import TransientFailure
from shared.gateways.channels import google_client
from shared.gateways.retry import with_short_retries

TIMEOUT_S = 3.0
BUDGET_S = 8.0

_OURS_TO_MEND = {
    "NOT_FOUND": "does not exist",
    "PERMISSION_DENIED": "may not be used by this service",
    "FAILED_PRECONDITION": "is disabled or destroyed",
}
"""Every tenant meets these at once, and no call may be lost over them: attempts bound what nobody mends."""


class KmsAead:
    """Implements `tink.aead.Aead` with one CryptoKey. Thread-safe.

    Raises `TinkError` for a ciphertext that is not of this key and these associated data, `TransientFailure` else.
    """

    def __init__(self, key_name: str, *, local_address: str = "") -> None:
        """`key_name`: `projects/…/locations/…/keyRings/…/cryptoKeys/…`; `local_address` is a fake's, for tests."""
        self._key = key_name
        self._local_address = local_address
        self._lock = Lock()
        self._made: Any = None

    def encrypt(self, plaintext: bytes, associated_data: bytes) -> bytes:
        return with_short_retries(lambda: self._encrypt(plaintext, associated_data), budget_s=BUDGET_S)

    def decrypt(self, ciphertext: bytes, associated_data: bytes) -> bytes:
        return with_short_retries(lambda: self._decrypt(ciphertext, associated_data), budget_s=BUDGET_S)

    def _encrypt(self, plaintext: bytes, associated_data: bytes) -> bytes:
        client = self._client()
        request = {
            "name": self._key,
            "plaintext": plaintext,
            "plaintext_crc32c": _crc(plaintext),
            "additional_authenticated_data": associated_data,
            "additional_authenticated_data_crc32c": _crc(associated_data),
        }
        with self._translated():
            answer = client.encrypt(request=request, timeout=TIMEOUT_S, retry=None)
        if not (answer.verified_plaintext_crc32c and answer.verified_additional_authenticated_data_crc32c):
            raise _damaged("request")
        if _crc(answer.ciphertext) != answer.ciphertext_crc32c:
            raise _damaged("answer")
        return bytes(answer.ciphertext)

    def _decrypt(self, ciphertext: bytes, associated_data: bytes) -> bytes:
        client = self._client()
        request = {
            "name": self._key,
            "ciphertext": ciphertext,
            "ciphertext_crc32c": _crc(ciphertext),
            "additional_authenticated_data": associated_data,
            "additional_authenticated_data_crc32c": _crc(associated_data),
        }
        with self._translated():
            answer = client.decrypt(request=request, timeout=TIMEOUT_S, retry=None)
        if _crc(answer.plaintext) != answer.plaintext_crc32c:
            raise _damaged("answer")
        return bytes(answer.plaintext)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        import tink
        from google.api_core.exceptions import GoogleAPICallError, InvalidArgument
        from google.auth.exceptions import GoogleAuthError

        try:
            yield
        except InvalidArgument as error:
            # `from None`: nothing of the keyset may get into a traceback.
            raise tink.TinkError(f"Cloud KMS refuses the ciphertext: {error.code}") from None
        except GoogleAPICallError as error:
            code = error.grpc_status_code.name if error.grpc_status_code is not None else "UNKNOWN"
            if code in _OURS_TO_MEND:
                raise TransientFailure(
                    "kms_refused",
                    f"key {self._key} {_OURS_TO_MEND[code]}",
                    fix="check PIPELINE_PII_KEY, the key's state, and roles/cloudkms.cryptoKeyEncrypterDecrypter",
                ) from error
            raise TransientFailure("kms_unavailable", f"Cloud KMS did not answer: {code}") from error
        except GoogleAuthError as error:
            raise TransientFailure(
                "kms_no_credentials",
                "no credentials for Cloud KMS could be had",
                fix="attach a service account to the service, or log in with application-default credentials",
            ) from error

    def _client(self) -> Any:
        with self._lock:
            if self._made is None:
                with self._translated():
                    self._made = _make_client(self._local_address)
            return self._made


def kms_key(name: str, *, local_address: str = "") -> Callable[[], Any]:
    """A function that makes the Aead at its first call, so that nothing is imported before a keyset is needed."""
    made = KmsAead(name, local_address=local_address)
    return lambda: made


def _crc(data: bytes) -> int:
    import google_crc32c

    return int(google_crc32c.value(data))


def _damaged(which: str) -> TransientFailure:
    return TransientFailure("kms_damaged", f"the {which} of Cloud KMS was damaged on the way")


def _make_client(local_address: str) -> Any:
    from google.cloud.kms_v1 import KeyManagementServiceClient
    from google.cloud.kms_v1.services.key_management_service.transports.grpc import (
        KeyManagementServiceGrpcTransport,
    )

    return google_client(KeyManagementServiceClient, KeyManagementServiceGrpcTransport, local_address=local_address)
