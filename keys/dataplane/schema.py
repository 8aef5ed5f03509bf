"""The data plane in the OpenAPI document: written from the same table that answers."""

from typing import Any

from keys.dataplane.bodies import Field
from keys.dataplane.operations import OPERATIONS, DataOperation
from keys.services.operations import MAX_BATCH

_JSON, _PROBLEM_JSON = "application/json", "application/problem+json"
_REFUSALS = {
    "400": "The body is not JSON in UTF-8, or decryption failed.",
    "401": "No token or session, or one that is not accepted.",
    "403": "The caller lacks the right on this key.",
    "404": "There is no such key or version, or the caller holds nothing on its ring.",
    "409": "The key is in the wrong state, or at its limit of uses.",
    "413": "The body or the batch is too large.",
    "415": "The body is not application/json.",
    "422": "A field is missing, unknown or of the wrong form.",
    "503": "The record, the provider or the root key is not available: nothing was done.",
}
_PROBLEM = {
    "type": "object",
    "description": "RFC 9457; `code` is stable.",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "hint": {"type": "string"},
        "errors": {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "string"}}},
    },
}
_KEY_ID = {"name": "key_id", "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}}


def add_data_plane(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """A post-processing hook of drf-spectacular: adds the paths and their components to `result`."""
    schemas = result.setdefault("components", {}).setdefault("schemas", {})
    schemas["Problem"] = _PROBLEM
    for operation in OPERATIONS.values():
        name = operation.path.title().replace("-", "").replace("/", "")
        schemas |= {
            f"{name}Item": _object(operation.item),
            f"{name}Request": _object(operation.single),
            f"{name}Batch": _batch(operation, name),
            f"{name}Result": _object(operation.answer, closed=False),
            f"{name}Results": _results(name),
        }
        result["paths"][f"/api/v1/keys/{{key_id}}/{operation.path}"] = {"post": _endpoint(operation, name)}
    return result


def _endpoint(operation: DataOperation, name: str) -> dict[str, Any]:
    problem = {"content": {_PROBLEM_JSON: {"schema": _ref("Problem")}}}
    return {
        "operationId": "data_" + operation.path.replace("-", "_").replace("/", "_"),
        "summary": operation.summary,
        "description": f"Needs the right `{operation.permission.value}`. One item, or up to {MAX_BATCH} as `items`.",
        "tags": ["data plane"],
        "parameters": [_KEY_ID],
        "requestBody": {
            "required": True,
            "content": {_JSON: {"schema": {"oneOf": [_ref(f"{name}Request"), _ref(f"{name}Batch")]}}},
        },
        "security": [{"token": []}, {"session": []}],
        "responses": {
            "200": {
                "description": "The result, or one result or error for each item in their order.",
                "content": {_JSON: {"schema": {"oneOf": [_ref(f"{name}Result"), _ref(f"{name}Results")]}}},
            },
            **{status: {"description": words, **problem} for status, words in _REFUSALS.items()},
        },
    }


def _object(fields: tuple[Field, ...], *, closed: bool = True) -> dict[str, Any]:
    shown: dict[str, Any] = {"type": "object", "properties": {field.name: dict(field.schema) for field in fields}}
    if required := [field.name for field in fields if field.required]:
        shown["required"] = required
    return shown | ({"additionalProperties": False} if closed else {})


def _batch(operation: DataOperation, name: str) -> dict[str, Any]:
    shown = _object(operation.options)
    items = {"type": "array", "minItems": 1, "maxItems": MAX_BATCH, "items": _ref(f"{name}Item")}
    return shown | {"required": ["items"], "properties": {"items": items, **shown["properties"]}}


def _results(name: str) -> dict[str, Any]:
    refused = {"type": "object", "required": ["error"], "properties": {"error": _ref("Problem")}}
    items = {"type": "array", "items": {"oneOf": [_ref(f"{name}Result"), refused]}}
    return {"type": "object", "required": ["items"], "properties": {"items": items}}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}
