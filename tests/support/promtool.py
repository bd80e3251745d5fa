"""promtool for tests, fetched when it is missing; without it a skip on a laptop and a failure in CI."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.local.promtool import ensure_promtool
from shared.errors import ConfigurationError
from tests.support.emulators import do_without


@pytest.fixture(scope="session")
def promtool() -> Path:
    """The program."""
    try:
        return ensure_promtool(print)
    except ConfigurationError as error:
        do_without(f"{error.detail}; {error.fix}")
