"""Webhook signatures: CallRail's documented form and nothing else, and the forwarder's with its window."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from werkzeug.datastructures import Headers

from handlers.signature import callrail_signature, forwarder_signature, is_signed
from tests.support.ports import NOON
from tests.support.tenants import SIGNING_KEY

NOW_S = NOON.timestamp()
JSON_BODY = b'{"resource_id":"CAL019aexample0000000000000000000001","duration":"214"}'
FORM_BODY = b"resource_id=CAL019aexample0000000000000000000001&duration=214&customer_name=Acme+%26+Sons"
VECTORS = [(JSON_BODY, "Hod8uzq1Sv+bR7oaB6/as21qrwM="), (FORM_BODY, "isIL3XppbN6JlYOrR8pdhZCQ2Lc=")]


def is_callrails(body: bytes, headers: Mapping[str, str], *keys: str) -> bool:
    return is_signed("callrail", keys or (SIGNING_KEY,), body, headers, now_s=NOW_S)


def is_forwarders(body: bytes, headers: Mapping[str, str], *keys: str) -> bool:
    return is_signed("forwarder", keys or (SIGNING_KEY,), body, headers, now_s=NOW_S)


def forwarded(body: bytes, *, at_s: float = NOW_S, key: str = SIGNING_KEY) -> dict[str, str]:
    timestamp = str(int(at_s))
    return {"x-timestamp": timestamp, "x-callrail-signature": forwarder_signature(key, timestamp, body)}


@pytest.mark.parametrize(("body", "signature"), VECTORS, ids=["json", "form"])
def test_the_reference_vectors_pass(body: bytes, signature: str) -> None:
    assert is_callrails(body, {"Signature": signature})


@pytest.mark.parametrize(("body", "signature"), VECTORS, ids=["json", "form"])
def test_one_byte_more_or_less_fails(body: bytes, signature: str) -> None:
    assert not is_callrails(body + b"\n", {"Signature": signature})
    assert not is_callrails(body[:-1], {"Signature": signature})


def test_mistake_1_an_invented_header_with_sha256_hex_fails() -> None:
    digest = hmac.new(SIGNING_KEY.encode(), JSON_BODY, hashlib.sha256).hexdigest()
    for value in (digest, f"sha256={digest}"):
        assert not is_callrails(JSON_BODY, {"Signature": value})
        assert not is_callrails(JSON_BODY, {"X-CallRail-Signature": value})


def test_mistake_3_only_the_documented_form_of_the_right_digest_passes() -> None:
    digest = hmac.new(SIGNING_KEY.encode(), JSON_BODY, hashlib.sha1).digest()
    right = base64.b64encode(digest).decode()
    wrong = [
        digest.hex(),
        f"sha1={right}",
        right.rstrip("="),
        right.replace("+", "-").replace("/", "_"),
        right.lower(),
        f"{right}, {right}",
        base64.b64encode(hmac.new(SIGNING_KEY.encode(), JSON_BODY, hashlib.sha256).digest()).decode(),
    ]
    assert is_callrails(JSON_BODY, {"Signature": right})
    assert [value for value in wrong if is_callrails(JSON_BODY, {"Signature": value})] == []


def test_mistake_6_no_key_or_an_empty_key_means_no() -> None:
    forged = {"Signature": callrail_signature("", JSON_BODY)}
    assert not is_signed("callrail", [], JSON_BODY, forged, now_s=NOW_S)
    assert not is_callrails(JSON_BODY, forged, "")
    assert not is_forwarders(JSON_BODY, forwarded(JSON_BODY, key=""), "")


def test_the_key_is_its_characters_not_the_bytes_that_its_hex_digits_spell() -> None:
    decoded = hmac.new(bytes.fromhex(SIGNING_KEY), JSON_BODY, hashlib.sha1).digest()
    assert not is_callrails(JSON_BODY, {"Signature": base64.b64encode(decoded).decode()})


def test_mistake_7_a_signature_that_is_not_ascii_is_compared_and_refused() -> None:
    assert not is_callrails(JSON_BODY, {"Signature": "H\u00f6d8uzq1Sv+bR7oaB6/as21qrwM="})


def test_the_header_may_be_written_in_any_case() -> None:
    headers = Headers({"signature": VECTORS[0][1]})
    assert is_signed("callrail", [SIGNING_KEY], JSON_BODY, headers, now_s=NOW_S)  # type: ignore[arg-type] # Mapping in all but name


def test_either_of_two_keys_passes_while_one_replaces_the_other() -> None:
    for key in ("old-key", "new-key"):
        assert is_callrails(JSON_BODY, {"Signature": callrail_signature(key, JSON_BODY)}, "old-key", "new-key")
    assert not is_callrails(JSON_BODY, {"Signature": callrail_signature("older", JSON_BODY)}, "old-key", "new-key")


@given(body=st.binary(max_size=300), key=st.text(min_size=1, max_size=40), other=st.binary(max_size=300))
def test_whatever_the_body_its_own_signature_passes_and_no_other_bodys(body: bytes, key: str, other: bytes) -> None:
    assume(body != other)
    assert is_callrails(body, {"Signature": callrail_signature(key, body)}, key)
    assert not is_callrails(body, {"Signature": callrail_signature(key, other)}, key)
    assert is_forwarders(body, forwarded(body, key=key), key)
    assert not is_forwarders(body, forwarded(other, key=key), key)


@given(
    signature=st.text(st.characters(max_codepoint=255)),
    timestamp=st.text(st.characters(max_codepoint=255), max_size=30) | st.from_regex(r"[0-9]{1,30}", fullmatch=True),
)
def test_whatever_the_headers_a_forgery_is_refused_and_nothing_is_raised(signature: str, timestamp: str) -> None:
    headers = {"Signature": signature, "x-callrail-signature": signature, "x-timestamp": timestamp}
    assert not is_callrails(JSON_BODY, headers)
    assert not is_forwarders(JSON_BODY, headers)


@pytest.mark.parametrize(("age_s", "passes"), [(0, True), (300, True), (301, False), (-300, True), (-301, False)])
def test_a_forwarded_body_is_good_for_five_minutes_either_way(age_s: int, passes: bool) -> None:
    assert is_forwarders(JSON_BODY, forwarded(JSON_BODY, at_s=NOW_S - age_s)) is passes


def test_a_forwarders_timestamp_is_part_of_what_is_signed() -> None:
    headers = {**forwarded(JSON_BODY, at_s=NOW_S - 10_000), "x-timestamp": str(int(NOW_S))}
    assert not is_forwarders(JSON_BODY, headers)


@pytest.mark.parametrize("timestamp", ["", "now", "-1", "1.5", "\u00b2", " 1", "9" * 5000])
def test_a_timestamp_that_is_no_number_of_seconds_is_refused(timestamp: str) -> None:
    signature = forwarder_signature(SIGNING_KEY, timestamp, JSON_BODY)
    assert not is_forwarders(JSON_BODY, {"x-timestamp": timestamp, "x-callrail-signature": signature})


def test_one_scheme_never_stands_in_for_the_other() -> None:
    assert not is_forwarders(JSON_BODY, {"Signature": VECTORS[0][1]})
    assert not is_callrails(JSON_BODY, forwarded(JSON_BODY))
