"""Takes the schema of Google's Terraform provider from HashiCorp's generated bindings, reduced to what we use.

The provider's own binary is in no package registry; its bindings for CDK for Terraform are on npm. They were generated
from `terraform providers schema -json` and carry each argument's type, whether it is required and how blocks nest. The
command writes `tests/data/google_provider_schema.json`; run it after a new resource type, or for a newer provider:

    npm pack @cdktf/provider-google@16.12.1
    python -m tests.support.provider_schema cdktf-provider-google-16.12.1.tgz
"""

from __future__ import annotations

import base64
import json
import re
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from shared.pipeline import PIPELINE_FILE

ROOT = PIPELINE_FILE.parents[1]
TERRAFORM = ROOT / "infra" / "terraform"
SNAPSHOT = ROOT / "tests" / "data" / "google_provider_schema.json"

_CLASS = re.compile(r"^export class (\w+) extends", re.MULTILINE)
_SOURCE_MAP = re.compile(r"sourceMappingURL=data:application/json;base64,(\S+)")
_COMMENT = re.compile(r"// (\w+) - computed: (true|false), optional: (true|false), required: (true|false)\n")
_GETTER = re.compile(r"return (?:cdktf\.Fn\.(tolist)\()?this\.get(\w*)Attribute\('")
_PART = re.compile(r"new (cdktf\.)?(\w+)\(this, ['\"](\w+)['\"](?:, (true|false))?\)")
_BLOCK = re.compile(
    r"^ +(\w+): \{\n +value: .*\n +isBlock: (true|false),\n"
    r" +type: \"(\w+)\",\n +storageClassType: \"(\w+)\"",
    re.MULTILINE,
)
_PRIMITIVES: Mapping[str, Any] = {
    "String": "string",
    "Number": "number",
    "Boolean": "bool",
    "List": ["list", "string"],
    "NumberList": ["list", "number"],
    "StringMap": ["map", "string"],
    "NumberMap": ["map", "number"],
    "BooleanMap": ["map", "bool"],
    "AnyMap": ["map", "dynamic"],
}
_STORAGE: Mapping[str, Any] = {
    "string": "string",
    "number": "number",
    "boolean": "bool",
    "stringList": ["list", "string"],
    "stringMap": ["map", "string"],
}


@dataclass(frozen=True)
class _Field:
    name: str
    type: Any
    """A type in Terraform's JSON notation, or None for a nested class."""
    nested: str
    nesting: str
    is_block: bool
    computed: bool
    optional: bool
    required: bool


