"""Where pictures come from: one file per container, each giving records in a stable order and their bytes."""

from unveil.images.decode import Undecodable, decode_rgb
from unveil.images.identity import IdentityRule
from unveil.images.source import Source, Unreadable, open_source

__all__ = ["IdentityRule", "Source", "Undecodable", "Unreadable", "decode_rgb", "open_source"]
