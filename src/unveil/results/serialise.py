"""A result as the JSON of `audit.json` or `overlap.json`, and back."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from importlib import resources
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints, is_typeddict

import numpy as np
from cattrs import Converter
from cattrs.gen import make_dict_unstructure_fn, override

from unveil.io.collection import collection_paused
from unveil.io.documents import record_reader, strict_converter, structured
from unveil.results.audit import SCHEMA_VERSION, AuditResult
from unveil.results.overlap import OVERLAP_SCHEMA_VERSION, OverlapResult

T = TypeVar("T")


def to_document(result: AuditResult) -> dict[str, Any]:
    """The result as plain JSON values: every field but the exposures, which are arrays."""
    with collection_paused():
        document: dict[str, Any] = plain(_converter().unstructure(result))
    return document


def from_document(document: Mapping[str, Any]) -> AuditResult:
    """The inverse of `to_document`. Raises ValueError for values that are not those of a result."""
    return _structured(document, AuditResult, SCHEMA_VERSION)


def from_own_document(document: dict[str, Any]) -> AuditResult:
    """The inverse of `to_document`, of values that it is known to have made: nothing is checked.

    The document becomes part of the result. It takes half the time of `from_document`. Raises ValueError for another
    version.
    """
    _check_version(document, SCHEMA_VERSION)
    with collection_paused():
        made: AuditResult = _record_maker(AuditResult)(document)
    return made


def overlap_to_document(result: OverlapResult) -> dict[str, Any]:
    """The result of an overlap as plain JSON values."""
    document: dict[str, Any] = plain(_converter().unstructure(result))
    return document


def overlap_from_document(document: Mapping[str, Any]) -> OverlapResult:
    """The inverse of `overlap_to_document`. Raises ValueError for values that are not those of such a result."""
    return _structured(document, OverlapResult, OVERLAP_SCHEMA_VERSION)


def record_of(value: Any, kind: type[T]) -> T:
    """A JSON value as a record. Raises ValueError with the place of a value that does not fit its type."""
    return structured(_converter(), value, kind)


def _structured(document: Mapping[str, Any], kind: type[T], expected: int) -> T:
    _check_version(document, expected)
    return record_of(document, kind)


def _check_version(document: Any, expected: int) -> None:
    version = document.get("schema_version") if isinstance(document, Mapping) else None
    if version != expected:
        raise ValueError(f"expected schema_version {expected}, found {version!r}")


def schema() -> dict[str, Any]:
    """The JSON Schema of `audit.json`."""
    text = (resources.files("unveil.results") / "audit.schema.json").read_text("utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


@cache
def schema_sha256() -> str:
    """The SHA-256 of the JSON Schema of `audit.json`. Records that change without a new version change it."""
    return hashlib.sha256((resources.files("unveil.results") / "audit.schema.json").read_bytes()).hexdigest()


def plain(value: Any) -> Any:
    """The value as JSON holds it: tuples as lists, NumPy numbers as numbers, no infinities."""
    kind = type(value)
    if value is None or kind in (str, int, bool) or (kind is float and math.isfinite(value)):  # nearly all values
        return value
    if kind is dict:
        return {str(key): plain(inner) for key, inner in value.items()}
    if kind in (list, tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value


@cache
def _maker(kind: Any) -> Callable[[Any], Any] | None:
    """What makes a value of a type of its JSON, unchecked; None where it is the same value."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _maker(inner[0])
    if type(None) in inner:
        return _of_some(_maker(next(one for one in inner if one is not type(None))))
    if origin is tuple:
        makes = [_maker(one) or _same for one in inner if one is not Ellipsis]
        if all(make is _same for make in makes):
            return tuple
        if inner[1:] == (Ellipsis,):
            return lambda values: tuple(map(makes[0], values))
        return lambda values: tuple(make(one) for make, one in zip(makes, values, strict=True))
    if origin is dict:
        return _of_each(_maker(inner[1]))
    record: Any = kind
    return _record_maker(record) if is_dataclass(kind) else None


def _same(value: Any) -> Any:
    return value


def _of_some(make: Callable[[Any], Any] | None) -> Callable[[Any], Any] | None:
    return None if make is None else lambda value: None if value is None else make(value)


def _of_each(make: Callable[[Any], Any] | None) -> Callable[[Any], Any] | None:
    return None if make is None else lambda values: {name: make(one) for name, one in values.items()}


@cache
def _record_maker(kind: Any) -> Callable[[dict[str, Any]], Any]:
    hints = get_type_hints(kind, include_extras=True)
    makes = {field.name: make for field in fields(kind) if (make := _maker(hints[field.name])) is not None}

    def make_record(values: dict[str, Any]) -> Any:
        for name, make in makes.items():
            if name in values:
                values[name] = make(values[name])
        return kind(**values)

    return make_record


@cache
def _converter() -> Converter:
    converter = strict_converter()
    # Facts of a manifest are plain values already.
    converter.register_unstructure_hook_func(is_typeddict, lambda value: value)
    arrays = override(omit=True)
    converter.register_unstructure_hook(AuditResult, make_dict_unstructure_fn(AuditResult, converter, exposures=arrays))
    converter.register_structure_hook(AuditResult, record_reader(converter, AuditResult, omit=["exposures"]))
    return converter
