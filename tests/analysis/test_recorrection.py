"""Matches with changed offsets of some gallery rows are those of comparing all pairs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import examples, unit_rows
from unveil.analysis.recorrection import Listed, Stored, best_by_offsets, with_changed_rows
from unveil.compare import compare_all
from unveil.types import Ints, Matches


def compared(
    q: Any, g: Any, qo: Any, go: Any, stored: Stored, rows: Ints | None = None, of: Ints | None = None
) -> Matches:
    """All pairs of some queries and gallery rows, by NumPy."""
    a = np.arange(len(q)) if rows is None else rows
    b = np.arange(len(g)) if of is None else of
    offsets = {"query_offset": qo[a], "gallery_offset": go[b]}
    return compare_all(q[a], g[b], top_k=stored.top_k, top_pairs=stored.top_pairs, **offsets, backend="numpy")


@given(st.integers(0, 2**32), st.sampled_from([0.0, 0.01, 0.3]), st.integers(0, 12), st.booleans())
@examples(200)
def test_changed_rows_give_what_all_pairs_give(seed: int, step: float, n_changed: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    q, g = unit_rows(rng, int(rng.integers(1, 30)), 8), unit_rows(rng, int(rng.integers(1, 60)), 8)
    if ties:
        g[:] = g[rng.integers(len(g), size=len(g)) // 2]
    stored = Stored(int(rng.integers(0, 6)), int(rng.integers(0, 40)))
    qo, go = rng.normal(size=len(q)) * 0.1, rng.normal(size=len(g)) * 0.1
    changed = np.sort(rng.permutation(len(g))[:n_changed])
    other = go.copy()
    other[changed] += rng.normal(size=len(changed)) * step
    old = compared(q, g, qo, go, stored.spare if rng.integers(2) else stored)

    def compare(rows: Ints | None, of: Ints, top_k: int, top_pairs: int) -> Matches:
        return compared(q, g, qo, other, Stored(top_k, top_pairs), rows, of)

    found = stored.trimmed(with_changed_rows(old, changed, stored, compare))
    expected = compared(q, g, qo, other, stored)
    for field in (f for f in found.__dataclass_fields__ if f not in ("mean", "variance")):
        assert np.array_equal(getattr(found, field), getattr(expected, field)), field


@pytest.mark.parametrize(("n_changed", "most_pairs"), [(3, 0.05), (150, 0.25)])
def test_few_changed_rows_need_few_pairs(n_changed: int, most_pairs: float) -> None:
    rng = np.random.default_rng(0)
    q, g = unit_rows(rng, 300, 16), unit_rows(rng, 1500, 16)
    stored, pairs = Stored(10, 400), []
    qo, go = rng.normal(size=300) * 0.01, rng.normal(size=1500) * 0.01
    old = compared(q, g, qo, go, stored.spare)
    changed = np.sort(rng.permutation(1500)[:n_changed])
    go[changed] += 0.01

    def compare(rows: Ints | None, of: Ints, top_k: int, top_pairs: int) -> Matches:
        pairs.append((300 if rows is None else len(rows)) * len(of))
        return compared(q, g, qo, go, Stored(top_k, top_pairs), rows, of)

    with_changed_rows(old, changed, stored, compare)
    assert sum(pairs) <= most_pairs * 300 * 1500


@given(
    st.integers(0, 2**32), st.sampled_from([0.0, 1e-16, 1e-3, 0.3, 1e3]), st.integers(1, 6), st.sampled_from([1, 2, 8])
)
@examples(200)
def test_the_best_by_offsets_is_that_of_comparing_all_pairs(seed: int, spread: float, k: int, dims: int) -> None:
    """With ties, equal rows, one row, lists of all rows, and offsets that outweigh every cosine."""
    rng = np.random.default_rng(seed)
    q, g = unit_rows(rng, int(rng.integers(1, 30)), dims), unit_rows(rng, int(rng.integers(1, 200)), dims)
    if rng.integers(2):
        g[:] = g[rng.integers(len(g), size=len(g)) // 2]
    qo, go = rng.normal(size=len(q)) * spread, rng.normal(size=len(g)) * spread
    if rng.integers(2):  # equal offsets and one that is not
        go[:] = go[0]
        go[rng.integers(len(go))] += spread
    zeros, near = (np.zeros(len(q)), np.zeros(len(g))), (qo + rng.normal(size=len(q)) * spread / 3, go * 0.9)
    lists = [Listed(compared(q, g, *o, Stored(k, 0)), *o) for o in (zeros, near)][:: int(rng.choice([-1, 1]))]
    lists = lists[: int(rng.integers(1, 3))]

    def compare(queries: Ints, rows: Ints | None) -> Matches:
        return compared(q, g, qo, go, Stored(1, 0), queries, rows)

    found = best_by_offsets(lists, qo, go, compare)
    expected = compared(q, g, qo, go, Stored(1, 0))
    assert all(np.array_equal(getattr(found, f), getattr(expected, f)) for f in ("rows", "cosine", "score"))
    assert found.n_compared == expected.n_compared and not len(found.top_pairs) and (found.best_query == -1).all()


@pytest.mark.parametrize(("spread", "most_pairs"), [(1e-3, 0.002), (0.03, 0.25)])
def test_small_offsets_need_few_pairs(spread: float, most_pairs: float) -> None:
    rng = np.random.default_rng(0)
    q, g, pairs = unit_rows(rng, 300, 16), unit_rows(rng, 3000, 16), []
    qo, go = rng.normal(size=300) * spread, rng.normal(size=3000) * spread
    zeros = np.zeros(300), np.zeros(3000)
    listed = Listed(compared(q, g, *zeros, Stored(4, 0)), *zeros)

    def compare(queries: Ints, rows: Ints | None) -> Matches:
        pairs.append(len(queries) * (len(g) if rows is None else len(rows)))
        return compared(q, g, qo, go, Stored(1, 0), queries, rows)

    found = best_by_offsets([listed], qo, go, compare)
    assert np.array_equal(found.rows, compared(q, g, qo, go, Stored(1, 0)).rows)
    assert sum(pairs) <= most_pairs * 300 * 3000
