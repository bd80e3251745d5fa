"""The container image gets what its Dockerfile copies: the file is there, and `.dockerignore` lets it in."""

from __future__ import annotations

from pathlib import PurePosixPath

from infra.local.plan import PROJECT_ROOT


def copied() -> list[str]:
    """Sources of every COPY from the build context."""
    lines = (PROJECT_ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    return [
        source for line in lines if line.startswith("COPY ") and "--from" not in line for source in line.split()[1:-1]
    ]


def ignored() -> list[str]:
    return (PROJECT_ROOT / ".dockerignore").read_text(encoding="utf-8").split()


def test_what_the_image_copies_is_there_and_not_ignored() -> None:
    sources = copied()

    assert sources
    for source in sources:
        assert (PROJECT_ROOT / source).exists(), source
        kept_out = [place for place in ignored() if PurePosixPath(source).is_relative_to(place)]
        assert kept_out == [], f"{source} is kept out by {kept_out}"
