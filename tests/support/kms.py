"""Cloud KMS in small: `google.cloud.kms.v1.KeyManagementService` over gRPC, with one real Tink key."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import google_crc32c
import grpc
import tink
from flask import Flask
from google.cloud import kms_v1
from tink import aead

from infra.local.standins import grpc_serving
from infra.local.standins.faults import FaultPlan

SERVICE = "google.cloud.kms.v1.KeyManagementService"
KEY = "projects/p/locations/us-central1/keyRings/pipeline/cryptoKeys/pii-encryption-key"


class KmsService:
    """Encrypts and decrypts with `KEY`; refuses other keys, foreign ciphertexts and wrong checksums as Google does."""

    def __init__(self) -> None:
        aead.register()
        self.plan = FaultPlan()
        self.seen: list[str] = []
        self._aead = tink.new_keyset_handle(aead.aead_key_templates.AES256_GCM).primitive(aead.Aead)

    def methods(self) -> dict[str, grpc_serving.Handler]:
        types: dict[str, Any] = {
            "Encrypt": (self._encrypt, kms_v1.EncryptRequest, kms_v1.EncryptResponse, self._unverified),
            "Decrypt": (self._decrypt, kms_v1.DecryptRequest, kms_v1.DecryptResponse, self._flipped),
        }
        return {
            name: grpc_serving.unary(
                behaviour, request=request, response=response, plan=self.plan, operation=name.lower(), rubbish=rubbish
            )
            for name, (behaviour, request, response, rubbish) in types.items()
        }

    def _encrypt(self, request: Any, context: Any) -> Any:
        self._check(request.name, request.plaintext, request.plaintext_crc32c, context)
        ciphertext = self._aead.encrypt(request.plaintext, request.additional_authenticated_data)
        return kms_v1.EncryptResponse(
            ciphertext=ciphertext,
            ciphertext_crc32c=google_crc32c.value(ciphertext),
            verified_plaintext_crc32c=True,
            verified_additional_authenticated_data_crc32c=True,
        )

    def _decrypt(self, request: Any, context: Any) -> Any:
        self._check(request.name, request.ciphertext, request.ciphertext_crc32c, context)
        try:
            plaintext = self._aead.decrypt(request.ciphertext, request.additional_authenticated_data)
        except tink.TinkError:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "Decryption failed: the ciphertext is invalid.")
        return kms_v1.DecryptResponse(plaintext=plaintext, plaintext_crc32c=google_crc32c.value(plaintext))

    def _unverified(self, _body: Any, request: Any, context: Any) -> Any:
        answer = self._encrypt(request, context)
        answer.verified_plaintext_crc32c = False
        return answer

    def _flipped(self, _body: Any, request: Any, context: Any) -> Any:
        answer = self._decrypt(request, context)
        answer.plaintext = bytes([answer.plaintext[0] ^ 1]) + answer.plaintext[1:]
        return answer

    def _check(self, name: str, data: bytes, checksum: int, context: Any) -> None:
        self.seen.append(name)
        if name != KEY:
            context.abort(grpc.StatusCode.NOT_FOUND, f"CryptoKey {name} not found.")
        if checksum != google_crc32c.value(data):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "checksum")


@contextmanager
def serve_kms() -> Iterator[tuple[str, KmsService]]:
    """Its address (host:port) and itself, while the block runs."""
    service = KmsService()
    admin = Flask("kms")
    with grpc_serving.serve_grpc_in_thread(SERVICE, service.methods(), admin=admin, plan=service.plan) as running:
        yield running.address, service
