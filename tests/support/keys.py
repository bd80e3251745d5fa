"""The key-encryption key of the tests: a file made once for each test run, in the place of Cloud KMS."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from shared.gateways.local_kek import local_key, make_key_file


@cache
def key_file() -> Path:
    path = Path(tempfile.mkdtemp(prefix="pipeline-tests-")) / "pii-key.json"
    make_key_file(path)
    return path


@cache
def key_maker() -> Callable[[], Any]:
    """A function that makes the key, as the gateways want it."""
    return local_key(str(key_file()))
