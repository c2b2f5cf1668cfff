"""Embeddings, written without some of their rows."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from unveil.images.readers.embeddings import REASONS, EmbeddingSource


def write_embeddings(source: EmbeddingSource, out: Path, removed: Collection[str]) -> None:
    """The other vectors with ids and people as ``embeddings.npz``, whatever the form of the original."""
    rows = [i for i, record in enumerate(source.records) if record.id not in removed]
    records = [source.records[i] for i in rows]
    arrays: dict[str, Any] = {
        "vectors": np.asarray(source.vectors[rows]),
        "ids": np.array([record.id for record in records]),
        "people": np.array([record.person or "" for record in records]),
    }
    arrays |= {"model_id": np.array(source.model)} if source.model else {}
    arrays |= {"model_name": np.array(source.model_name)} if source.model_name else {}
    if source.reasons:
        arrays[REASONS] = np.array([source.reasons[i] for i in rows if i in source.reasons], np.str_)
    np.savez(out / "embeddings.npz", allow_pickle=False, **arrays)
