"""Fetching recordings: the order of links, what each answer means, and that no link leads where it must not."""

from __future__ import annotations

import contextlib
import datetime
import socket
import ssl
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpcore
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from flask import Flask, Response, request

from infra.local.standins.callrail_store import LOCAL_API_KEY
from infra.local.standins.serving import serve_in_thread
from shared.errors import NotReady, PermanentFailure, PipelineError, TenantBlocked, TransientFailure
from shared.gateways.recordings import CallRailRecordings
from shared.gateways.recordings_http import Deadline, GuardedNetwork
from shared.gateways.recordings_links import is_public
from tests.support.recordings import (
    ACCESS_KEY,
    ACCOUNT,
    CALL,
    KEY_SECRET,
    WEBHOOK_LINK,
    CallRail,
    DictSecrets,
    running_callrail,
    tenant,
)

AUDIO = b"ID3" + bytes(range(256)) * 1000


@pytest.fixture
def callrail() -> Iterator[CallRail]:
    with running_callrail() as standin:
        yield standin


def fetched(
    gateway: CallRailRecordings, *, with_api: bool = True, link: str = WEBHOOK_LINK, **recordings: Any
) -> bytes:
    with gateway.open(tenant(with_api=with_api, **recordings), call_id=CALL, recording_url=link) as stream:
        return b"".join(stream.chunks)


def refused(gateway: CallRailRecordings, error: type[PipelineError], **options: Any) -> PipelineError:
    """The error of a fetch, after checking that nothing in it, nor in what caused it, shows a key."""
    with pytest.raises(error) as caught:
        fetched(gateway, **options)
    shown = "".join(traceback.format_exception(caught.value))
    assert ACCESS_KEY not in shown
    assert LOCAL_API_KEY not in shown
    return caught.value


# --- which link ---------------------------------------------------------------------------------------


def test_a_tenant_with_an_api_key_gets_a_fresh_link_and_the_key_stays_with_the_api(callrail: CallRail) -> None:
    callrail.holds(AUDIO)

    assert fetched(callrail.recordings()) == AUDIO
    assert callrail.asked() == [("recording.json", True), ("recording.redirect", False), ("recording.file", False)]


def test_a_tenant_without_an_api_key_uses_the_webhook_link(callrail: CallRail) -> None:
    callrail.holds(AUDIO, access_key=ACCESS_KEY)

    assert fetched(callrail.recordings(), with_api=False) == AUDIO
    assert callrail.asked() == [("recording.redirect", False), ("recording.file", False)]


def test_the_webhook_link_is_second_choice_when_the_api_fails(callrail: CallRail) -> None:
    callrail.holds(AUDIO)
    callrail.misbehaves({"operation": "recording.json", "kind": "status", "status": 429})

    assert fetched(callrail.recordings()) == AUDIO


def test_an_api_link_in_the_call_itself_is_asked_with_the_key(callrail: CallRail) -> None:
    callrail.holds(AUDIO)
    link = f"https://api.callrail.com/v3/a/{ACCOUNT}/calls/{CALL}/recording.json"

    assert fetched(callrail.recordings(), link=link) == AUDIO
    assert refused(callrail.recordings(), TenantBlocked, with_api=False, link=link).code == "callrail_key_missing"


def test_the_api_is_enough_when_the_webhook_had_no_link(callrail: CallRail) -> None:
    callrail.holds(AUDIO)

    assert fetched(callrail.recordings(), link="") == AUDIO
    assert refused(callrail.recordings(), NotReady, link="", with_api=False).code == "recording_link_missing"


def test_a_failing_api_is_not_taken_for_a_missing_recording(callrail: CallRail) -> None:
    callrail.misbehaves({"operation": "recording.json", "kind": "status", "status": 503, "times": 9})

    assert refused(callrail.recordings(), TransientFailure).code == "recording_unavailable"


# --- keys ---------------------------------------------------------------------------------------------


def test_a_key_that_was_just_replaced_is_read_again(callrail: CallRail) -> None:
    callrail.holds(AUDIO)
    secrets = DictSecrets({KEY_SECRET: LOCAL_API_KEY}, stale={KEY_SECRET: "old-key"})

    assert fetched(callrail.recordings(secrets=secrets)) == AUDIO


def test_a_refused_key_blocks_the_tenant_and_names_the_secret(callrail: CallRail) -> None:
    callrail.holds(AUDIO)
    error = refused(callrail.recordings(secrets=DictSecrets({KEY_SECRET: "wrong-key"})), TenantBlocked)

    assert error.code == "callrail_key_refused"
    assert KEY_SECRET in error.fix
    assert "wrong-key" not in str(error)
    assert callrail.asked() == [("recording.json", True)]


def test_a_refused_webhook_link_asks_for_an_api_key(callrail: CallRail) -> None:
    callrail.holds(AUDIO, access_key="another")

    error = refused(callrail.recordings(), TenantBlocked, with_api=False)
    assert "callrail_api_key_secret" in error.fix


