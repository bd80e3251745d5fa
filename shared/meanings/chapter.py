"""What an error code means, in plain words: the shape of the table's rows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Meaning:
    """`means` says what happened, `helps` what to do about it.

    Both may say TENANT, CALL and STAGE, which `filled` replaces; a command stands in back quotes.
    """

    means: str
    helps: str

    def filled(self, **values: str) -> Meaning:
        return Meaning(filled(self.means, **values), filled(self.helps, **values))


@dataclass(frozen=True)
class Chapter:
    """Codes that an operator looks at in the same place.

    `look` says where, `avoid` what not to do. `families` holds codes that a vendor's own word is part of: a key is the
    code with `<…>` in that word's place.
    """

    title: str
    look: str
    avoid: str
    meanings: Mapping[str, Meaning]
    families: Mapping[str, Meaning] = field(default_factory=dict)

    def meaning_of(self, code: str) -> Meaning | None:
        if code in self.meanings:
            return self.meanings[code]
        return next((meaning for family, meaning in self.families.items() if _pattern(family).fullmatch(code)), None)


def filled(text: str, **values: str) -> str:
    """TENANT, CALL and STAGE by their values; an empty value leaves the word."""
    for name, value in values.items():
        if value:
            text = re.sub(rf"\b{name.upper()}\b", value.replace("\\", r"\\"), text)
    return text


def _pattern(family: str) -> re.Pattern[str]:
    before, after = re.split(r"<[^>]+>", family)
    return re.compile(re.escape(before) + r"[a-z0-9_]+" + re.escape(after))
