"""Texts of many images in columns, which behave like tuples of texts: ids, digests, and people by their codes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Generic, Self, SupportsIndex, TypeVar, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from unveil.io.mapping import Spool

# Texts that become Python objects at once, and bytes of texts whose keys are computed at once.
BLOCK, KEYED_BYTES = 65_536, 2**20
# An odd number with as many ones as zeros in no pattern (2^64 divided by the golden ratio).
MIX = np.uint64(0x9E3779B97F4A7C15)

T = TypeVar("T", bound=str | None, covariant=True)
Codes = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


class Texts(Sequence[str]):
    """Texts (N,), as Arrow's ``large_string``: their own bytes and 8 more each.

    Single texts are made on demand; `blocks` and iteration make some thousands at once. ``array`` is the Arrow array.
    """

    __slots__ = ("_index", "array")

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._index: tuple[npt.NDArray[np.uint64], Codes] | None = None
        self.array: Any = pa.array(texts if isinstance(texts, (list, tuple)) else list(texts), pa.large_string())

    @classmethod
    def of(cls, array: Any) -> Texts:
        """The column of an Arrow array of texts, in one piece or in several."""
        column = cls.__new__(cls)  # arrays that Arrow makes of lists import pandas
        column._index = None
        array = array if array.type == pa.large_string() else array.cast(pa.large_string())
        column.array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
        return column

    @classmethod
    def joined(cls, columns: Iterable[Texts]) -> Texts:
        """The texts of several columns, one after the other; many are in a mapped temporary file."""
        ends, data, n, size = Spool(), Spool(), 0, 0
        ends.add(np.zeros(1, np.int64).data.cast("B"))
        for column in columns:
            if not len(column):
                continue
            places, texts = column._buffers()
            data.add(texts[places[0] : places[-1]])
            ends.add((places[1:] - places[0] + size).data.cast("B"))
            n, size = n + len(column), data.size
        buffers = [None, pa.py_buffer(ends.view()), pa.py_buffer(data.view())]
        return cls.of(pa.Array.from_buffers(pa.large_string(), n, buffers))

    def _buffers(self) -> tuple[Codes, memoryview]:
        """Where each of the texts (N,) begins and the last ends (N + 1,), and the bytes of all."""
        _, places, texts = self.array.buffers()
        start = self.array.offset
        data = memoryview(b"") if texts is None else memoryview(texts)
        return np.frombuffer(places, np.int64)[start : start + len(self) + 1], data

    def __len__(self) -> int:
        return len(self.array)

    @overload
    def __getitem__(self, index: SupportsIndex) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Texts: ...
    def __getitem__(self, index: SupportsIndex | slice) -> str | Texts:
        if isinstance(index, slice):
            return self.of(self.array[index])
        return str(self.array[index])

    def __iter__(self) -> Iterator[str]:
        for block in self.blocks():
            yield from block

    def blocks(self, size: int = BLOCK) -> Iterator[list[str]]:
        """All texts in order, ``size`` at a time."""
        for start in range(0, len(self), size):
            yield self.array.slice(start, size).to_pylist()

    def take(self, rows: Codes) -> Texts:
        """The texts of these rows (M,), in that order."""
        if len(rows) <= BLOCK:
            return self.of(self.array.take(pa.array(rows, pa.int64())))
        return self.joined(self.take(rows[start : start + BLOCK]) for start in range(0, len(rows), BLOCK))

    def __add__(self, other: Texts) -> Texts:
        return self.joined([self, other]) if len(other) else self

    def coded(self) -> tuple[Texts, Codes]:
        """The distinct texts in order of first appearance, and the index (N,) of each text among them."""
        found = self.array.dictionary_encode()
        return Texts.of(found.dictionary), found.indices.to_numpy(zero_copy_only=False).astype(np.int64)

    def find(self, among: Texts) -> Codes:
        """The first place (N,) of each text in another column, -1 where it is not in it."""
        found = pc.fill_null(pc.index_in(self.array, value_set=among.array), -1)
        return np.asarray(found.to_numpy(zero_copy_only=False), np.int64)

    def are_in(self, other: Texts) -> Mask:
        """Which of the texts (N,) are in another column."""
        if len(other) <= BLOCK:
            return np.asarray(pc.is_in(self.array, value_set=other.array).to_numpy(zero_copy_only=False), np.bool_)
        # A hash table of the few whose keys are in both.
        mine, theirs = self._keys(), other._keys()
        maybe, found = np.flatnonzero(_is_in(mine, theirs)), np.zeros(len(self), np.bool_)
        among = other.take(np.flatnonzero(_is_in(theirs, mine[maybe])))
        found[maybe] = self.take(maybe).find(among) >= 0
        return found

    @property
    def longest(self) -> str:
        """The first text of the most characters."""
        return self[int(np.argmax(pc.utf8_length(self.array).to_numpy(zero_copy_only=False)))]

    def longer_than(self, n: int) -> Codes:
        """The rows (M,), ascending, of the texts of more than ``n`` characters."""
        return np.flatnonzero(pc.utf8_length(self.array).to_numpy(zero_copy_only=False) > n)

    def n_distinct(self) -> int:
        """The number of different texts."""
        return len(self) - len(self.repeats())

    def repeats(self) -> Codes:
        """The rows, ascending, of the texts that an earlier row has too."""
        # A hash table of millions of texts would take several times their memory: equal texts have equal keys, and
        # whether equal keys are equal texts is looked up for the few of them.
        keys = self._keys()
        ordered = np.sort(keys)
        rows = np.flatnonzero(_is_in(keys, ordered[1:][ordered[1:] == ordered[:-1]]))
        return np.delete(rows, np.unique(self.take(rows).coded()[1], return_index=True)[1])

    def row_of(self, text: str) -> int | None:
        """The first row of a text, None where it is not in the column."""
        if self._index is None:
            keys = self._keys()
            order = np.argsort(keys, kind="stable")
            self._index = keys[order], order
        ordered, rows = self._index
        (key,) = _keys_of(np.frombuffer(text.encode(errors="surrogatepass"), np.uint8)[None])
        some = rows[np.searchsorted(ordered, key, "left") : np.searchsorted(ordered, key, "right")]
        return next((row for row in some.tolist() if self[row] == text), None)

    def _keys(self) -> npt.NDArray[np.uint64]:
        """A number (N,) for each text, equal for equal texts and rarely for others."""
        keys = np.empty(len(self), np.uint64)
        places, data = self._buffers() if len(self) else (np.zeros(1, np.int64), memoryview(b""))
        texts = np.frombuffer(data, np.uint8)
        for start in range(0, len(self), BLOCK):
            lengths = np.diff(places[start : start + BLOCK + 1])
            for length in np.unique(lengths).tolist():
                rows = start + np.flatnonzero(lengths == length)
                for first in range(0, len(rows), size := max(1, KEYED_BYTES // (length + 1))):
                    some = rows[first : first + size]
                    keys[some] = _keys_of(texts[places[some][:, None] + np.arange(length)])
        return keys

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Texts):
            return bool(self.array.equals(other.array))
        return isinstance(other, (list, tuple)) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # it is compared by its texts

    def __repr__(self) -> str:
        return f"<{len(self):,} texts>"


def _keys_of(texts: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """A number (N,) for each text (N, L) of one length."""
    words = np.zeros((len(texts), -(-texts.shape[1] // 8) * 8), np.uint8)
    words[:, : texts.shape[1]] = texts
    keys = np.full(len(texts), texts.shape[1], np.uint64)
    for word in words.view(np.uint64).T:
        keys = (keys ^ word) * MIX
        keys ^= keys >> np.uint64(29)
    return keys


def _is_in(keys: npt.NDArray[np.uint64], others: npt.NDArray[np.uint64]) -> Mask:
    """Which of the keys (N,) are among others (M,)."""
    if not len(others):
        return np.zeros(len(keys), np.bool_)
    ordered = np.sort(others)
    found: Mask = ordered[np.minimum(np.searchsorted(ordered, keys), len(ordered) - 1)] == keys
    return found


class Coded(Sequence[T], Generic[T]):
    """Texts (N,) of which many are equal: the code (N,) of each among ``names``, 4 bytes an image.

    ``names`` are distinct, may hold some that do not occur, and code -1 stands for a missing text.
    """

    __slots__ = ("_compact", "codes", "names")

    def __init__(self, names: Texts, codes: npt.NDArray[np.integer[Any]], *, compact: bool = False) -> None:
        self.names, self.codes, self._compact = names, codes.astype(np.int32, copy=False), compact

    @classmethod
    def joined(cls, columns: Iterable[Self]) -> Self:
        """The texts of several columns, one after the other."""
        columns = list(columns)
        starts = np.cumsum([0, *(len(column.names) for column in columns)])
        names, codes = Texts.joined(column.names for column in columns).coded()
        shifted = [
            np.where(c.codes < 0, -1, c.codes + start) for c, start in zip(columns, starts[:-1].tolist(), strict=True)
        ]
        return cls(names, np.append(codes, -1)[np.concatenate([*shifted, np.zeros(0, np.int64)])])

    def __len__(self) -> int:
        return len(self.codes)

    @overload
    def __getitem__(self, index: SupportsIndex) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: SupportsIndex | slice) -> T | Self:
        if isinstance(index, slice):
            return type(self)(self.names, self.codes[index])
        code = int(self.codes[index])
        text: Any = self.names[code] if code >= 0 else None
        return text  # type: ignore[no-any-return]

    def __iter__(self) -> Iterator[T]:
        for start in range(0, len(self), BLOCK):
            codes, places = np.unique(self.codes[start : start + BLOCK], return_inverse=True)
            texts: list[Any] = self.names.take(codes[codes >= 0].astype(np.int64)).array.to_pylist()
            texts = texts if len(texts) == len(codes) else [None, *texts]
            yield from (texts[place] for place in places.tolist())

    def take(self, rows: Codes) -> Self:
        """The texts of these rows (M,), in that order."""
        return type(self)(self.names, self.codes[rows])

    def __add__(self, other: Self) -> Self:
        return self.joined([self, other])

    def coded(self) -> tuple[Texts, Codes]:
        """The distinct texts in order of first appearance, and the index (N,) of each text among them, -1 if missing.

        Names that do not occur are left out.
        """
        if not self._compact:
            present = pa.array(self.codes, mask=self.codes < 0).dictionary_encode()
            self.codes = np.asarray(pc.fill_null(present.indices, -1).to_numpy(zero_copy_only=False), np.int32)
            self.names = self.names.take(present.dictionary.to_numpy().astype(np.int64))
            self._compact = True
        return self.names, self.codes.astype(np.int64)

    def array(self, *, start: int = 0, stop: int | None = None) -> Any:
        """The texts of some rows as an Arrow array."""
        codes = self.codes[start:stop]
        return self.names.array.take(pa.array(codes, pa.int32(), mask=codes < 0))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, (Coded, list, tuple)) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # it is compared by its texts

    def __repr__(self) -> str:
        return f"<{len(self):,} texts>"


class People(Coded[str]):
    """The person (N,) of each image; none is missing."""


class Labels(Coded[str | None]):
    """The label (N,) of each image, None where it has none."""

    @classmethod
    def of(cls, labels: Iterable[str | None]) -> Labels:
        """A column of these labels."""
        code_of: dict[str, int] = {}
        codes = [-1 if label is None else code_of.setdefault(label, len(code_of)) for label in labels]
        return cls(Texts(list(code_of)), np.array(codes, np.int32), compact=True)

    @classmethod
    def of_arrow(cls, array: Any) -> Labels:
        """A column of an Arrow array of texts, in one piece or in several."""
        array = array.cast(pa.large_string())
        found = (array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array).dictionary_encode()
        codes = pc.fill_null(found.indices, -1).to_numpy(zero_copy_only=False)
        return cls(Texts.of(found.dictionary), codes, compact=True)

    @classmethod
    def missing(cls, n: int) -> Labels:
        """Labels (N,) that are all missing."""
        return cls(Texts(), np.full(n, -1, np.int32), compact=True)

    @classmethod
    def each(cls, ids: Texts) -> Labels:
        """A label for each image: its id, which is unique."""
        return cls(ids, np.arange(len(ids), dtype=np.int32), compact=True)

    @property
    def known(self) -> Mask:
        """Which of the labels (N,) are not missing."""
        return np.asarray(self.codes >= 0, np.bool_)

    @property
    def n_missing(self) -> int:
        """The number of missing labels."""
        return int((self.codes < 0).sum())

    def or_else(self, others: Texts) -> People:
        """The labels (N,), each missing one replaced by the text (N,) in its place."""
        missing = np.flatnonzero(self.codes < 0)
        if not len(missing):
            return People(self.names, self.codes, compact=self._compact)
        codes = self.codes.astype(np.int64)
        codes[missing] = len(self.names) + np.arange(len(missing))
        names, code_of = (self.names + others.take(missing)).coded()
        return People(names, code_of[codes])
