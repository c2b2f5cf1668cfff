"""Runs that somebody else forged: one value of a run is replaced, and all checksums are made to fit."""

from __future__ import annotations

import copy
import json
import math
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from unveil.io.checksums import file_sha256
from unveil.io.text import printable_document
from unveil.results import from_document
from unveil.runs.parts import result_sha256

Place = tuple[str | int, ...]


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


# What a value of JSON is replaced by.
NASTY: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 2, 2**62, 10**400, -1.5, 0.5, 1.5, 1e308, 5e-324, math.nan, math.inf),
    *("", "abc", "1", "nan", "\x1b[2J\u202e<script>{{ 7*7 }}`$(id)`", "../../etc/passwd", "x" * 5000),
    *([], [1], ["abc"], {}, {"abc": 1}, {"": None}, nested(60), nested(900)),
)


def places(value: Any, here: Place = ()) -> Iterator[Place]:
    """The place of every value in a document of JSON."""
    yield here
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, below in inner:
        yield from places(below, (*here, name))


def kinds_of_places(document: Any) -> list[Place]:
    """One place of each kind: of many in a list, the first of those that have the same names on the way to them."""
    first: dict[Place, Place] = {}
    for place in places(document):
        first.setdefault(tuple("*" if isinstance(name, int) else name for name in place), place)
    return list(first.values())


def replaced(document: Any, place: Place, value: Any) -> Any:
    """The document with another value in a place."""
    if not place:
        return value
    changed = copy.deepcopy(document)
    inner = changed
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value
    return changed


def without(document: Any, place: Place) -> Any:
    """The document without a value."""
    changed = copy.deepcopy(document)
    inner = changed
    for name in place[:-1]:
        inner = inner[name]
    del inner[place[-1]]
    return changed


class Forger:
    """Makes forged copies of a run in one folder, the one in the place of the one before."""

    def __init__(self, run: Path, folder: Path) -> None:
        self._whole, self.run = run, folder / "forged"
        self.audit = json.loads((run / "audit.json").read_text("utf-8"))
        self.manifest = json.loads((run / "manifest.json").read_text("utf-8"))

    def forge(self, audit: Any = None, manifest: Any = None, part: Callable[[Path], Any] | None = None) -> Path:
        """A run with another result, other facts in its manifest or another part. Everything in it fits."""
        shutil.rmtree(self.run, ignore_errors=True)
        shutil.copytree(self._whole, self.run, ignore=shutil.ignore_patterns("*.html", "publish"))
        audit = self.audit if audit is None else audit
        manifest = dict(self.manifest) if manifest is None else manifest
        if part is not None:
            part(self.run)
            manifest["parts"] = {name: file_sha256(self.run / name) for name in manifest["parts"]}
        if isinstance(manifest, dict):
            if isinstance(audit, dict) and isinstance(audit.get("manifest"), dict):
                manifest = {**manifest, **audit["manifest"]}
            try:
                manifest["result"] = result_sha256(from_document(printable_document(audit)))
            except (ValueError, RecursionError):
                manifest["result"] = "0" * 64
            manifest["signature"] = "0" * 64
        for name, document in (("audit.json", audit), ("manifest.json", manifest)):
            (self.run / name).write_text(json.dumps(document), "utf-8")
        return self.run


def forged_documents(forger: Forger, rng: random.Random, n: int) -> Iterator[tuple[str, Callable[[], Path]]]:
    """Runs with one other value in `audit.json` or the manifest; ``n`` of all that there are, drawn at random."""
    names = {"audit": forger.audit, "manifest": forger.manifest}
    every = [
        (name, place, value)
        for name, document in names.items()
        for place in kinds_of_places(document)
        for value in (*range(len(NASTY)), None)
        if place or value is not None
    ]
    for name, place, i in rng.sample(every, min(n, len(every))):
        document = names[name]

        def forge(name: str = name, document: Any = document, place: Place = place, i: int | None = i) -> Path:
            changed = without(document, place) if i is None else replaced(document, place, NASTY[i])
            return forger.forge(**{name: changed})

        what = "removed" if i is None else repr(NASTY[i])[:40]
        yield f"{name} {'.'.join(map(str, place))}: {what}", forge