class Bindings:
    """One resource's generated TypeScript, which the package carries in its source maps."""

    def __init__(self, text: str) -> None:
        starts = list(_CLASS.finditer(text))
        ends = [*(found.start() for found in starts[1:]), len(text)]
        self.classes = {found[1]: text[found.start() : end] for found, end in zip(starts, ends, strict=True)}
        self.text = text

    def block(self, name: str) -> dict[str, Any]:
        """Attributes and blocks of a class, in the notation of the snapshot."""
        attributes: dict[str, Any] = {}
        blocks: dict[str, Any] = {}
        for item in self._fields(name):
            flags = [flag for flag in ("computed", "optional", "required") if getattr(item, flag)]
            if item.is_block:
                inner = self.block(item.nested)
                blocks[item.name] = {"nesting": item.nesting, "required": item.required, **inner}
            else:
                attributes[item.name] = {"type": item.type or self._object(item), "is": flags}
        return {"attributes": attributes, "blocks": blocks}

    def plain_attributes(self, name: str) -> dict[str, Any]:
        """The attributes alone: the bindings describe the provider's own blocks (batching) by another kind of class."""
        plain = {item.name: {"type": item.type, "is": ["optional"]} for item in self._fields(name) if not item.is_block}
        return {"attributes": plain, "blocks": {}}

    def _object(self, item: _Field) -> Any:
        """A nested object that is an attribute: read-only, or assigned as a value."""
        members = {inner.name: inner.type or self._object(inner) for inner in self._fields(item.nested)}
        return ["set" if item.nesting == "set" else "list", ["object", members]]

    def _fields(self, name: str) -> Iterator[_Field]:
        text = self.classes[name]
        arguments = {found[1]: found.groups()[1:] for found in _BLOCK.finditer(self._arguments(name))}
        parts = {found[3]: found.groups() for found in _PART.finditer(text)}
        comments = list(_COMMENT.finditer(text))
        for index, comment in enumerate(comments):
            member, *flags = comment.groups()
            end = comments[index + 1].start() if index + 1 < len(comments) else len(text)
            computed, optional, required = (flag == "true" for flag in flags)
            is_block, kind, storage = arguments.get(member, ("false", "", ""))
            kind_of_value, nested, nesting = self._kind(text[comment.end() : end], parts.get(member), kind, storage)
            yield _Field(
                name=member,
                type=kind_of_value,
                nested=nested,
                nesting="single" if member == "timeouts" else nesting,
                is_block=is_block == "true",
                computed=computed,
                optional=optional,
                required=required,
            )

    def _kind(self, getter: str, part: tuple[str, ...] | None, kind: str, storage: str) -> tuple[Any, str, str]:
        if part:
            in_library, made, _, is_set = part
            if in_library:
                if made.endswith("MapList"):
                    return ["list", _PRIMITIVES[made.removesuffix("List")]], "", ""
                return _PRIMITIVES[made], "", ""
            if made.endswith("List"):
                nested = made.removesuffix("List") + "OutputReference"
                return None, nested, "set" if is_set == "true" else "list"
            return None, made, "one"
        found = _GETTER.search(getter)
        if found:
            value = _PRIMITIVES[found[2]]
            return (["set", value[1]] if found[1] or kind == "set" else value), "", ""
        if storage in _STORAGE:
            return _STORAGE[storage], "", ""
        return "dynamic", "", ""

    def _arguments(self, name: str) -> str:
        text = self.classes[name]
        if "synthesizeHclAttributes" in text:
            return text[text.index("synthesizeHclAttributes") :]
        struct = name.removesuffix("OutputReference")
        function = f"export function {struct[0].lower()}{struct[1:]}ToHclTerraform("
        start = self.text.find(function)
        return "" if start < 0 else self.text[start : self.text.index("\n}\n", start)]


def types_used(folder: Path = TERRAFORM) -> tuple[list[str], list[str]]:
    """Resource types and data sources that our configuration names."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.tf")))
    resources = sorted(set(re.findall(r'^resource "(google_\w+)"', text, re.MULTILINE)))
    return resources, sorted(set(re.findall(r'^data "(google_\w+)"', text, re.MULTILINE)))


def main(package: Path) -> None:
    """Read the npm package, write the snapshot."""
    resources, sources = types_used()
    with tempfile.TemporaryDirectory() as scratch:
        with tarfile.open(package) as archive:
            archive.extractall(scratch, filter="data")
        library = Path(scratch) / "package" / "lib"
        provider = _bindings(library / "provider")
        version = re.search(r"providerVersion: '([\d.]+)'", provider.text)
        document = {
            "provider": "hashicorp/google",
            "version": version[1] if version else "",
            "source": f"npm @cdktf/provider-google, {package.name}",
            "taken": datetime.now(UTC).date().isoformat(),
            "provider_config": provider.plain_attributes("GoogleProvider"),
            "resources": {name: _schema(library, name, prefix="") for name in resources},
            "data_sources": {name: _schema(library, name, prefix="data_google_") for name in sources},
        }
    SNAPSHOT.write_text(json.dumps(document, sort_keys=True, separators=(",", ":")) + "\n", encoding="utf-8")
    facts = f"{len(resources)} resource types, {len(sources)} data sources, provider {document['version']}"
    sys.stdout.write(f"{SNAPSHOT.name}: {facts}\n")


def _schema(library: Path, type_name: str, *, prefix: str) -> dict[str, Any]:
    folder = (prefix + type_name.removeprefix("google_")).replace("_", "-")
    found = _bindings(library / folder)
    main_class = next(name for name, text in found.classes.items() if f'= "{type_name}"' in text)
    return found.block(main_class)


def _bindings(folder: Path) -> Bindings:
    sources = []
    for path in sorted(folder.rglob("*.js")):
        if source_map := _SOURCE_MAP.search(path.read_text(encoding="utf-8")):
            sources += json.loads(base64.b64decode(source_map[1]))["sourcesContent"]
    return Bindings("\n".join(sources))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