# --- what an answer means -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "error", "code"),
    [
        ({"status": 404}, NotReady, "recording_not_ready"),
        ({"status": 202}, NotReady, "recording_not_ready"),
        ({"status": 204}, NotReady, "recording_not_ready"),
        ({"status": 410}, NotReady, "recording_not_ready"),
        ({"status": 200, "body": ""}, NotReady, "recording_empty"),
        ({"status": 200, "body": "<html>Your recording is still processing.</html>"}, NotReady, "recording_not_ready"),
        ({"status": 200, "body": {"message": "Recording not yet available"}}, NotReady, "recording_not_ready"),
        ({"status": 200, "body": "<html><h1>Log in</h1></html>"}, PermanentFailure, "recording_not_audio"),
        ({"status": 200, "body": {"message": "hello"}}, PermanentFailure, "recording_not_audio"),
        (
            {"status": 200, "body": "xx", "headers": {"Content-Encoding": "gzip"}},
            PermanentFailure,
            "recording_compressed",
        ),
        ({"status": 400}, PermanentFailure, "recording_refused"),
        ({"status": 429}, TransientFailure, "recording_throttled"),
        ({"status": 503}, TransientFailure, "recording_unavailable"),
    ],
)
def test_each_answer_has_its_meaning(
    callrail: CallRail, answer: dict[str, Any], error: type[PipelineError], code: str
) -> None:
    callrail.holds(AUDIO)
    rule = {"operation": "recording.file", "kind": "status", "times": 9, "body": "xx"} | answer
    callrail.misbehaves(rule)

    assert refused(callrail.recordings(), error, with_api=False).code == code


def test_throttling_waits_as_long_as_told_and_a_minute_when_told_nothing(callrail: CallRail) -> None:
    callrail.misbehaves({"operation": "recording.redirect", "kind": "status", "status": 429})
    untold = refused(callrail.recordings(), TransientFailure, with_api=False)
    callrail.misbehaves(
        {"operation": "recording.redirect", "kind": "status", "status": 429, "headers": {"Retry-After": "120"}}
    )
    told = refused(callrail.recordings(), TransientFailure, with_api=False)

    assert isinstance(untold, TransientFailure)
    assert isinstance(told, TransientFailure)
    assert (untold.retry_after_s, told.retry_after_s) == (60, 120)


def test_a_short_hiccup_is_overcome_at_once(callrail: CallRail) -> None:
    callrail.holds(AUDIO)
    callrail.misbehaves(
        {"operation": "recording.file", "kind": "status", "status": 502},
        {"operation": "recording.redirect", "kind": "drop", "skip": 1},
    )

    assert fetched(callrail.recordings(), with_api=False) == AUDIO


def test_a_recording_that_comes_later_is_not_ready_first(callrail: CallRail) -> None:
    callrail.holds(AUDIO, not_ready_for=2)

    refused(callrail.recordings(), NotReady)  # asks the API, then the link
    assert fetched(callrail.recordings()) == AUDIO


def test_an_api_without_a_link_is_not_ready_and_rubbish_is_transient(callrail: CallRail) -> None:
    callrail.misbehaves({"operation": "recording.json", "kind": "rubbish", "body": {"url": None}})
    assert refused(callrail.recordings(), NotReady, link="").code == "recording_link_missing"

    callrail.misbehaves({"operation": "recording.json", "kind": "rubbish", "body": "<html>", "times": 9})
    assert refused(callrail.recordings(), TransientFailure, link="").code == "callrail_rubbish"


def test_a_connection_lost_in_the_middle_is_transient(callrail: CallRail) -> None:
    callrail.holds(AUDIO)
    callrail.misbehaves({"operation": "recording.file", "kind": "drop_after"})

    assert refused(callrail.recordings(), TransientFailure).code == "recording_interrupted"


# --- limits -------------------------------------------------------------------------------------------


def test_a_recording_announced_as_too_large_is_refused_unread(callrail: CallRail) -> None:
    callrail.holds(b"", synthetic_bytes=10_000_001)

    assert refused(callrail.recordings(), PermanentFailure, with_api=False).code == "recording_too_large"


def test_a_recording_that_does_not_announce_its_size_is_cut_at_the_limit() -> None:
    app = Flask("endless")
    sent = 0

    @app.get("/calls/<call>/recording/redirect")
    def endless(call: str) -> Response:
        def forever() -> Iterator[bytes]:
            nonlocal sent
            while True:
                sent += len(AUDIO)
                yield AUDIO

        return Response(forever(), content_type="audio/mpeg")

    with serve_in_thread(app) as url:
        gateway = CallRailRecordings(DictSecrets({}), max_bytes=1_000_000, local_base_url=url)
        assert refused(gateway, PermanentFailure, with_api=False).code == "recording_too_large"
    assert sent < 20_000_000


def test_a_stalling_host_costs_no_more_than_the_read_timeout(callrail: CallRail) -> None:
    callrail.holds(AUDIO)
    callrail.misbehaves({"operation": "recording.file", "kind": "stall", "delay_s": 2, "times": 3})

    error = refused(callrail.recordings(read_timeout_s=0.2), TransientFailure, with_api=False)
    assert error.code == "recording_timeout"


def test_a_host_that_drips_its_headers_cannot_outlast_the_total_limit() -> None:
    with dripping_server() as url:
        gateway = CallRailRecordings(DictSecrets({}), max_bytes=1000, local_base_url=url, total_timeout_s=0.5)
        started = time.monotonic()
        assert refused(gateway, TransientFailure, with_api=False).code == "recording_timeout"
    assert time.monotonic() - started < 5


@contextlib.contextmanager
def dripping_server() -> Iterator[str]:
    """Answers every connection with one header byte every 20 ms, for ever."""
    done = threading.Event()

    def drip(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
            while not done.wait(0.02):
                connection.sendall(b"a")

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=drip, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        done.set()


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
