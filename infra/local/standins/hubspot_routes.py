"""The HubSpot stand-in's paths: objects, batches, associations, properties (reference/apis.md §1.3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Flask, request

from infra.local.standins.hubspot_hub import HubSpot
from infra.local.standins.hubspot_protocol import error_body, json_document, operation, properties_of, wanted_properties
from infra.local.standins.hubspot_schema import Refused, Schema
from infra.local.standins.hubspot_search import search
from infra.local.standins.hubspot_store import IndexLag, Portal, Record

MOST_INPUTS = 100
_ASSOCIATION_TYPES = {("calls", "contacts"): 194, ("contacts", "calls"): 193}


def add_objects(app: Flask, hub: HubSpot) -> None:
    objects = "/crm/objects/<version>/<object_type>"

    @app.post(f"{objects}/search")
    @operation(hub, "{object_type}.search")
    def search_objects(portal: Portal, object_type: str) -> Any:
        return search(portal, object_type, json_document())

    @app.post(objects)
    @operation(hub, "{object_type}.create")
    def create_object(portal: Portal, object_type: str) -> Any:
        values = properties_of(json_document())
        record = portal.create(object_type, values, lag=hub.lag)
        return record.as_json(record.properties, list(values)), 201

    @app.get(f"{objects}/<value>")
    @operation(hub, "{object_type}.read")
    def read_object(portal: Portal, object_type: str, value: str) -> Any:
        record = _addressed(portal, object_type, value)
        return record.as_json(record.properties, wanted_properties())

    @app.patch(f"{objects}/<value>")
    @operation(hub, "{object_type}.update")
    def update_object(portal: Portal, object_type: str, value: str) -> Any:
        values = properties_of(json_document())
        record = portal.update(object_type, _addressed(portal, object_type, value), values, lag=hub.lag)
        return record.as_json(record.properties, list(values))

    @app.delete(f"{objects}/<value>")
    @operation(hub, "{object_type}.delete")
    def delete_object(portal: Portal, object_type: str, value: str) -> Any:
        portal.delete(object_type, value)
        return "", 204

    @app.post(f"{objects}/gdpr-delete")
    @operation(hub, "{object_type}.gdpr_delete")
    def delete_for_good(portal: Portal, object_type: str) -> Any:
        document = json_document()
        record_id = str(document.get("objectId") or "")
        if not record_id:
            raise Refused(400, "VALIDATION_ERROR", "objectId must not be empty")
        record = portal.get(object_type, record_id, str(document.get("idProperty") or ""))
        portal.delete(object_type, record.record_id)
        return "", 204


def _addressed(portal: Portal, object_type: str, value: str) -> Record:
    """The record a path names, by id or by the unique property in `idProperty`."""
    id_property = request.args.get("idProperty", "")
    if id_property:
        portal.schemas[object_type].require_unique(id_property)
    return portal.get(object_type, value, id_property)


def add_batches(app: Flask, hub: HubSpot) -> None:
    batch = "/crm/objects/<version>/<object_type>/batch"

    @app.post(f"{batch}/upsert")
    @operation(hub, "{object_type}.upsert")
    def upsert_batch(portal: Portal, object_type: str) -> Any:
        inputs = _inputs(json_document())
        _need_ids(inputs)
        id_properties = {str(item.get("idProperty", "")) for item in inputs}
        if len(id_properties) != 1:
            raise Refused(400, "VALIDATION_ERROR", "all inputs must use the same idProperty")
        id_property = id_properties.pop()
        with portal.lock:
            portal.schemas[object_type].require_unique(id_property)
            for item in inputs:  # a bad value refuses the whole batch; a conflict only its own item
                portal.schemas[object_type].check_values(properties_of(item))
            return _upsert_each(portal, object_type, id_property, inputs, lag=hub.lag)

    @app.post(f"{batch}/read")
    @operation(hub, "{object_type}.batch_read")
    def read_batch(portal: Portal, object_type: str) -> Any:
        document = json_document()
        id_property = str(document.get("idProperty") or "")
        if id_property:
            portal.schemas[object_type].require_unique(id_property)
        inputs = _inputs(document)
        _need_ids(inputs)
        ids = [str(item["id"]) for item in inputs]
        found = {value: portal.find(object_type, value, id_property) for value in ids}
        missing = [value for value, record in found.items() if record is None]
        wanted = list(document.get("properties", []))
        results = [record.as_json(record.properties, wanted) for record in found.values() if record is not None]
        if not missing:
            return _batch_answer(results, [], status=200)
        error = error_body("OBJECT_NOT_FOUND", "Could not get some objects.", context={"ids": missing})
        return _batch_answer(results, [error], status=200)


def _upsert_each(
    portal: Portal, object_type: str, id_property: str, inputs: list[dict[str, Any]], *, lag: IndexLag
) -> Any:
    results, errors = [], []
    for item in inputs:
        values = properties_of(item)
        try:
            record, new = portal.upsert(object_type, id_property, str(item["id"]), values, lag=lag)
        except Refused as error:
            errors.append({**error_body(error.category, error.message, **error.extra), "id": item["id"]})
        else:
            results.append({**record.as_json(record.properties, [*values, id_property]), "new": new})
    created = any(result["new"] for result in results)
    return _batch_answer(results, errors, status=201 if created else 200)


def _inputs(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    inputs = document.get("inputs")
    if not isinstance(inputs, list) or not 0 < len(inputs) <= MOST_INPUTS:
        raise Refused(400, "VALIDATION_ERROR", f"between 1 and {MOST_INPUTS} inputs are allowed")
    if not all(isinstance(item, dict) for item in inputs):
        raise Refused(400, "VALIDATION_ERROR", "every input must be an object")
    return inputs


def _need_ids(inputs: list[dict[str, Any]]) -> None:
    if not all(item.get("id") for item in inputs):
        raise Refused(400, "VALIDATION_ERROR", "every input needs an id")


def _batch_answer(results: list[Any], errors: list[dict[str, Any]], *, status: int) -> Any:
    for error in errors:
        error.pop("correlationId", None)  # absent inside batch answers (reference §1.7)
    if not errors:
        return {"status": "COMPLETE", "results": results}, status
    return {"status": "COMPLETE", "results": results, "numErrors": len(errors), "errors": errors}, 207


def add_associations(app: Flask, hub: HubSpot) -> None:
    one = "/crm/objects/<version>/<object_type>/<value>/associations"

    @app.put(f"{one}/default/<to_type>/<to_id>")
    @operation(hub, "associations.put")
    def associate(portal: Portal, object_type: str, value: str, to_type: str, to_id: str) -> Any:
        if (object_type, to_type) not in _ASSOCIATION_TYPES:
            raise Refused(400, "VALIDATION_ERROR", "no default association between these types")
        portal.link(object_type, value, to_type, to_id)
        ends = {"from": {"id": value}, "to": {"id": to_id}}
        return {"status": "COMPLETE", "results": [{**ends, "associationSpec": _spec(object_type, to_type)}]}

    @app.delete(f"{one}/<to_type>/<to_id>")
    @operation(hub, "associations.delete")
    def dissociate(portal: Portal, object_type: str, value: str, to_type: str, to_id: str) -> Any:
        portal.unlink(object_type, value, to_type, to_id)
        return "", 204

    @app.get(f"{one}/<to_type>")
    @operation(hub, "associations.read")
    def associations(portal: Portal, object_type: str, value: str, to_type: str) -> Any:
        portal.get(object_type, value)
        types = [
            {"category": "HUBSPOT_DEFINED", "typeId": _ASSOCIATION_TYPES.get((object_type, to_type)), "label": None}
        ]
        linked = portal.linked(object_type, value, to_type)
        return {"results": [{"toObjectId": other, "associationTypes": types} for other in linked]}


def _spec(from_type: str, to_type: str) -> dict[str, Any]:
    return {
        "associationCategory": "HUBSPOT_DEFINED",
        "associationTypeId": _ASSOCIATION_TYPES[from_type, to_type],
    }


def _create_each(schema: Schema, definitions: list[dict[str, Any]]) -> Any:
    results, errors = [], []
    for definition in definitions:
        try:
            results.append(schema.create_property(definition).as_json())
        except Refused as error:
            errors.append(error_body(error.category, error.message, **error.extra))
    return _batch_answer(results, errors, status=201)


def add_properties(app: Flask, hub: HubSpot) -> None:
    properties = "/crm/properties/<version>/<object_type>"

    @app.get(properties)
    @operation(hub, "properties.list")
    def list_properties(portal: Portal, object_type: str) -> Any:
        with portal.lock:
            return {"results": [item.as_json() for item in portal.schemas[object_type].definitions.values()]}

    @app.post(properties)
    @operation(hub, "properties.create")
    def create_property(portal: Portal, object_type: str) -> Any:
        with portal.lock:
            return portal.schemas[object_type].create_property(json_document()).as_json(), 201

    @app.post(f"{properties}/batch/create")
    @operation(hub, "properties.create")
    def create_properties(portal: Portal, object_type: str) -> Any:
        definitions = _inputs(json_document())
        with portal.lock:
            return _create_each(portal.schemas[object_type], definitions)

    @app.get(f"{properties}/<name>")
    @operation(hub, "properties.read")
    def read_property(portal: Portal, object_type: str, name: str) -> Any:
        definition = portal.schemas[object_type].definitions.get(name)
        if definition is None:
            raise Refused(404, "OBJECT_NOT_FOUND", f"Property {name} does not exist")
        return definition.as_json()

    @app.get(f"{properties}/groups")
    @operation(hub, "groups.list")
    def list_groups(portal: Portal, object_type: str) -> Any:
        with portal.lock:
            groups = portal.schemas[object_type].groups
            return {"results": [{"name": name, "label": label} for name, label in groups.items()]}

    @app.post(f"{properties}/groups")
    @operation(hub, "groups.create")
    def create_group(portal: Portal, object_type: str) -> Any:
        with portal.lock:
            return portal.schemas[object_type].create_group(json_document()), 201
