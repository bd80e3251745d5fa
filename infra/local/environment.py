"""Puts a stack's environment over this process's own for a while: Google's clients read it when they are made."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


@contextmanager
def applied(env: Mapping[str, str]) -> Iterator[None]:
    """Set the variables inside the block and restore what was there before."""
    before = {name: os.environ.get(name) for name in env}
    os.environ.update(env)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
