"""Columns of texts behave like tuples of texts."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import examples
from unveil import columns
from unveil.columns import Labels, People, Texts, _keys_of
from unveil.io.mapping import Spool

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
    assert column.repeats().tolist() == [i for i, text in enumerate(first) if text in first[:i]]
    assert [column.row_of(text) for text in second] == [first.index(text) if text in first else None for text in second]


@pytest.mark.parametrize(("n_keys", "in_memory"), [(2**63, 2**26), (2, 8), (1, 1)])
def test_blocks_files_and_equal_keys_change_nothing(
    n_keys: int, in_memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks of three texts, files from some bytes on, and few keys for different texts."""
    texts, keys_of = ["", "a", "bb", "é", "a" * 17, "bb", "", "\0", "a" * 16, "bb"], _keys_of
    monkeypatch.setattr(columns, "BLOCK", 3)
    monkeypatch.setattr(columns, "KEYED_BYTES", 20)
    monkeypatch.setattr(columns, "_keys_of", lambda rows: keys_of(rows) % np.uint64(n_keys))
    monkeypatch.setattr(Spool.__init__, "__defaults__", (in_memory,))
    column, rows = Texts.joined([Texts(texts[:4]), Texts(), Texts(texts[4:])]), np.array([9, 0, 3, 4, 8, 8, 1])
    assert column == texts and column.take(rows) == [texts[i] for i in rows]
    assert column.repeats().tolist() == [5, 6, 9] and column.n_distinct() == 7
    assert [column.row_of(text) for text in (*texts, "c", "\udc80")] == [0, 1, 2, 3, 4, 2, 0, 7, 8, 2, None, None]
    assert column.are_in(Texts(["x", "bb", "a" * 17, "aa"])).tolist() == [text in ("bb", "a" * 17) for text in texts]


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
