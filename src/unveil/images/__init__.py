"""Images from containers of all kinds: records in a stable order, and the bytes of each image."""

from unveil.images.decode import decode_rgb, decode_scaled, image_size, is_transparent, pillow_rgb, pixel_digest
from unveil.images.filtered_copy import write_without
from unveil.images.label_rule import LabelRule
from unveil.images.labels import read_label_map, read_labels
from unveil.images.location import Location
from unveil.images.readers.embeddings import EmbeddingSource
from unveil.images.registry import open_source, open_sources
from unveil.images.remarks import Remark
from unveil.images.source import Source

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
