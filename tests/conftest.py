"""What every test shares. Fixtures that start emulators live in `tests/support`."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest
import structlog

from tests.support.keys import key_file

pytest_plugins = [
    "tests.support.emulators",
    "tests.support.grouping",
    "tests.support.pipeline_database",
    "tests.support.promtool",
]

# A developer's own settings must not leak into tests.
for _name in [name for name in os.environ if name.startswith(("PIPELINE_", "K_"))]:
    del os.environ[_name]
os.environ["PIPELINE_LOCAL_PII_KEY_FILE"] = str(key_file())


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """A command that a test runs in this process may set up logging; the next test must not inherit it."""
    before = structlog.get_config()
    handlers, level = list(logging.root.handlers), logging.root.level
    yield
    structlog.configure(**before)
    logging.root.handlers = handlers
    logging.root.setLevel(level)