def _columns(table: pa.Table, name: str) -> Iterator[tuple[str, pa.Table]]:
    """The table with one column dropped, of another type, or with other values."""
    i, column, n = table.column_names.index(name), table[name], len(table)
    yield "dropped", table.drop_columns([name])
    others: dict[str, Any] = {
        "texts": pa.array(["abc"] * n),
        "empty texts": pa.array([""] * n),
        "wholes": pa.array([7] * n),
        "negative": pa.array([-2] * n),
        "huge": pa.array([2**62] * n),
        "floats": pa.array([0.5] * n),
        "nan": pa.array([math.nan] * n),
        "infinite": pa.array([math.inf] * n),
        "null": pa.nulls(n),
        "null texts": pa.nulls(n, pa.string()),
        "booleans": pa.array([True] * n),
        "lists": pa.array([[1]] * n),
        "bytes": pa.array([b"\xff"] * n),
        "large texts": column.cast(pa.large_string()) if pa.types.is_string(column.type) else column,
        "the first for all": pa.array([column[0].as_py()] * n, column.type) if n else column,
    }
    for what, values in others.items():
        yield what, table.set_column(i, name, values)


def forged_tables(forger: Forger, whole: Path) -> Iterator[tuple[str, Callable[[], Path]]]:
    """Runs with one other column in a table, and with tables that have no rows, each row twice, or two names."""
    for file in sorted(whole.rglob("*.parquet")):
        table, name = pq.read_table(file), file.relative_to(whole).as_posix()
        changed = [
            (f"{column} {what}", other) for column in table.column_names for what, other in _columns(table, column)
        ]
        changed += [("no rows", table.slice(0, 0)), ("twice", pa.concat_tables([table, table]))]
        changed += [("half", table.slice(0, len(table) // 2)), ("no columns", table.select([]))]
        for what, other in changed:

            def part(run: Path, name: str = name, other: pa.Table = other) -> None:
                pq.write_table(other, run / name)

            yield f"{name}: {what}", lambda part=part: forger.forge(part=part)  # type: ignore[misc]


def forged_arrays(forger: Forger, whole: Path) -> Iterator[tuple[str, Callable[[], Path]]]:
    """Runs with other vectors or another state: of other shapes, types and values, empty, or no arrays at all."""

    def others(array: np.ndarray[Any, Any]) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
        yield "empty", array[:0]
        yield "half", array[: len(array) // 2]
        yield "flat", array.ravel()
        yield "scalar", np.array(1.0)
        yield "deep", array[..., None]
        yield "texts", np.full(array.shape, "abc")
        yield "complex", array.astype(np.complex128)
        yield "other type", array.astype(np.float16)
        yield "zeros", np.zeros_like(array)
        yield "large", np.full_like(array, 2**62 if array.dtype.kind == "i" else 1e30)
        yield "negative", np.full_like(array, -3)
        if array.dtype.kind == "f":
            yield "nan", np.full_like(array, np.nan)

    with np.load(whole / "stores/state.npz") as stored:
        state = dict(stored)
    for file in sorted(whole.rglob("*.npy")):
        name = file.relative_to(whole).as_posix()
        for what, other in others(np.load(file)):
            yield f"{name}: {what}", _writes(forger, name, lambda path, other=other: np.save(path, other))  # type: ignore[misc]
        for what, data in (("no bytes", b""), ("text", b"abc"), ("header", file.read_bytes()[:128])):
            yield f"{name}: {what}", _writes(forger, name, lambda path, data=data: path.write_bytes(data))  # type: ignore[misc]
    for array in state:
        changed = [(what, {**state, array: other}) for what, other in others(state[array])]
        changed.append(("missing", {key: value for key, value in state.items() if key != array}))
        for what, arrays in changed:

            def write(path: Path, arrays: dict[str, Any] = arrays) -> None:
                np.savez(path, **arrays)

            yield f"state {array}: {what}", _writes(forger, "stores/state.npz", write)
    for what, data in (("no bytes", b""), ("no archive", b"PK\x03\x04" + bytes(60)), ("text", b"abc")):
        yield f"state: {what}", _writes(forger, "stores/state.npz", lambda path, data=data: path.write_bytes(data))  # type: ignore[misc]


def _writes(forger: Forger, name: str, write: Callable[[Path], Any]) -> Callable[[], Path]:
    return lambda: forger.forge(part=lambda run: write(run / name))
