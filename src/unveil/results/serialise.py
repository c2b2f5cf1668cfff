"""A result as the JSON of `audit.json`, and back."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any, is_typeddict

import numpy as np
from cattrs import Converter
from cattrs.errors import BaseValidationError
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from unveil.results.audit import SCHEMA_VERSION, AuditResult


def to_document(result: AuditResult) -> dict[str, Any]:
    """The result as plain JSON values: every field but the exposures, which are arrays."""
    document: dict[str, Any] = plain(_converter().unstructure(result))
    return document


def from_document(document: Mapping[str, Any]) -> AuditResult:
    """The inverse of `to_document`. Raises ValueError for values that are not those of a result."""
    version = document.get("schema_version") if isinstance(document, Mapping) else None
    if version != SCHEMA_VERSION:
        raise ValueError(f"expected schema_version {SCHEMA_VERSION}, found {version!r}")
    try:
        result: AuditResult = _converter().structure(document, AuditResult)
    except (BaseValidationError, TypeError, KeyError) as error:
        raise ValueError(f"not the document of a result ({error})") from None
    return result


def schema() -> dict[str, Any]:
    """The JSON Schema of `audit.json`."""
    text = (resources.files("unveil.results") / "audit.schema.json").read_text("utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def plain(value: Any) -> Any:
    """The value as JSON holds it: tuples as lists, NumPy numbers as numbers, no infinities."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value


@cache
def _converter() -> Converter:
    converter = Converter()
    # Facts of a manifest are plain values already; one that is unknown here is passed on.
    converter.register_structure_hook_func(is_typeddict, lambda value, _: value)
    converter.register_unstructure_hook_func(is_typeddict, lambda value: value)
    arrays = override(omit=True)
    converter.register_unstructure_hook(AuditResult, make_dict_unstructure_fn(AuditResult, converter, exposures=arrays))
    converter.register_structure_hook(AuditResult, make_dict_structure_fn(AuditResult, converter, exposures=arrays))
    return converter
