"""LFW-style `.bin` verification sets: a pickle of images, and of whether each pair shows one person.

A pickle is a program, and this one may be hostile. It is never run: this module interprets the few instructions that
build lists of bytes and arrays, and refuses all others. Images stay in the file until they are read.
"""

from __future__ import annotations

import hashlib
import io
import pickletools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from unveil.errors import SourceError
from unveil.images.blob import Blob
from unveil.images.decode import is_image
from unveil.images.label_rule import LabelRule
from unveil.images.labels import labels_beside
from unveil.images.source import MAX_FILE_BYTES, Entry, Source, check_row_count, numbered_ids
from unveil.types import ImageRecord

# A verification set has some ten thousand images; the pickle is held in memory once.
MAX_BYTES = 2**31
MAX_ITEMS = 10**7
# Bytes by which an image is recognised.
SIGNATURE_BYTES = 32
# The names of NumPy's arrays and types, and of Python 2's bytes, in a pickle.
ARRAY = {"numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct"}
NDARRAY, DTYPE = "numpy ndarray", "numpy dtype"
SCALAR = {"numpy.core.multiarray scalar", "numpy._core.multiarray scalar"}
FROM_BUFFER = {"numpy.core.numeric _frombuffer", "numpy._core.numeric _frombuffer"}
LATIN = "_codecs encode"
KNOWN = {*ARRAY, NDARRAY, DTYPE, *SCALAR, *FROM_BUFFER, LATIN}


@dataclass(frozen=True)
class Span:
    """Offset and length of bytes in the file, usually of an image."""

    at: int
    length: int


@dataclass
class _Array:
    """An array of bytes under construction, or an array type."""

    data: object = None


class VerificationSource(Source):
    """The images of a `.bin`, in order. Equal images, and the images of a matching pair, show one person."""

    kind = "verification set"
    numbers_people = True

    def __init__(self, blob: Blob, rule: LabelRule, options: dict[str, str] | None = None) -> None:
        super().__init__(blob.where, rule)
        data = blob.read_all(MAX_BYTES)
        items, same = read_pickle(data, blob.where)
        if len(items) != 2 * len(same):
            raise SourceError(
                f"{blob.where}: two images a pair were expected, got {len(items)} images and {len(same)} pairs"
            )
        check_row_count(len(items), blob)
        self._blob = blob
        spans = [item if isinstance(item, Span) else Span(0, 0) for item in items]
        names = numbered_ids(range(len(items)))
        # A hostile pickle may refer to one large image a million times.
        digests = {s: hashlib.sha256(data[s.at : s.at + s.length]).digest() for s in set(spans)}
        people = _people([digests[s] for s in spans], same)
        self._set_records(
            (
                Entry(name, f"{s.at} {s.length}", names[first])
                for name, s, first in zip(names, spans, people, strict=True)
            ),
            listed=labels_beside(rule, blob),
            in_order=True,
        )

    def read(self, record: ImageRecord) -> bytes:
        at, length = (int(v) for v in record.key.split())
        return self._blob.read_exactly(at, length, MAX_FILE_BYTES)


def _people(digests: list[bytes], same: list[bool]) -> list[int]:
    """For each image the first that shows the same person, by equal bytes and by matching pairs."""
    first = list(range(len(digests)))

    def root(i: int) -> int:
        while first[i] != i:
            first[i] = first[first[i]]
            i = first[i]
        return i

    def join(a: int, b: int) -> None:
        a, b = sorted((root(a), root(b)))
        first[b] = a

    first_of: dict[bytes, int] = {}
    for i, digest in enumerate(digests):
        join(i, first_of.setdefault(digest, i))
    for pair, one in enumerate(same):
        if one:
            join(2 * pair, 2 * pair + 1)
    return [root(i) for i in range(len(digests))]


