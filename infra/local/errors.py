"""How the local stack talks to the person at the keyboard: progress lines and what went wrong."""

from __future__ import annotations

from collections.abc import Callable

from shared.errors import ConfigurationError

Report = Callable[[str], None]
"""Takes one line of progress; may be called from several threads."""


class StackError(ConfigurationError):
    """The local stack cannot start, was not found or has lost a part; `fix` says what to do."""
