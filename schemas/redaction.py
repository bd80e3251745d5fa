"""What can be masked in what was said."""

from __future__ import annotations

from typing import Literal

RedactionKind = Literal["card", "ssn", "email", "bank", "digits"]
