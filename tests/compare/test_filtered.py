"""The best match among a part of the gallery, against a brute force."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import examples, unit_rows
from tests.compare.builders import all_scores
from unveil.compare import best_among, best_of_others, compare_all


@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 80), st.integers(1, 6))
@examples(40)
def test_best_of_others_and_best_among(seed: int, nq: int, ng: int, n_people: int) -> None:
    rng = np.random.default_rng(seed)
    q, g = unit_rows(rng, nq, 6), unit_rows(rng, ng, 6)
    query_people, gallery_people = rng.integers(n_people, size=nq), rng.integers(n_people, size=ng)
    qo, go = rng.normal(size=nq), rng.normal(size=ng)
    _, score = all_scores(q, g, qo, go)

    other = query_people[:, None] != gallery_people[None]
    rows, best = best_of_others(q, query_people, g, gallery_people, qo, go)
    masked = np.where(other, score, -np.inf)
    assert np.array_equal(best, masked.max(1))
    assert np.array_equal(rows, np.where(other.any(1), masked.argmax(1), -1))

    allowed = np.flatnonzero(rng.random(ng) < 0.3)
    found = compare_all(q, g, top_k=3, query_offset=qo, gallery_offset=go)
    rows, best = best_among(found, q, g, allowed, qo, go)
    masked = np.where(np.isin(np.arange(ng), allowed)[None], score, -np.inf)
    assert np.array_equal(best, masked.max(1))
    assert np.array_equal(rows, np.where(np.isfinite(best), masked.argmax(1), -1))
