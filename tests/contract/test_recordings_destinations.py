"""Where a recording's link may lead: our hosts at public addresses, and to exactly the address that was checked."""

from __future__ import annotations

import contextlib
import datetime
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpcore
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from flask import Flask, request

from shared.errors import PermanentFailure, TenantBlocked, TransientFailure
from shared.gateways.recordings import CallRailRecordings
from shared.gateways.recordings_http import Deadline, GuardedNetwork
from shared.gateways.recordings_links import is_public
from tests.support.recordings import (
    ACCESS_KEY,
    ACCOUNT,
    AUDIO,
    CALL,
    WEBHOOK_LINK,
    CallRail,
    DictSecrets,
    refused,
    running_callrail,
)


@pytest.fixture
def callrail() -> Iterator[CallRail]:
    with running_callrail() as standin:
        yield standin


# --- where links may lead -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "link",
    [
        f"https://recordings.example.com/x?access_key={ACCESS_KEY}",
        f"https://app.callrail.com.example.com/x?access_key={ACCESS_KEY}",
        f"https://app.callrail.com:8443/x?access_key={ACCESS_KEY}",
        f"https://user@app.callrail.com/x?access_key={ACCESS_KEY}",
        f"https://app.callrail.com@example.com/x?access_key={ACCESS_KEY}",
        f"http://127.0.0.1:1/x?access_key={ACCESS_KEY}",
        "https://169.254.169.254/computeMetadata/v1/",
        "https://[::1]/x",
        "ftp://app.callrail.com/x",
        "file:///etc/passwd",
        "/calls/x",
        f"https://app.callrail.com:port/{ACCESS_KEY}",
        f"https://[{ACCESS_KEY}/",
    ],
)
def test_links_to_elsewhere_are_not_followed(callrail: CallRail, link: str) -> None:
    refused(callrail.recordings(), PermanentFailure, with_api=False, link=link)
    assert callrail.asked() == []


def test_redirects_are_judged_like_the_first_link(callrail: CallRail) -> None:
    callrail.holds(AUDIO)
    for location in ("https://evil.example.com/x", "http://169.254.169.254/", "//127.0.0.1:1/x", "gopher://x"):
        callrail.misbehaves(
            {"operation": "recording.redirect", "kind": "status", "status": 302, "headers": {"Location": location}}
        )
        refused(callrail.recordings(), PermanentFailure, with_api=False)
    assert {operation for operation, _ in callrail.asked()} == {"recording.redirect"}


def test_a_redirect_back_to_the_api_host_does_not_get_the_key_unasked(callrail: CallRail) -> None:
    callrail.holds(AUDIO)
    api = f"https://api.callrail.com/v3/a/{ACCOUNT}/calls/{CALL}/recording.json"
    callrail.misbehaves(
        {"operation": "recording.redirect", "kind": "status", "status": 302, "headers": {"Location": api}}
    )

    refused(callrail.recordings(), TenantBlocked, with_api=False)
    assert callrail.asked() == [("recording.redirect", False), ("recording.json", False)]


def test_endless_redirects_end(callrail: CallRail) -> None:
    callrail.misbehaves(
        {
            "operation": "recording.redirect",
            "kind": "status",
            "status": 302,
            "times": 99,
            "headers": {"Location": WEBHOOK_LINK},
        }
    )

    assert refused(callrail.recordings(), PermanentFailure, with_api=False).code == "recording_too_many_redirects"
    assert len(callrail.asked()) == 6


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["10.1.2.3"],
        ["169.254.169.254"],
        ["8.8.8.8", "192.168.0.1"],
        ["::ffff:127.0.0.1"],
        ["fd00::1"],
    ],
)
def test_an_allowed_host_with_a_non_public_address_is_refused(addresses: list[str]) -> None:
    gateway = CallRailRecordings(DictSecrets({}), max_bytes=1000, resolver=lambda _: addresses)

    error = refused(
        gateway,
        PermanentFailure,
        with_api=False,
        link="https://recordings.example.com/x",
        allowed_hosts=["recordings.example.com"],
    )
    assert error.code == "recording_address_forbidden"
    assert refused(gateway, PermanentFailure, with_api=False).code == "recording_address_forbidden"


def test_a_host_that_does_not_resolve_is_transient() -> None:
    def fails(_: str) -> list[str]:
        raise OSError("no such host")

    gateway = CallRailRecordings(DictSecrets({}), max_bytes=1000, resolver=fails)
    assert refused(gateway, TransientFailure, with_api=False).code == "recording_unreachable"


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "52.217.0.1", "2600:1f18::1", "2607:f8b0:4004:c07::71", "2002:808:808::1"]
)
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.1", "127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"),
        *("192.0.0.1", "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"),
        *("::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "fec0::1", "2001:db8::1"),
        *("::ffff:10.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "64:ff9b::7f00:1", "2001:0:7f00:1::", "2002:7f00:1::"),
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


# --- connecting to the address that was checked ---------------------------------------------------------


def test_the_connection_goes_to_the_checked_address_and_tls_to_the_name(tmp_path: Path) -> None:
    seen: dict[str, str] = {}
    asked: list[str] = []

    def resolver(host: str) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    with tls_server("recordings.example.com", tmp_path, seen) as (port, trust):
        network = GuardedNetwork(Deadline(time.monotonic() + 10), resolver=resolver, is_permitted=lambda _: True)
        with httpcore.ConnectionPool(ssl_context=trust, network_backend=network) as pool:
            answer = pool.request("GET", f"https://recordings.example.com:{port}/x")
            assert answer.content == b"audio"
            assert seen == {"sni": "recordings.example.com", "host": f"recordings.example.com:{port}"}
            assert asked == ["recordings.example.com"]
            # The same server under another name: its certificate does not fit.
            with pytest.raises(httpcore.ConnectError, match="certificate"):
                pool.request("GET", f"https://other.example.com:{port}/x")


@contextlib.contextmanager
def tls_server(name: str, folder: Path, seen: dict[str, str]) -> Iterator[tuple[int, ssl.SSLContext]]:
    """An https server with a certificate for `name`; yields its port and a context that trusts it."""
    certificate = _self_signed(name, folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def note_name(_socket: ssl.SSLObject, server_name: str, _context: ssl.SSLContext) -> None:
        seen.setdefault("sni", server_name)

    context.sni_callback = note_name
    app = Flask("tls")

    @app.get("/x")
    def audio() -> str:
        seen["host"] = request.headers["Host"]
        return "audio"

    from werkzeug.serving import make_server

    server = make_server("127.0.0.1", 0, app, threaded=True, ssl_context=context)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_port, ssl.create_default_context(cafile=str(certificate))
    server.shutdown()
    thread.join(timeout=5)
    server.server_close()


def _self_signed(name: str, folder: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "server.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path