def read_pickle(data: bytes, where: str = "pickle") -> tuple[list[object], list[bool]]:
    """Images, as `Span`s, and whether each pair shows one person; SourceError for any other pickle."""
    machine = _Machine(data)
    try:
        result = machine.run()
        machine.check_end()
    except _RefusedError as error:
        raise SourceError(
            f"{where}: {error}; a pickle of (images, pairs) was expected, and nothing else is run"
        ) from None
    except (ValueError, IndexError, TypeError, KeyError, AttributeError, OverflowError, UnicodeError) as error:
        raise SourceError(f"{where}: a damaged pickle at byte {machine.at} ({type(error).__name__}: {error})") from None
    if not (isinstance(result, (tuple, list)) and len(result) == 2):
        raise SourceError(f"{where}: a pickle of (images, pairs) was expected")
    items, same = result
    if isinstance(same, _Array) and isinstance(same.data, Span):
        same = [bool(v) for v in data[same.data.at : same.data.at + same.data.length]]
    if not isinstance(items, (list, tuple)) or not isinstance(same, (list, tuple)):
        raise SourceError(f"{where}: a pickle of two lists, images and pairs, was expected")
    spans = [item.data if isinstance(item, _Array) else item for item in items]
    others = machine.images - {span for span in spans if isinstance(span, Span)}
    if others:
        raise SourceError(
            f"{where}: expected images in the first list alone, found {len(others)} elsewhere in the pickle, one at "
            f"byte {min(span.at for span in others)}. Write the set again with all images in its list"
        )
    pairs = [_truth(one, data) for one in same]
    if any(one is None for one in pairs):
        raise SourceError(f"{where}: pairs should be true or false")
    return spans, [bool(one) for one in pairs]


def _truth(one: object, data: bytes) -> bool | None:
    if isinstance(one, _Array) and isinstance(one.data, Span) and one.data.length == 1:
        return data[one.data.at] != 0
    return bool(one) if isinstance(one, (bool, int)) else None


class _RefusedError(Exception):
    """An instruction or a name that a set of images does not need."""


_MARK = object()


