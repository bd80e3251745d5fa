"""Finds in the code what a process keeps between two calls and looks up again: where one tenant could meet another.

Found are functions behind a cache decorator, and attributes, fields and module names that start as an empty collection
or as one of cachetools' caches, or are called a cache. Lists are left out: nothing is looked up in them by a key.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("handlers", "stages", "shared", "schemas")
_DECORATORS = {"cache", "lru_cache", "cached", "cachedmethod", "cached_property"}
_CACHES = {"Cache", "TTLCache", "TLRUCache", "LRUCache", "LFUCache", "FIFOCache", "RRCache", "defaultdict"}
_COLLECTIONS = {"dict", "set", "OrderedDict", "Counter", "WeakValueDictionary", "WeakKeyDictionary"}


def kept_state() -> set[str]:
    """Names such as `shared/gateways/vault.py:Vault._known` and `handlers/wiring.py:vault`."""
    return {
        f"{path.relative_to(ROOT)}:{name}"
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        for name in kept_in(path.read_text(encoding="utf-8"))
    }


def kept_in(source: str) -> Iterator[str]:
    """The same of one file's text, without the file's name."""
    yield from _within(ast.parse(source), owner="", is_function=False)


def _within(node: ast.AST, *, owner: str, is_function: bool) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            yield from _within(child, owner=f"{child.name}.", is_function=False)
            continue
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            if any(_last_name(decorator) in _DECORATORS for decorator in child.decorator_list):
                yield owner + child.name
            yield from _within(child, owner=owner, is_function=True)
            continue
        if isinstance(child, ast.Assign | ast.AnnAssign) and child.value is not None:
            targets = child.targets if isinstance(child, ast.Assign) else [child.target]
            yield from (owner + name for target in targets if (name := _kept(target, child.value, is_function)))
        yield from _within(child, owner=owner, is_function=is_function)


def _kept(target: ast.expr, value: ast.expr, is_function: bool) -> str | None:
    if isinstance(target, ast.Attribute):
        return target.attr if "cache" in target.attr.lower() or _begins_empty(value) else None
    if isinstance(target, ast.Name) and not is_function and _begins_empty(value):
        return target.id
    return None


def _begins_empty(value: ast.expr) -> bool:
    if isinstance(value, ast.Dict):
        return not value.keys
    if not isinstance(value, ast.Call):
        return False
    if _last_name(value.func) == "field":
        made_by = [word.value for word in value.keywords if word.arg == "default_factory"]
        return any(_last_name(one) in _COLLECTIONS for one in made_by)
    name = _last_name(value.func)
    return name in _CACHES or (name in _COLLECTIONS and not value.args)


def _last_name(node: ast.expr) -> str:
    """`cache` of `@cache`, `@functools.cache` and `@cache(...)`."""
    if isinstance(node, ast.Call):
        return _last_name(node.func)
    if isinstance(node, ast.Subscript):
        return _last_name(node.value)
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
