"""Images from containers of all kinds: records in a stable order, and the bytes of each image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unveil.lazy import imported

if TYPE_CHECKING:
    from unveil.images.decode import decode_rgb, decode_scaled, image_size, is_transparent, pillow_rgb, pixel_digest
    from unveil.images.filtered_copy import write_without
    from unveil.images.label_rule import LabelRule
    from unveil.images.labels import read_label_map, read_labels
    from unveil.images.location import Location
    from unveil.images.readers.embeddings import EmbeddingSource
    from unveil.images.registry import open_source, open_sources
    from unveil.images.remarks import Remark
    from unveil.images.source import Source

# Where names live; nothing is imported before it is asked for.
_HOMES = {
    "EmbeddingSource": "unveil.images.readers.embeddings",
    "LabelRule": "unveil.images.label_rule",
    "Location": "unveil.images.location",
    "Remark": "unveil.images.remarks",
    "Source": "unveil.images.source",
    "decode_rgb": "unveil.images.decode",
    "decode_scaled": "unveil.images.decode",
    "image_size": "unveil.images.decode",
    "is_transparent": "unveil.images.decode",
    "open_source": "unveil.images.registry",
    "open_sources": "unveil.images.registry",
    "pillow_rgb": "unveil.images.decode",
    "pixel_digest": "unveil.images.decode",
    "read_label_map": "unveil.images.labels",
    "read_labels": "unveil.images.labels",
    "write_without": "unveil.images.filtered_copy",
}

__all__ = [
    "EmbeddingSource",
    "LabelRule",
    "Location",
    "Remark",
    "Source",
    "decode_rgb",
    "decode_scaled",
    "image_size",
    "is_transparent",
    "open_source",
    "open_sources",
    "pillow_rgb",
    "pixel_digest",
    "read_label_map",
    "read_labels",
    "write_without",
]


def __getattr__(name: str) -> Any:
    return imported(__name__, _HOMES, name)