class _Machine:
    """Interprets the instructions of a pickle that build tuples and lists of bytes, numbers and arrays of bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self.images: set[Span] = set()
        self.at = 0

    def run(self) -> object:
        for op, arg, at in self._instructions():
            self.at = at
            if op == "STOP":
                return self._stack.pop()
            interpret = _INSTRUCTIONS.get(op)
            if interpret is None:
                raise _RefusedError(f"instruction {op} at byte {at}")
            if len(self._stack) > MAX_ITEMS:
                raise _RefusedError(f"more than {MAX_ITEMS} items")
            interpret(self, arg)
        raise ValueError("it has no STOP")

    def check_end(self) -> None:
        """Raises an error for anything that the pickle leaves on the stack or that follows it."""
        left = len(self._data) - self.at - 1
        if self._stack or left:
            what = f"{left} more bytes, perhaps another pickle" if left else "more items"
            raise _RefusedError(f"{what} after the end at byte {self.at}")

    def _instructions(self) -> Iterator[tuple[str, Any, int]]:
        # genops only splits the bytes; a length beyond the end is its ValueError.
        for op, arg, at in pickletools.genops(io.BytesIO(self._data)):
            yield op.name, arg, at or 0

    def push(self, value: object) -> None:
        self._stack.append(value)

    def bytes_of(self, prefix: int, arg: Any) -> None:
        """Bytes that begin ``prefix`` bytes after the instruction."""
        span = Span(self.at + prefix, len(arg))
        if is_image(self._data[span.at : span.at + SIGNATURE_BYTES]):
            self.images.add(span)
        self.push(span)

    def from_mark(self) -> list[Any]:
        items: list[Any] = []
        while (top := self._stack.pop()) is not _MARK:
            items.append(top)
        return items[::-1]

    def take(self, n: int) -> None:
        items = [self._stack.pop() for _ in range(n)][::-1]
        if _MARK in items:
            raise ValueError("a mark in a tuple")
        self.push(tuple(items))

    def memoize(self, index: int | None) -> None:
        self._memo[len(self._memo) if index is None else index] = self._stack[-1]

    def get(self, index: int) -> None:
        self.push(self._memo[index])

    def name(self, name: str) -> None:
        if name not in KNOWN:
            raise _RefusedError(f"the name {name!r} at byte {self.at}")
        self.push(_Name(name))

    def stack_name(self, _: object) -> None:
        attribute, module = self._stack.pop(), self._stack.pop()
        self.name(f"{module} {attribute}")

    def appends(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if not isinstance(target, list):
            raise TypeError("items for something that is no list")
        target.extend(items)

    def call(self, _: object) -> None:
        """A call of one of the functions that build arrays."""
        args, function = self._stack.pop(), self._stack.pop()
        if not isinstance(function, _Name) or not isinstance(args, tuple):
            raise TypeError("a call of something that is no function")
        name = function.name
        if name == LATIN:
            # Python 3 writes bytes for Python 2 as text: in the file they are UTF-8, not the bytes of an image.
            raise _RefusedError(
                f"bytes written for Python 2 at byte {self.at}; write the set again with protocol 3 or higher"
            )
        if name in FROM_BUFFER:
            self.push(_Array(args[0]))
        elif name in SCALAR:
            self.push(_Array(args[1]))
        else:
            self.push(_Array())

    def build(self, _: object) -> None:
        state, target = self._stack.pop(), self._stack[-1]
        if not isinstance(target, _Array):
            raise TypeError("a state for something that is no array")
        # The state of an array ends in its bytes. Its type does not matter: images are single bytes.
        if isinstance(state, tuple) and state and isinstance(state[-1], Span):
            target.data = state[-1]


@dataclass(frozen=True)
class _Name:
    name: str


Interpret = Callable[[_Machine, Any], None]


def _nothing(machine: _Machine, arg: Any) -> None:
    """Frames and protocol numbers."""


def _constant(value: object) -> Interpret:
    return lambda machine, arg: machine.push(value)


def _value(machine: _Machine, arg: Any) -> None:
    machine.push(arg)


_INSTRUCTIONS: dict[str, Interpret] = {
    "PROTO": _nothing,
    "FRAME": _nothing,
    "MARK": _constant(_MARK),
    "NONE": _constant(None),
    "NEWTRUE": _constant(True),
    "NEWFALSE": _constant(False),
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1", "INT", "BINUNICODE", "SHORT_BINUNICODE"), _value),
    **dict.fromkeys(("SHORT_BINBYTES", "SHORT_BINSTRING"), lambda m, arg: m.bytes_of(2, arg)),
    **dict.fromkeys(("BINBYTES", "BINSTRING"), lambda m, arg: m.bytes_of(5, arg)),
    **dict.fromkeys(("BINBYTES8", "BYTEARRAY8"), lambda m, arg: m.bytes_of(9, arg)),
    "EMPTY_LIST": lambda m, arg: m.push([]),
    "EMPTY_TUPLE": lambda m, arg: m.push(()),
    "TUPLE1": lambda m, arg: m.take(1),
    "TUPLE2": lambda m, arg: m.take(2),
    "TUPLE3": lambda m, arg: m.take(3),
    "TUPLE": lambda m, arg: m.push(tuple(m.from_mark())),
    "LIST": lambda m, arg: m.push(m.from_mark()),
    "APPENDS": lambda m, arg: m.appends(m.from_mark()),
    "APPEND": lambda m, arg: m.appends([m._stack.pop()]),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), lambda m, arg: m.memoize(arg)),
    "MEMOIZE": lambda m, arg: m.memoize(None),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), lambda m, arg: m.get(arg)),
    "GLOBAL": lambda m, arg: m.name(arg),
    "STACK_GLOBAL": lambda m, arg: m.stack_name(arg),
    "REDUCE": lambda m, arg: m.call(arg),
    "BUILD": lambda m, arg: m.build(arg),
}
