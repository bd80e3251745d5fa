"""SQL as a tree of tokens: comments and hints left out, strings emptied, brackets as lists."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeAlias, Union

Node: TypeAlias = Union[str, "list[Node]"]
"""A token, or a list: what stood between parentheses."""

_TOKEN = re.compile(
    r"""
    (?P<skip>   --[^\n]* | \#[^\n]* | /\*.*?\*/ | @\{[^}]*\} | \s+ )
  | (?P<string> [rRbB]{0,2}(?:'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*") )
  | (?P<word>   @?[A-Za-z_][\w]*(?:\.[A-Za-z_*][\w]*)* | `[^`]+` )
  | (?P<other>  <= | >= | != | <> | \|\| | . )
    """,
    re.VERBOSE | re.DOTALL,
)


class NotFiltered(Exception):
    """The statement may reach another tenant's rows, or this reader cannot tell."""


def tree(sql: str) -> list[Node]:
    stack: list[list[Node]] = [[]]
    for match in _TOKEN.finditer(sql):
        text = match.group()
        if match.lastgroup == "skip":
            continue
        if text == "(":
            stack.append([])
        elif text == ")":
            if len(stack) == 1:
                raise NotFiltered("a bracket too many")
            group = stack.pop()
            stack[-1].append(group)
        else:
            stack[-1].append("''" if match.lastgroup == "string" else text.strip("`"))
    if len(stack) != 1:
        raise NotFiltered("a bracket is not closed")
    return stack[0]


def upper(node: Node) -> str:
    return node.upper() if isinstance(node, str) else "("


def split(nodes: Sequence[Node], *words: str) -> list[list[Node]]:
    parts: list[list[Node]] = [[]]
    for node in nodes:
        if upper(node) in words and isinstance(node, str):
            parts.append([])
        else:
            parts[-1].append(node)
    return parts


def is_query(node: Node) -> bool:
    return isinstance(node, list) and bool(node) and upper(node[0]) in {"SELECT", "WITH"}
