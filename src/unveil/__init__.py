"""unveil: which real people does a synthetic face set expose, and how sure is that?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unveil.lazy import imported

if TYPE_CHECKING:
    from unveil.api import (
        ROC,
        Audit,
        Embeddings,
        Images,
        Overlap,
        Plots,
        Records,
        audit,
        load,
        overlap,
        write_protocol,
    )
    from unveil.compare import compare_all
    from unveil.embedding.embed import EmbeddedSource, embed
    from unveil.errors import InputError, ModelError, SettingError, SourceError, StoreError, UnveilError, VectorError
    from unveil.mitigation import Cleaning, Decision, Guard
    from unveil.results import AuditResult
    from unveil.types import Embedded, Estimate, Exposure, Matches, Reject

__version__ = "0.2.0"

# Public names and where they live; nothing is imported before it is asked for.
_HOMES = {
    "ROC": "unveil.api",
    "Audit": "unveil.api",
    "audit": "unveil.api",
    "AuditResult": "unveil.results",
    "Cleaning": "unveil.mitigation",
    "compare_all": "unveil.compare",
    "Decision": "unveil.mitigation",
    "embed": "unveil.embedding.embed",
    "Embedded": "unveil.types",
    "EmbeddedSource": "unveil.embedding.embed",
    "Embeddings": "unveil.api",
    "Estimate": "unveil.types",
    "Exposure": "unveil.types",
    "Guard": "unveil.mitigation",
    "Images": "unveil.api",
    "InputError": "unveil.errors",
    "load": "unveil.api",
    "Matches": "unveil.types",
    "ModelError": "unveil.errors",
    "Overlap": "unveil.api",
    "overlap": "unveil.api",
    "Plots": "unveil.api",
    "Records": "unveil.api",
    "Reject": "unveil.types",
    "SettingError": "unveil.errors",
    "SourceError": "unveil.errors",
    "StoreError": "unveil.errors",
    "UnveilError": "unveil.errors",
    "VectorError": "unveil.errors",
    "write_protocol": "unveil.api",
}

__all__ = [
    "ROC",
    "Audit",
    "AuditResult",
    "Cleaning",
    "Decision",
    "Embedded",
    "EmbeddedSource",
    "Embeddings",
    "Estimate",
    "Exposure",
    "Guard",
    "Images",
    "InputError",
    "Matches",
    "ModelError",
    "Overlap",
    "Plots",
    "Records",
    "Reject",
    "SettingError",
    "SourceError",
    "StoreError",
    "UnveilError",
    "VectorError",
    "audit",
    "compare_all",
    "embed",
    "load",
    "overlap",
    "write_protocol",
]


def __getattr__(name: str) -> Any:
    return imported(__name__, _HOMES, name)
