"""Posts signed webhooks as CallRail's servers do, and puts recordings into CallRail's stand-in."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from handlers.signature import callrail_signature
from shared.errors import ConfigurationError
from shared.gateways.http import tls_context
from stages.download.audio import HEAD_BYTES, name_of_other, sniff_audio

_TIMEOUT_S = 30.0
WEBHOOK_PATH = "/v1/callrail/webhook"


def new_call_id() -> str:
    """A call id of CallRail's present form: `CAL` and a UUIDv7-like number that begins with the time in ms."""
    return f"CAL{int(time.time() * 1000):012x}{secrets.token_hex(10)}"


def encode(payload: Mapping[str, Any]) -> bytes:
    """The JSON body, byte for byte as it will be signed and sent."""
    return json.dumps(payload, separators=(",", ":")).encode()


def post_webhook(
    base_url: str, body: bytes, *, key: str, own_address: str = "", content_type: str = "application/json"
) -> httpx.Response:
    """Sign the body and post it to the receiver at `base_url`.

    `own_address` is `<tenant token>/<event>`; empty means the shared address. Raises `ConfigurationError` when
    nothing answers there.
    """
    url = f"{base_url.rstrip('/')}{WEBHOOK_PATH}" + (f"/{own_address}" if own_address else "")
    headers = {"Content-Type": content_type, "Signature": callrail_signature(key, body)}
    try:
        return httpx.post(url, content=body, headers=headers, timeout=_TIMEOUT_S, trust_env=False, verify=tls_context())
    except httpx.HTTPError as error:
        raise ConfigurationError(
            "webhook_unreachable", f"nothing answers at {url}", fix="start the stack: pipeline local up --detach"
        ) from error


def check_audio(path: Path) -> None:
    """Raises `ConfigurationError` unless the file begins as audio that the pipeline takes."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        raise ConfigurationError(
            "no_audio_file", f"{path} is not a file that can be read: {error.strerror}", fix="give a WAV or MP3 file"
        ) from error
    if sniff_audio(head) is None:
        raise ConfigurationError(
            "not_audio", f"{path} is not audio but {name_of_other(head)}", fix="give a WAV or MP3 file"
        )


def put_recording(callrail_url: str, *, call_id: str, audio: Path) -> str:
    """Give CallRail's stand-in a recording; returns the link that a webhook would carry."""
    check_audio(audio)
    content_type = "audio/wav" if audio.suffix.lower() == ".wav" else "audio/mpeg"
    try:
        answer = httpx.post(
            f"{callrail_url}/_standin/recordings",
            json={"call_id": call_id, "path": str(audio.resolve()), "content_type": content_type},
            timeout=_TIMEOUT_S,
            trust_env=False,
            verify=tls_context(),
        )
        answer.raise_for_status()
    except httpx.HTTPError as error:
        raise ConfigurationError("callrail_unreachable", f"CallRail's stand-in refused {audio.name}") from error
    return str(answer.json()["recording"])
