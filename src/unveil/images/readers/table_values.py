"""Values of Arrow arrays: the bytes that they take, and whether images are among them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from unveil.images.image_like import (
    MAX_OPAQUE,
    MAX_TEXT,
    MIN_NUMBERS,
    begins_image,
    image_within,
    may_be_pixels,
    may_begin,
    numbers_within,
    texts_show_images,
)
from unveil.images.labels import is_image_name

# Texts that are looked at together; none is longer than `MAX_TEXT`.
BLOCK = 1024
# Of the bytes behind views: what is looked at together, and again with what follows. Shorter texts are in the view.
CHUNK, OVERLAP, INLINE = 2**22, 2**12, 12
# Types in types of a stranger.
MAX_DEPTH = 64
# Kinds of the same values in Arrow.
_IS = pa.types
_TEXTS = (_IS.is_string, _IS.is_large_string, _IS.is_string_view)
_BYTES = (_IS.is_binary, _IS.is_large_binary, _IS.is_binary_view, _IS.is_fixed_size_binary)
_LISTS = (_IS.is_list, _IS.is_large_list, _IS.is_fixed_size_list, _IS.is_list_view, _IS.is_large_list_view)


def value_bytes(array: Any) -> int:
    """The bytes of the values of an Arrow array. A text that many rows of a dictionary or of views share
    counts as often as it occurs."""
    return int(array.nbytes) + _shared_bytes(array)


def _shared_bytes(array: Any, depth: int = 0) -> int:
    """The bytes of texts that `nbytes` counts once, or not at all, however often they occur."""
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType) and depth < MAX_DEPTH:
        return _shared_bytes(array.storage, depth + 1)
    if pa.types.is_dictionary(kind):
        lengths = _lengths(array.dictionary)
        lengths = None if lengths is None else lengths.take(array.indices)
    elif is_list(kind) and depth < MAX_DEPTH:
        return _shared_bytes(array.values, depth + 1)
    elif pa.types.is_struct(kind) and depth < MAX_DEPTH:
        return sum(_shared_bytes(array.field(k), depth + 1) for k in range(kind.num_fields))
    else:
        lengths = _lengths(array) if _are_views(kind) else None
    return 0 if lengths is None else int(pa.compute.sum(lengths).as_py() or 0)


def _are_views(kind: Any) -> bool:
    return bool(pa.types.is_string_view(kind) or pa.types.is_binary_view(kind))


def _lengths(array: Any) -> Any:
    """The stated bytes of each text; None for other values."""
    if _are_views(array.type):
        return pa.array(_views(array)[:, 0].astype(np.int64))
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        return pa.compute.binary_length(array)
    return None


def _views(array: Any) -> npt.NDArray[np.int32]:
    """The views (N, 4) of an array: the first number is the length of a text. Many may show one text."""
    views = np.frombuffer(array.buffers()[1], np.int32).reshape(-1, 4)
    return views[array.offset : array.offset + len(array)]


def is_text(kind: Any) -> bool:
    """Whether values of this Arrow type are texts."""
    return any(test(kind) for test in _TEXTS)


def is_binary(kind: Any) -> bool:
    """Whether values of this Arrow type are bytes."""
    return any(test(kind) for test in _BYTES)


def is_list(kind: Any) -> bool:
    """Whether values of this Arrow type are lists."""
    return any(test(kind) for test in _LISTS)


def plain_type(kind: Any) -> Any:
    """The type of the values that a dictionary, an extension or runs of equal values stand for."""
    for _ in range(MAX_DEPTH):
        if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
            kind = kind.value_type
        elif isinstance(kind, pa.BaseExtensionType):
            kind = kind.storage_type
        else:
            return kind
    return kind


def has_room(kind: Any, depth: int = 0) -> bool:
    """Whether a value of this Arrow type has room for an image: not so for single numbers and times."""
    kind = plain_type(kind)
    if is_text(kind) or is_binary(kind) or is_list(kind) or pa.types.is_map(kind) or depth > MAX_DEPTH:
        return True
    fields = kind.num_fields if pa.types.is_struct(kind) or pa.types.is_union(kind) else 0
    return any(has_room(kind.field(k).type, depth + 1) for k in range(fields))


def numbers_in(kind: Any, depth: int = 0) -> tuple[int, int]:
    """How many single values a value of this Arrow type has: whole numbers, dates and the like, and floats."""
    kind = plain_type(kind)
    if pa.types.is_struct(kind) and depth < MAX_DEPTH:
        counts = [numbers_in(kind.field(k).type, depth + 1) for k in range(kind.num_fields)]
        return sum(whole for whole, _ in counts), sum(floats for _, floats in counts)
    if pa.types.is_null(kind) or has_room(kind):
        return 0, 0
    floats = pa.types.is_floating(kind)
    return int(not floats), int(floats)


def may_hold_images(array: Any, sides: tuple[int, ...] = (), depth: int = 0) -> bool:
    """Whether an Arrow array with checked offsets holds images, or values of which images could be made.

    ``sides`` are the lengths of the lists around its values.
    """
    kind = array.type
    if depth > MAX_DEPTH:
        return True
    if isinstance(kind, pa.BaseExtensionType):
        return may_hold_images(array.storage, sides, depth + 1)
    if pa.types.is_dictionary(kind):
        return may_hold_images(array.dictionary, sides, depth + 1)
    if pa.types.is_run_end_encoded(kind):
        return may_hold_images(array.values, sides, depth + 1)
    if is_list(kind):
        return may_hold_images(array.values, (*sides, _longest(array)), depth + 1)
    children = []
    if pa.types.is_map(kind):
        sides, children = (*sides, _longest(array)), [array.keys, array.items]
    elif pa.types.is_struct(kind) or pa.types.is_union(kind):
        children = [array.field(k) for k in range(kind.num_fields)]
        if pa.types.is_struct(kind) and (_names_files(array) or (sides and _are_pixels(kind, sides))):
            return True
    if children:
        return any(may_hold_images(child, sides, depth + 1) for child in children)
    if _are_views(kind):
        return _views_hold_images(array, math.prod(sides))
    if is_text(kind) or is_binary(kind):
        blocks = (array[start : start + BLOCK] for start in range(0, len(array), BLOCK))
        return any(_texts_hold_images(block, math.prod(sides)) for block in blocks)
    return bool(sides) and _are_pixels(kind, sides)


def _are_pixels(kind: Any, sides: tuple[int, ...]) -> bool:
    """Whether lists of these lengths of numbers, or of structs of numbers, may be images."""
    whole, floats = numbers_in(kind)
    shape = sides if whole + floats == 1 else (*sides, whole + floats)
    return whole + floats > 0 and may_be_pixels(shape, np.dtype(np.float32) if floats else None)


def _names_files(array: Any) -> bool:
    """Whether structs as `datasets` writes them name an image file in place of its bytes."""
    kind = array.type
    at, of_bytes = kind.get_field_index("path"), kind.get_field_index("bytes")
    if at < 0 or of_bytes < 0 or not is_text(kind.field(at).type):
        return False
    paths = array.field(at).filter(array.field(of_bytes).is_null()).drop_null()
    blocks = (paths[start : start + BLOCK] for start in range(0, len(paths), BLOCK))
    return any(is_image_name(path) for block in blocks for path in block.to_pylist())


def _longest(array: Any) -> int:
    """The entries of the longest list."""
    kind = array.type
    if pa.types.is_fixed_size_list(kind):
        return int(kind.list_size)
    if pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind):
        sizes = array.sizes.to_numpy(zero_copy_only=False)
    else:
        sizes = np.diff(array.offsets.to_numpy(zero_copy_only=False))
    return int(sizes.max(initial=0))


def _texts_hold_images(array: Any, n: int) -> bool:
    """Whether some texts or byte strings are images, or ``n`` of them in a list are longer than other values."""
    kind = array.type
    longest = MAX_TEXT if is_text(kind) else MAX_OPAQUE
    buffers = array.buffers()
    if buffers[-1] is None:
        return False
    if pa.types.is_fixed_size_binary(kind):
        offsets = np.arange(array.offset, array.offset + len(array) + 1, dtype=np.int64) * kind.byte_width
    else:
        wide = pa.types.is_large_binary(kind) or pa.types.is_large_string(kind)
        offsets = np.frombuffer(buffers[1], np.int64 if wide else np.int32)
        offsets = offsets[array.offset : array.offset + len(array) + 1].astype(np.int64)
    if int(np.diff(offsets).max(initial=0)) * n > longest:
        return True
    data = bytes(memoryview(buffers[-1])[int(offsets[0]) : int(offsets[-1])])
    return texts_show_images(data, offsets - offsets[0])


def _views_hold_images(array: Any, n: int) -> bool:
    """As `_texts_hold_images`, for views. Many may show one text, which is looked at once."""
    views = _views(array)
    if int(views[:, 0].max(initial=0)) * n > (MAX_TEXT if is_text(array.type) else MAX_OPAQUE):
        return True
    for buffer in filter(None, array.buffers()[2:]):
        data = memoryview(buffer)
        if any(image_within(bytes(data[at : at + CHUNK + OVERLAP])) for at in range(0, len(data), CHUNK)):
            return True
    prefixes = views[:, 1].copy().view(np.uint8).reshape(-1, 4)
    begins = may_begin(prefixes[:, 0], prefixes[:, 1]) & (views[:, 0] > INLINE)
    rows = np.flatnonzero(begins | (views[:, 0] >= MIN_NUMBERS))
    values = (array[int(row)].as_py() or b"" for row in rows)
    texts = (value.encode() if isinstance(value, str) else value for value in values)
    return any(begins_image(text) or numbers_within(text) for text in texts)
