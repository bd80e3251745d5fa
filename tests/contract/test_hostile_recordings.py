"""Hostile links and hostile servers: following a recording link is a door into our network, and it stays shut.

Every link and server here is one that an attacker who can sign webhooks, or a host that answers them, might send.
"""

from __future__ import annotations

import contextlib
import gzip
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from shared.errors import NotReady, PermanentFailure, PipelineError, TenantBlocked, TransientFailure
from shared.gateways.recordings import CallRailRecordings
from stages.download.audio import sniff_audio
from tests.support.recordings import CALL, WEBHOOK_LINK, DictSecrets, tenant

ROOT = Path(__file__).parents[2]
AUDIO = b"ID3" + bytes(range(256)) * 100
MAX_BYTES = 100_000
REFUSED = (NotReady, PermanentFailure, TenantBlocked, TransientFailure)

HOSTILE_LINKS = [
    # other schemes
    "ftp://app.callrail.com/x",
    "file:///etc/passwd",
    "file://app.callrail.com/etc/passwd",
    "gopher://app.callrail.com:70/_x",
    "dict://app.callrail.com:11211/stat",
    "ldap://app.callrail.com/x",
    "jar:https://app.callrail.com/x!/y",
    "data:audio/mpeg;base64,SUQz",
    "javascript:alert(1)",
    "ws://app.callrail.com/x",
    "unix:///var/run/docker.sock",
    "//app.callrail.com/x",
    "app.callrail.com/x",
    "/etc/passwd",
    "https:/app.callrail.com/x",
    "https:app.callrail.com/x",
    "",
    " ",
    # other hosts that look like an allowed one
    "https://app.callrail.com.evil.example.com/x",
    "https://evil.example.com/app.callrail.com",
    "https://evil.example.com?app.callrail.com",
    "https://evil.example.com#app.callrail.com",
    "https://app.callrail.com@evil.example.com/x",
    "https://app.callrail.com:443@evil.example.com/x",
    "https://app.callrail.com%2f@evil.example.com/x",
    "https://app.callrail.com%00.evil.example.com/x",
    "https://app.callrail.com\\@evil.example.com/x",
    "https://evil.example.com\\app.callrail.com/x",
    "https://app-callrail.com/x",
    "https://xapp.callrail.com/x",
    "https://callrail.com/x",
    "https://app.callrail.com./x",
    "https://.app.callrail.com/x",
    "https://*.callrail.com/x",
    "https://app.callrail.co\u043c/x",
    "https://\u0430pp.callrail.com/x",
    "https://app\u3002callrail\u3002evil\u3002example/x",
    "https://calltrk-production.s3.eu-west-1.amazonaws.com/x",
    "https://s3.amazonaws.com/calltrk-production/x",
    # an allowed host in a form that is not plain
    "https://app.callrail.com:22/x",
    "https://app.callrail.com:8443/x",
    "http://app.callrail.com:8080/x",
    "http://app.callrail.com:443/x",
    "https://app.callrail.com:0/x",
    "https://app.callrail.com:99999/x",
    "https://user:password@app.callrail.com/x",
    "https://@app.callrail.com@/x",
    # addresses instead of names
    "https://127.0.0.1/x",
    "https://127.1/x",
    "https://2130706433/x",
    "https://0x7f000001/x",
    "https://0177.0.0.1/x",
    "https://0/x",
    "https://10.0.0.1/x",
    "https://192.168.0.1/x",
    "https://169.254.169.254/computeMetadata/v1/instance/service-accounts/default/token",
    "https://0xa9fea9fe/computeMetadata/v1/",
    "https://2852039166/computeMetadata/v1/",
    "https://[::1]/x",
    "https://[::]/x",
    "https://[::ffff:169.254.169.254]/computeMetadata/v1/",
    "https://[::ffff:a9fe:a9fe]/computeMetadata/v1/",
    "https://[fd00:ec2::254]/x",
    "https://[fe80::1%25eth0]/x",
    "https://[64:ff9b::a9fe:a9fe]/x",
    "https://8.8.8.8/x",
    "https://localhost/x",
    "https://metadata.google.internal/computeMetadata/v1/",
    "https://metadata/computeMetadata/v1/",
    "https://kubernetes.default.svc/api",
    # broken on purpose
    "https://",
    "https:///x",
    "https://app.callrail.com\r\nHost: evil.example.com/x",
    "https://app.callrail.com /x",
    "https://app.callrail.com\t.evil.example.com/x",
    "https://[app.callrail.com/x",
    "https://app.callrail.com:port/x",
    "https://" + "a" * 300 + ".callrail.com/x",
]

