"""A result as the JSON of `audit.json` or `overlap.json`, and back."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any, TypeVar, is_typeddict

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
    version = document.get("schema_version") if isinstance(document, Mapping) else None
    if version != expected:
        raise ValueError(f"expected schema_version {expected}, found {version!r}")
    return record_of(document, kind)


def schema() -> dict[str, Any]:
    """The JSON Schema of `audit.json`."""
    text = (resources.files("unveil.results") / "audit.schema.json").read_text("utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


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
def _converter() -> Converter:
    converter = strict_converter()
    # Facts of a manifest are plain values already.
    converter.register_unstructure_hook_func(is_typeddict, lambda value: value)
    arrays = override(omit=True)
    converter.register_unstructure_hook(AuditResult, make_dict_unstructure_fn(AuditResult, converter, exposures=arrays))
    converter.register_structure_hook(AuditResult, record_reader(converter, AuditResult, omit=["exposures"]))
    return converter
