"""Where pictures come from: containers of all kinds, each giving records in a stable order and their bytes."""

from unveil.images.copying import write_without
from unveil.images.decode import decode_rgb, decode_scaled, picture_size
from unveil.images.identity import IdentityRule
from unveil.images.listing import read_labels
from unveil.images.opening import open_source
from unveil.images.place import Place
from unveil.images.readers.embeddings import EmbeddingSource
from unveil.images.source import Source

__all__ = [
    "EmbeddingSource",
    "IdentityRule",
    "Place",
    "Source",
    "decode_rgb",
    "decode_scaled",
    "open_source",
    "picture_size",
    "read_labels",
    "write_without",
]