HOSTILE_ADDRESSES = [
    ["127.0.0.1"],
    ["0.0.0.0"],  # noqa: S104 - refused, not bound
    ["10.0.0.8"],
    ["172.31.255.255"],
    ["192.168.1.1"],
    ["100.64.0.1"],
    ["169.254.169.254"],
    ["224.0.0.251"],
    ["255.255.255.255"],
    ["::1"],
    ["::"],
    ["fe80::1"],
    ["fd00:ec2::254"],
    ["::ffff:169.254.169.254"],
    ["::ffff:8.8.8.8"],
    ["64:ff9b::a9fe:a9fe"],
    ["2002:a9fe:a9fe::1"],
    ["2001:0:a9fe:a9fe::1"],
    ["ff02::1"],
    ["8.8.8.8", "169.254.169.254"],
    ["2600:1f18::1", "::1"],
]


# --- links --------------------------------------------------------------------------------------------


@dataclass
class Watch:
    """A resolver that says what it was asked and answers as told."""

    answers: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def __call__(self, host: str) -> list[str]:
        self.asked.append(host)
        return self.answers


def attempt(gateway: CallRailRecordings, link: str) -> bytes:
    with gateway.open(tenant(with_api=False), call_id=CALL, recording_url=link) as stream:
        return b"".join(stream.chunks)


@pytest.mark.parametrize("link", HOSTILE_LINKS)
def test_a_hostile_link_is_refused_before_any_name_is_looked_up(link: str) -> None:
    watch = Watch()
    gateway = CallRailRecordings(DictSecrets({}), max_bytes=MAX_BYTES, resolver=watch)

    with pytest.raises(PermanentFailure if link else NotReady):
        attempt(gateway, link)

    assert watch.asked == []


@pytest.mark.parametrize("addresses", HOSTILE_ADDRESSES, ids=" ".join)
def test_an_allowed_name_that_leads_inside_is_refused(addresses: list[str]) -> None:
    watch = Watch(addresses)
    gateway = CallRailRecordings(DictSecrets({}), max_bytes=MAX_BYTES, resolver=watch)

    with pytest.raises(PermanentFailure) as refused:
        attempt(gateway, WEBHOOK_LINK)

    assert refused.value.code == "recording_address_forbidden"
    assert watch.asked == ["app.callrail.com"]


# --- servers ------------------------------------------------------------------------------------------

Behaviour = Callable[[socket.socket], None]


def _answers(*lines: str, body: bytes = b"") -> Behaviour:
    head = "\r\n".join(("HTTP/1.1 200 OK", *lines, "", "")).encode()
    return lambda connection: connection.sendall(head + body)


def _moves_to(location: str, status: str = "302 Found") -> Behaviour:
    answer = f"HTTP/1.1 {status}\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
    return lambda connection: connection.sendall(answer.encode())


def _endless(chunk: bytes, *, start: bytes, pause_s: float = 0.0) -> Behaviour:
    def behave(connection: socket.socket) -> None:
        connection.sendall(start)
        ends_at = time.monotonic() + 3
        while time.monotonic() < ends_at:
            connection.sendall(chunk)
            time.sleep(pause_s)

    return behave


OK = b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\n"
BOMB = gzip.compress(b"\0" * 10_000_000)

