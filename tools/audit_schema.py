"""Writes the JSON Schema of `audit.json` from the records in `unveil.results`.

A record becomes an object with all fields required. A record that several fields use is in ``$defs``. The docstring
below a field becomes its description. Run it after a change of the records: `python -m tools.audit_schema`.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import re
import textwrap
import types
import typing
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

from unveil.io.documents import SHARE
from unveil.results import AuditResult
from unveil.results.audit import SCHEMA_VERSION

FILE = Path(__file__).resolve().parent.parent / "src" / "unveil" / "results" / "audit.schema.json"
# Fields that are arrays, which a file of their own holds.
NOT_IN_DOCUMENT = {"exposures"}


def schema() -> dict[str, Any]:
    """The schema: the result at the top, every other record in ``$defs``."""
    definitions: dict[str, Any] = {}
    whole = _record(AuditResult, definitions)
    whole["properties"]["schema_version"]["const"] = SCHEMA_VERSION
    uses = Counter(_references([whole, definitions]))
    once = {name: node for name, node in definitions.items() if uses[name] == 1}
    whole = _inlined(whole, once)
    shared = {name: _inlined(node, once) for name, node in sorted(definitions.items()) if name not in once}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:unveil:audit:{SCHEMA_VERSION}",
        "title": f"audit.json of unveil, version {SCHEMA_VERSION}",
        **whole,
        "$defs": shared,
    }


def _references(node: Any) -> Iterator[str]:
    """The names of the definitions that a node refers to, once for each reference."""
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"].rpartition("/")[2]
        for below in node.values():
            yield from _references(below)
    elif isinstance(node, list):
        for below in node:
            yield from _references(below)


def _inlined(node: Any, once: dict[str, Any]) -> Any:
    """The node with definitions in place of references to them. The description of a field comes first."""
    if isinstance(node, list):
        return [_inlined(below, once) for below in node]
    if not isinstance(node, dict):
        return node
    name = node.get("$ref", "").rpartition("/")[2]
    if name in once:
        node = {**once[name], **{key: value for key, value in node.items() if key != "$ref"}}
    return {key: _inlined(below, once) for key, below in node.items()}


def text() -> str:
    """The schema as it stands in the file."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


def descriptions(record: type[Any]) -> dict[str, str]:
    """The docstring below each field of a record, those of its bases first."""
    found: dict[str, str] = {}
    bases = [record] if is_typeddict(record) else [base for base in reversed(record.__mro__) if base is not object]
    for base in bases:
        found |= _own_descriptions(base)
    return found


@cache
def _own_descriptions(record: type[Any]) -> dict[str, str]:
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(record))).body
    if not isinstance(tree, ast.ClassDef):
        raise TypeError(f"expected a class, found {record}")
    found = {}
    for field, below in zip(tree.body, tree.body[1:], strict=False):
        if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
            continue
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            found[field.target.id] = " ".join(str(below.value.value).split())
    return found


def _record(record: type[Any], definitions: dict[str, Any]) -> dict[str, Any]:
    hints, said = get_type_hints(record, include_extras=True), descriptions(record)
    names = list(hints) if is_typeddict(record) else [field.name for field in dataclasses.fields(record)]
    required, properties = [], {}
    for name in names:
        if name in NOT_IN_DOCUMENT:
            continue
        kind, optional = hints[name], False
        if get_origin(kind) is typing.NotRequired:
            (kind,), optional = get_args(kind), True
        properties[name] = {"description": said[name], **_type(kind, definitions)}
        if not optional:
            required.append(name)
    return {
        "type": "object",
        "description": " ".join((inspect.getdoc(record) or "").split()),
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _type(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    origin, inside = get_origin(kind), get_args(kind)
    if kind is Any:
        return {}
    if dataclasses.is_dataclass(kind) or is_typeddict(kind):
        if kind.__name__ not in definitions:
            definitions[kind.__name__] = {}
            definitions[kind.__name__] = _record(kind, definitions)
        return {"$ref": f"#/$defs/{kind.__name__}"}
    if origin is Annotated:
        note = inside[1]
        bounds: dict[str, Any] = {"minimum": 0, "maximum": 1} if note == SHARE else {}
        if isinstance(note, re.Pattern):
            bounds = {"pattern": f"^({note.pattern})$"}
        elif isinstance(note, Sequence) and note != SHARE:
            bounds = {"enum": list(note)}
        return {**_type(inside[0], definitions), **bounds}
    if origin in (Union, types.UnionType):
        parts = [_type(part, definitions) for part in inside if part is not type(None)]
        return {"anyOf": [*parts, {"type": "null"}]} if type(None) in inside else {"anyOf": parts}
    if origin is Literal:
        return {"enum": list(inside)}
    if origin is dict:
        names = _type(inside[0], definitions)
        keys = {} if inside[0] is str else {"propertyNames": {k: v for k, v in names.items() if k != "type"}}
        return {"type": "object", **keys, "additionalProperties": _type(inside[1], definitions)}
    if origin is list or (origin is tuple and inside[1:] == (Ellipsis,)):
        return {"type": "array", "items": _type(inside[0], definitions)}
    if origin is tuple:
        return {
            "type": "array",
            "items": _type(inside[0], definitions),
            "minItems": len(inside),
            "maxItems": len(inside),
        }
    plain: dict[Any, dict[str, Any]] = {
        str: {"type": "string"},
        bool: {"type": "boolean"},
        int: {"type": "integer", "minimum": 0},
        float: {"type": "number"},
    }
    return dict(plain[kind])


if __name__ == "__main__":
    FILE.write_text(text(), "utf-8")
