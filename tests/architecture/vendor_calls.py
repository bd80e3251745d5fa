"""Which methods of Google's clients a gateway calls, read from its code.

A call to Google is one that says how long it may take (`timeout=`, or `**limits`): each must, by our rule.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable

from shared.pipeline import PIPELINE_FILE

GATEWAYS = PIPELINE_FILE.parents[1] / "shared" / "gateways"


def calls_of(files: Iterable[str]) -> set[str]:
    """Names of the methods that these files call with a time-out."""
    return {
        node.func.attr
        for file in files
        for node in ast.walk(ast.parse((GATEWAYS / file).read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _has_a_limit(node)
    }


def _has_a_limit(call: ast.Call) -> bool:
    named = {word.arg for word in call.keywords}
    unpacked = {ast.unparse(word.value) for word in call.keywords if word.arg is None}
    return "timeout" in named or any(text.endswith("limits") for text in unpacked)