HOSTILE_SERVERS: dict[str, Behaviour] = {
    "redirects to itself for ever": _moves_to(WEBHOOK_LINK),
    "redirects to another host": _moves_to("https://evil.example.com/x"),
    "redirects to another host without a scheme": _moves_to("//evil.example.com/x"),
    "redirects to the metadata server": _moves_to("http://169.254.169.254/computeMetadata/v1/"),
    "redirects to loopback on another port": _moves_to("http://127.0.0.1:1/x"),
    "redirects to IPv6 loopback": _moves_to("https://[::1]/x"),
    "redirects to a file": _moves_to("file:///etc/passwd"),
    "redirects to gopher": _moves_to("gopher://127.0.0.1:70/x"),
    "redirects with a user": _moves_to("https://user@app.callrail.com/x", "307 Temporary Redirect"),
    "redirects for good to elsewhere": _moves_to("https://evil.example.com/x", "301 Moved Permanently"),
    "redirects with a broken link": _moves_to("https://[::/x", "308 Permanent Redirect"),
    "announces far too much": _answers("Content-Type: audio/mpeg", "Content-Length: 99999999999", body=AUDIO),
    "announces more than it sends": _answers("Content-Length: 90000", body=AUDIO),
    "announces a negative length": _answers("Content-Length: -1", body=AUDIO),
    "announces two lengths": _answers("Content-Length: 5", "Content-Length: 25603", body=AUDIO),
    "announces a length that is no number": _answers("Content-Length: many", body=AUDIO),
    "sends without end": _endless(AUDIO, start=OK + b"\r\n"),
    "sends chunks without end": _endless(
        b"1000\r\n" + b"a" * 0x1000 + b"\r\n", start=OK + b"Transfer-Encoding: chunked\r\n\r\n"
    ),
    "sends a chunk of absurd size": _answers("Transfer-Encoding: chunked", body=b"FFFFFFFFFFFFFFFFFF\r\n" + AUDIO),
    "sends chunks that are none": _answers("Transfer-Encoding: chunked", body=b"zz\r\n" + AUDIO),
    "drips its body": _endless(b"I", start=OK + b"\r\nID3", pause_s=0.05),
    "drips its headers": _endless(b"a", start=b"HTTP/1.1 200 OK\r\nX: ", pause_s=0.05),
    "sends headers without end": _endless(b"X: " + b"a" * 1000 + b"\r\n", start=OK),
    "says nothing": lambda _connection: time.sleep(1.5),
    "hangs up": lambda connection: connection.close(),
    "speaks no HTTP": lambda connection: connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n"),
    "sends a gzip bomb": _answers("Content-Type: audio/mpeg", "Content-Encoding: gzip", body=BOMB),
    "sends a deflate bomb": _answers("Content-Encoding: deflate", body=zlib.compress(b"\0" * 10_000_000)),
    "sends brotli": _answers("Content-Encoding: br", body=AUDIO),
    "sends a page": _answers("Content-Type: text/html", body=b"<html>log in</html>"),
    "sends a page and calls it audio": _answers("Content-Type: audio/mpeg", body=b"\n <!DOCTYPE html><html>"),
    "sends JSON and calls it audio": _answers("Content-Type: audio/mpeg", body=b'{"token": "abc"}'),
    "sends a page that is called not ready": _answers("Content-Type: text/html", body=b"still processing"),
    "sends nothing": _answers("Content-Length: 0"),
    "asks for a password": lambda c: c.sendall(
        b"HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n\r\n"
    ),
    "asks for a proxy's password": lambda c: c.sendall(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n"),
    "changes the protocol": lambda c: c.sendall(b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"),
}


@contextlib.contextmanager
def serving(behave: Behaviour) -> Iterator[tuple[str, list[bytes]]]:
    """A server that reads each request and then behaves; yields its address and the requests."""
    requests: list[bytes] = []

    def answer(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(3)
            requests.append(connection.recv(65536))
            behave(connection)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", requests


def fetch_from(behave: Behaviour) -> tuple[bytes | PipelineError, list[bytes], float]:
    """What came of one fetch, the requests that arrived, and how long it took in seconds."""
    with serving(behave) as (url, requests):
        gateway = CallRailRecordings(
            DictSecrets({}), max_bytes=MAX_BYTES, local_base_url=url, total_timeout_s=0.4, read_timeout_s=0.2
        )
        began = time.monotonic()
        try:
            came: bytes | PipelineError = attempt(gateway, WEBHOOK_LINK)
        except PipelineError as error:
            came = error
        return came, list(requests), time.monotonic() - began


@pytest.mark.parametrize("name", HOSTILE_SERVERS)
def test_a_hostile_server_gets_an_error_out_of_us_and_nothing_else(name: str) -> None:
    came, requests, took_s = fetch_from(HOSTILE_SERVERS[name])

    assert isinstance(came, REFUSED), came if isinstance(came, Exception) else came[:40]
    assert took_s < 2.0
    assert len(requests) <= 18, "three tries of six requests at most"
    assert not [request for request in requests if b"authorization" in request.lower()]


def test_an_honest_server_is_heard_all_the_same() -> None:
    came, _, _ = fetch_from(_answers("Content-Type: audio/mpeg", f"Content-Length: {len(AUDIO)}", body=AUDIO))

    assert came == AUDIO


# --- content ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"<html><body>ID3</body></html>",
        b"<?xml version='1.0'?><svg/>",
        b"%PDF-1.7 ID3",
        b"PK\x03\x04ID3",
        b"\x1f\x8b\x08ID3",
        b"\x7fELF\x02\x01\x01ID3",
        b"MZ\x90\x00RIFF",
        b"#!/bin/sh\nID3",
        b"GIF89aID3",
        b"\x89PNG\r\n\x1a\nID3",
        b"RIFF\x00\x00\x00\x00AVI ",
        b"RIFF\x00\x00\x00\x00WEBP",
        b"\xff\xfeI\x00D\x003\x00",
        b"\x00ID3",
        b"",
    ],
)
def test_what_only_mentions_audio_is_not_taken_for_audio(content: bytes) -> None:
    assert sniff_audio(content) is None


@pytest.mark.parametrize("start", [b"ID3", b"OggS", b"fLaC", b"RIFF\x00\x00\x00\x00WAVE"])
def test_a_polyglot_is_kept_as_the_audio_that_it_begins_as_and_never_as_a_page(start: bytes) -> None:
    """Its object gets the name and type of the audio, so that nobody's browser takes the rest for a page."""
    kind = sniff_audio(start + b"<script>alert(1)</script>")

    assert kind is not None
    assert kind.content_type.startswith("audio/")


def test_there_are_enough_attacks_and_the_documents_count_them_right() -> None:
    links, addresses, servers = len(set(HOSTILE_LINKS)), len(HOSTILE_ADDRESSES), len(HOSTILE_SERVERS)

    assert links >= 60
    document = (ROOT / "docs/security/threat-model.md").read_text(encoding="utf-8")
    assert f"{links} links, {addresses} sets of addresses and {servers} servers" in document
