"""Pours the analyst's findings into whatever response schema a request carries (Vertex's OpenAPI subset)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.cloud.aiplatform_v1.types import openapi

Type = openapi.Type


def fill(schema: openapi.Schema, findings: Mapping[str, Any]) -> dict[str, Any]:
    """An object with exactly the schema's required properties, in its property order.

    A property the analyst knows by name takes the finding, bent to the schema's type, enum and bounds; any other
    gets the plainest value the schema allows.
    """
    required = set(schema.required)
    names = [name for name in (schema.property_ordering or schema.properties) if name in required]
    return {name: _value(schema.properties[name], findings.get(name)) for name in names}


def _value(schema: openapi.Schema, finding: Any) -> Any:
    if schema.enum:
        return finding if finding in schema.enum else schema.enum[0]
    if schema.type_ == Type.OBJECT:
        return fill(schema, finding if isinstance(finding, Mapping) else {})
    if schema.type_ == Type.ARRAY:
        return _array(schema, finding)
    if schema.type_ in {Type.INTEGER, Type.NUMBER}:
        return _number(schema, finding)
    if schema.type_ == Type.BOOLEAN:
        return bool(finding)
    return str(finding) if finding is not None else "unknown"


def _array(schema: openapi.Schema, finding: Any) -> list[Any]:
    found = list(finding) if isinstance(finding, list | tuple) else []
    most = schema.max_items or len(found)
    filled = [_value(schema.items, item) for item in found[:most]]
    return filled + [_value(schema.items, None)] * (schema.min_items - len(filled))


def _number(schema: openapi.Schema, finding: Any) -> int | float:
    """Within the bounds; `maximum` 0 means unset, because a proto3 zero is not sent."""
    value = finding if isinstance(finding, int | float) else schema.minimum
    value = max(value, schema.minimum)
    value = min(value, schema.maximum) if schema.maximum else value
    return int(value) if schema.type_ == Type.INTEGER else float(value)
