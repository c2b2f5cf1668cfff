"""Which training class each synthetic class may stand for, by the labels alone."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from unveil.columns import Texts
from unveil.io.text import compatible
from unveil.types import Ints

CorrespondenceName = Literal["label map", "equal names", "numbers in names", "order of names"]
Pairs = tuple[tuple[str, str], ...]

# With fewer classes no arrangement reaches a p-value of 0.01: there are only 4! = 24 of them.
MIN_CLASSES = 5
# Decimal digits of any script, as Unicode defines them.
_DIGITS = re.compile(r"\d+")


@dataclass(frozen=True)
class Correspondence:
    """Pairs of a synthetic and a training label, sorted by the training label; or the reason why there are none.

    ``ambiguous`` are two labels of one set that cannot be told apart, if that is the reason.
    """

    name: CorrespondenceName
    pairs: Pairs
    reason: str = ""
    ambiguous: tuple[str, ...] = ()


def correspondences(
    synthetic: Iterable[str], training: Iterable[str], label_map: Pairs | None = None
) -> tuple[Correspondence, ...]:
    """Every correspondence between the labels of two sets, the most explicit first.

    With a ``label_map`` of pairs (synthetic, training) there is no other. Otherwise labels correspond by equal names,
    by the last number in each name, or by their order if both sets have equally many. A correspondence is one-to-one
    and has at least MIN_CLASSES pairs. One that repeats the pairs of an earlier one has none. Names are the last part
    of a path, without case, in the normal form NFKC.
    """
    made, real = _distinct(synthetic), _distinct(training)
    if label_map is not None:
        known = [
            Texts([pair[i] for pair in label_map]).are_in(labels).tolist() for i, labels in enumerate((made, real))
        ]
        pairs = tuple(pair for pair, *both in zip(label_map, *known, strict=True) if all(both))
        return (_checked("label map", pairs),)
    found: list[Correspondence] = []
    for correspondence in (
        _by_key("equal names", made, real, name_of, "name"),
        _by_key("numbers in names", made, real, last_number, "number"),
        _by_order(made, real),
    ):
        earlier = [other.name for other in found if other.pairs and set(other.pairs) == set(correspondence.pairs)]
        if earlier:
            correspondence = Correspondence(correspondence.name, (), f"it gives the same pairs as {earlier[0]}")
        found.append(correspondence)
    return tuple(found)


def name_of(label: str) -> str:
    """The last part of a label that is a path, without case and surrounding space, in the normal form NFKC."""
    return compatible(label).strip().rstrip("/").rpartition("/")[2].casefold()


def last_number(label: str) -> str | None:
    """The last number in the name of a label without leading zeros, as text: numbers have no limit. None without."""
    digits = _DIGITS.findall(name_of(label))
    return _plain(digits[-1]) if digits else None


def natural_order(label: str) -> tuple[tuple[int, int, str], ...]:
    """The key by which labels are sorted: numbers by value, before text. Labels that sort alike have equal keys."""
    parts = re.split(r"(\d+)", name_of(label))
    return tuple(
        (0, len(number := _plain(part)), number) if i % 2 else (1, 0, part) for i, part in enumerate(parts) if part
    )


def _plain(digits: str) -> str:
    """Decimal digits of any script as ASCII digits, without leading zeros."""
    if not digits.isascii():
        digits = "".join(str(unicodedata.decimal(digit)) for digit in digits)
    return digits.lstrip("0") or "0"


def _by_key(
    name: CorrespondenceName,
    synthetic: Texts,
    training: Texts,
    key_of: Callable[[str], str | None],
    what: str,
) -> Correspondence:
    """Labels with equal keys; labels without one take no part."""
    every: list[tuple[Texts, Ints]] = []
    for role, labels in (("synthetic", synthetic), ("training", training)):
        keys, rows = _keys(labels, key_of)
        again = keys.repeats()
        if len(again):
            first = rows[keys.row_of(keys[int(again[0])])]
            same = labels[int(first)], labels[int(rows[again[0]])]
            return Correspondence(name, (), f"two {role} labels have the same {what}", same)
        every.append((keys, rows))
    (made, made_rows), (real, real_rows) = every
    shared = np.flatnonzero(made.are_in(real))
    pairs = synthetic.take(made_rows[shared]), training.take(real_rows[made.take(shared).find(real)])
    return _checked(name, tuple(zip(*pairs, strict=True)))


def _keys(labels: Texts, key_of: Callable[[str], str | None]) -> tuple[Texts, Ints]:
    """The keys (K,) of the labels that have one, and their rows (K,)."""
    rows = [np.zeros(0, np.int64)]

    def blocks() -> Iterator[Texts]:
        start = 0
        for block in labels.blocks():
            keys = [key_of(label) or "" for label in block]
            rows.append(start + np.flatnonzero(np.array(keys, object) != ""))
            start += len(block)
            yield Texts([key for key in keys if key])

    keys = Texts.joined(blocks())
    return keys, np.concatenate(rows)


def _distinct(labels: Iterable[str]) -> Texts:
    """The different labels in order of first appearance: of a set of many images there may be millions."""
    column = labels if isinstance(labels, Texts) else Texts(labels)
    repeats = column.repeats()
    return column.take(np.delete(np.arange(len(column)), repeats)) if len(repeats) else column


def _by_order(synthetic: Texts, training: Texts) -> Correspondence:
    if len(synthetic) != len(training):
        return Correspondence(
            "order of names", (), f"there are {len(synthetic):,} synthetic and {len(training):,} training labels"
        )
    in_order = []
    for role, labels in (("synthetic", synthetic), ("training", training)):
        by_place = sorted((natural_order(label), label) for label in labels)
        for (place, label), (other_place, other) in pairwise(by_place):
            if place == other_place:
                return Correspondence("order of names", (), f"two {role} labels sort alike", (label, other))
        in_order.append([label for _, label in by_place])
    return _checked("order of names", tuple(zip(*in_order, strict=True)))


def _checked(name: CorrespondenceName, pairs: Pairs) -> Correspondence:
    if len(pairs) < MIN_CLASSES:
        count = "no label corresponds" if not pairs else f"only {len(pairs)} labels correspond"
        return Correspondence(name, (), f"{count}; at least {MIN_CLASSES} are needed")
    return Correspondence(name, tuple(sorted(pairs, key=lambda pair: (natural_order(pair[1]), pair))))
