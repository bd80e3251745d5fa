"""What every test shares. Fixtures that start emulators live in `tests/support`."""

from __future__ import annotations

import os

from tests.support.keys import key_file

pytest_plugins = ["tests.support.emulators", "tests.support.pipeline_database"]

# A developer's own settings must not leak into tests.
for _name in [name for name in os.environ if name.startswith(("PIPELINE_", "K_"))]:
    del os.environ[_name]
os.environ["PIPELINE_LOCAL_PII_KEY_FILE"] = str(key_file())
