"""What every test shares. Fixtures that start emulators live in `tests/support`."""

from __future__ import annotations

import os

pytest_plugins = ["tests.support.emulators", "tests.support.pipeline_database"]

# A developer's own settings must not leak into tests.
for _name in [name for name in os.environ if name.startswith(("PIPELINE_", "K_"))]:
    del os.environ[_name]
