"""Columns of texts behave like tuples of texts."""

from __future__ import annotations

from itertools import chain

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import examples
from unveil import columns
from unveil.columns import Labels, People, Texts

TEXTS = st.lists(st.text("abé", max_size=3), max_size=12)
LABELS = st.lists(st.none() | st.text("abé", max_size=2), max_size=12)


def rows_of(data: st.DataObject, n: int) -> np.ndarray:
    return np.array(data.draw(st.lists(st.integers(0, n - 1), max_size=8) if n else st.just([])), np.int64)


def coded(texts: list[str]) -> tuple[list[str], list[int]]:
    names = list(dict.fromkeys(texts))
    return names, [names.index(text) for text in texts]


@given(TEXTS, TEXTS, st.data())
@examples(100)
def test_texts(first: list[str], second: list[str], data: st.DataObject) -> None:
    column, other = Texts(first), Texts(second)
    assert column == first and list(column) == first and len(column) == len(first)
    assert column + other == [*first, *second] == list(Texts.joined([column, other]))
    rows = rows_of(data, len(first))
    assert column.take(rows) == [first[i] for i in rows] and column[1:3] == first[1:3]
    assert all(column[int(i)] == first[i] for i in rows)
    names, codes = column.coded()
    assert (list(names), codes.tolist()) == coded(first)
    assert column.find(other).tolist() == [second.index(text) if text in second else -1 for text in first]
    assert column.are_in(other).tolist() == [text in second for text in first]
    assert column.n_distinct() == len(set(first)) and (not first or column.longest == max(first, key=len))
    assert list(chain.from_iterable(column.blocks(2))) == first


@given(LABELS, LABELS, st.data())
@examples(100)
def test_labels(first: list[str | None], second: list[str | None], data: st.DataObject) -> None:
    column, other = Labels.of(first), Labels.of(second)
    assert column == first and column + other == [*first, *second] == list(Labels.joined([column, other]))
    assert Labels.of_arrow(column.array()) == first and column.array().to_pylist() == first
    rows = rows_of(data, len(first))
    taken, kept = column.take(rows), [first[i] for i in rows]
    assert (
        taken == kept and taken.n_missing == kept.count(None) and taken.known.tolist() == [t is not None for t in kept]
    )
    names, codes = taken.coded()
    assert (list(names), codes[codes >= 0].tolist()) == coded([text for text in kept if text is not None])
    assert taken == kept, "compacted, with the same texts"
    ids = Texts([f"a{i}" if i % 2 else "b" for i in range(len(kept))])
    expected = [text if text is not None else ids[i] for i, text in enumerate(kept)]
    people = taken.or_else(ids)
    assert isinstance(people, People) and people == expected
    assert (list(people.coded()[0]), people.coded()[1].tolist()) == coded(expected)


def test_labels_of_many_images_are_read_in_blocks() -> None:
    texts = [None if i % 7 == 0 else f"person {i % 5}" for i in range(3 * columns.BLOCK // 2)]
    assert Labels.of(texts) == texts
    assert Labels.missing(3) == [None] * 3 and Labels.each(Texts(["x", "y"])) == ["x", "y"]
