"""The key-encryption key of the tests: a file made once for each test run, in the place of Cloud KMS."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from shared.gateways.keysets import PURPOSES, new_keyset, wrap
from shared.gateways.local_kek import local_key, make_key_file


@cache
def key_file() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="pipeline-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = folder / "pii-key.json"
    make_key_file(path)
    return path


@cache
def key_maker() -> Callable[[], Any]:
    """A function that makes the key, as the gateways want it."""
    return local_key(str(key_file()))


@cache
def keysets_of(tenant_id: str) -> list[list[Any]]:
    """A tenant's keysets as `read_keysets` answers them: purpose, wrapped keyset, version."""
    kek = key_maker()()
    return [[purpose, wrap(new_keyset(purpose), kek, tenant_id=tenant_id, purpose=purpose), 1] for purpose in PURPOSES]
