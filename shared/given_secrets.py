"""Secrets that a person has just given, before those of Secret Manager: tried before they are stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from shared.ports import Secrets


@dataclass(frozen=True)
class GivenSecrets:
    """Implements `shared.ports.Secrets`. `write` goes to the store behind it."""

    given: Mapping[str, str] = field(repr=False)
    stored: Secrets

    def read(self, name: str) -> str:
        return self.given[name] if name in self.given else self.stored.read(name)

    def reread(self, name: str) -> str:
        return self.given[name] if name in self.given else self.stored.reread(name)

    def write(self, name: str, value: str) -> None:
        self.stored.write(name, value)
