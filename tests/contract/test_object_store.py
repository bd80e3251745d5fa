"""The audio bucket: created once, streamed, read by ranges, and errors in our words."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator

import pytest
from flask import Flask

from infra.local import gcs
from infra.local.standins.serving import serve_in_thread
from shared.errors import NotReady, PermanentFailure, TransientFailure
from shared.gateways.objects import CHUNK_BYTES, GcsObjectStore
from tests.support.gcs import fresh_store

SMALL = b"small audio"
LARGE = bytes(range(256)) * (CHUNK_BYTES // 256 * 2 + 100)


@pytest.fixture
def object_store(gcs_server: str) -> GcsObjectStore:
    return fresh_store(gcs_server)


def pieces(data: bytes, size: int = 100_000) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


@pytest.mark.parametrize("data", [SMALL, LARGE, LARGE[:CHUNK_BYTES], LARGE[: 2 * CHUNK_BYTES], b""])
def test_an_object_holds_exactly_what_was_streamed(object_store: GcsObjectStore, data: bytes) -> None:
    stored = object_store.create("recordings/a/1.mp3", pieces(data), content_type="audio/mpeg")

    assert stored is not None
    assert (stored.name, stored.size_bytes) == ("recordings/a/1.mp3", len(data))
    assert stored.generation > 0
    assert object_store.read("recordings/a/1.mp3", max_bytes=len(LARGE)) == data


@pytest.mark.parametrize("data", [SMALL, LARGE])
def test_an_existing_object_is_kept_and_reported(object_store: GcsObjectStore, data: bytes) -> None:
    object_store.create("x", iter([data]), content_type="audio/mpeg")

    assert object_store.create("x", iter([data[::-1]]), content_type="audio/mpeg") is None
    assert object_store.read("x", max_bytes=len(LARGE)) == data


@pytest.mark.parametrize("sent_before", [SMALL, LARGE])
def test_an_error_in_the_stream_leaves_no_object(object_store: GcsObjectStore, sent_before: bytes) -> None:
    def broken() -> Iterator[bytes]:
        yield from pieces(sent_before)
        raise TransientFailure("recording_interrupted", "lost the host")

    with pytest.raises(TransientFailure, match="recording_interrupted"):
        object_store.create("x", broken(), content_type="audio/mpeg")

    assert object_store.list_names("") == []
    # The next attempt is not hindered by what the first one left.
    assert object_store.create("x", pieces(LARGE), content_type="audio/mpeg") is not None


def test_a_reader_seeks_like_a_file(object_store: GcsObjectStore) -> None:
    object_store.create("x", pieces(LARGE), content_type="audio/mpeg")
    expected = io.BytesIO(LARGE)

    with object_store.open("x") as reader:
        for offset, whence, count in [(0, 0, 10), (-128, 2, 200), (700_001, 0, 600_000), (-5, 1, 3), (0, 2, 1)]:
            assert reader.seek(offset, whence) == expected.seek(offset, whence)
            assert reader.read(count) == expected.read(count)
        reader.seek(0)
        assert reader.read() == LARGE


def test_missing_objects_are_not_ready(object_store: GcsObjectStore) -> None:
    with pytest.raises(NotReady):
        object_store.open("nowhere")
    with pytest.raises(NotReady):
        object_store.read("nowhere", max_bytes=10)


def test_an_object_larger_than_allowed_is_refused(object_store: GcsObjectStore) -> None:
    object_store.create("x", iter([b"12345"]), content_type="text/plain")

    assert object_store.read("x", max_bytes=5) == b"12345"
    with pytest.raises(PermanentFailure, match="object_too_large"):
        object_store.read("x", max_bytes=4)


def test_names_are_listed_by_prefix_and_sorted(object_store: GcsObjectStore) -> None:
    for name in ("recordings/b/2.mp3", "recordings/a/9.mp3", "recordings/a/1.mp3"):
        object_store.create(name, iter([SMALL]), content_type="audio/mpeg")

    assert object_store.list_names("recordings/a/") == ["recordings/a/1.mp3", "recordings/a/9.mp3"]


def test_uri_names_bucket_and_object() -> None:
    assert GcsObjectStore("audio", project_id="p").uri("a/b.mp3") == "gs://audio/a/b.mp3"


def test_a_missing_bucket_is_ours_to_mend_and_worth_another_try(gcs_server: str) -> None:
    store = GcsObjectStore("no-such-bucket", project_id="p", endpoint=gcs_server)

    with pytest.raises(TransientFailure, match="storage_refused"):
        store.create("x", iter([SMALL]), content_type="audio/mpeg")


@pytest.mark.parametrize(
    ("status", "error", "code"),
    [
        (403, TransientFailure, "storage_refused"),
        (429, TransientFailure, "storage_unavailable"),
        (503, TransientFailure, "storage_unavailable"),
        (400, PermanentFailure, "storage_rejected"),
    ],
)
def test_statuses_become_our_errors(status: int, error: type[Exception], code: str) -> None:
    app = Flask("storage")
    app.register_error_handler(404, lambda _: ("{}", status))

    with serve_in_thread(app) as url:
        store = GcsObjectStore("audio", project_id="p", endpoint=url, retry_s=0.3)
        attempts: list[Callable[[], object]] = [
            lambda: store.create("x", iter([SMALL]), content_type="audio/mpeg"),
            lambda: store.create("x", pieces(LARGE), content_type="audio/mpeg"),
            lambda: store.open("x"),
            lambda: store.read("x", max_bytes=1),
            lambda: store.list_names(""),
        ]
        for attempt in attempts:
            with pytest.raises(error, match=code):
                attempt()


def test_an_unreachable_store_is_transient() -> None:
    with serve_in_thread(Flask("gone")) as url:
        pass
    store = GcsObjectStore("audio", project_id="p", endpoint=url, retry_s=0.3)

    with pytest.raises(TransientFailure, match="storage_unreachable"):
        store.read("x", max_bytes=1)


def test_objects_outlive_the_server_when_it_is_given_a_directory(tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.mktemp("objects")
    for round_ in ("write", "read"):
        with gcs.serve(bucket="audio", root=root) as url:
            store = GcsObjectStore("audio", project_id="local", endpoint=url)
            if round_ == "write":
                store.create("a/x.mp3", iter([SMALL]), content_type="audio/mpeg")
            assert store.read("a/x.mp3", max_bytes=100) == SMALL
