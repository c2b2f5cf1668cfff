"""Silences what image libraries print while they decode: their errors reach us as exceptions."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import threading
import warnings
from collections.abc import Iterator

from PIL import _imaging

_local = threading.local()


class _OfDecoders(type):
    def __subclasscheck__(cls, subclass: type) -> bool:
        return getattr(_local, "decoding", False)


class DecoderWarning(Warning, metaclass=_OfDecoders):
    """The category of every warning that a thread gives while it decodes."""


# `warnings.catch_warnings` would change the filters of all threads, and lose those that another thread sets meanwhile.
warnings.simplefilter("ignore", DecoderWarning)

# Without a handler, Python prints what Pillow logs as an error.
logging.getLogger("PIL").addHandler(logging.NullHandler())
# libtiff prints errors itself. Some builds of Pillow do not show its functions.
with contextlib.suppress(OSError, AttributeError):
    ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)


@contextlib.contextmanager
def without_warnings() -> Iterator[None]:
    """Warnings of this thread are ignored within, unless the user made warnings errors."""
    before, _local.decoding = getattr(_local, "decoding", False), True
    try:
        yield
    finally:
        _local.decoding = before
