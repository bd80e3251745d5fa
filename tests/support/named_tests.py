"""Points from one test to another: `path::test_name`, which must exist, and what its body says."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]


def body_of(reference: str) -> str:
    """The source of the named test, without its name and docstring. Raises `AssertionError` when there is none."""
    place, _, name = reference.partition("::")
    source = (ROOT / place).read_text(encoding="utf-8")
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef) and node.name == name and name.startswith("test_"):
            statements = node.body[1:] if ast.get_docstring(node) else node.body
            return "\n".join(ast.get_source_segment(source, one) or "" for one in statements)
    raise AssertionError(f"there is no {reference}")
