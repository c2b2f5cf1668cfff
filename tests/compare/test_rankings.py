"""Two rankings of the same pairs in one pass are those of two comparisons, to the last bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import examples, unit_rows
from tests.compare.builders import BACKENDS, Killed, for_every_backend, kernels, killed_at, worlds
from unveil.compare import Checkpoint, Ranking, compare_all, compare_rankings
from unveil.errors import SettingError
from unveil.types import Matches

# Offsets that change no order, move pairs among each other, or lift pairs above all others.
SPREADS = (0.0, 0.01, 0.2, 2.0)


def same(found: Matches, expected: Matches) -> bool:
    """Whether every field but the moments is equal."""
    fields = [f for f in found.__dataclass_fields__ if f not in ("mean", "variance", "pairs", "pairs_score")]
    return all(np.array_equal(getattr(found, f), getattr(expected, f)) for f in fields)


def alone(q: Any, g: Any, ranking: Ranking) -> Matches:
    """The plain reference: a comparison for one ranking, by NumPy."""
    return compare_all(
        *(q, g),
        top_k=ranking.top_k,
        best_queries=ranking.best_queries,
        top_pairs=ranking.top_pairs,
        query_offset=ranking.query_offset,
        gallery_offset=ranking.gallery_offset,
        backend="numpy",
    )


@for_every_backend
@given(worlds(), st.data())
@examples(80)
def test_each_ranking_is_that_of_a_comparison_of_its_own(
    name: str, world: tuple[Any, ...], data: st.DataObject
) -> None:
    q, g, qo, go, k, n_top = world
    spread = data.draw(st.sampled_from(SPREADS))
    rankings = [
        Ranking(k, data.draw(st.booleans()), n_top),
        Ranking(data.draw(st.integers(0, 5)), True, data.draw(st.integers(0, 9)), spread * qo, spread * go),
    ]
    if data.draw(st.booleans()):
        rankings.reverse()
    backend = BACKENDS[name](data.draw(st.integers(1, 50)), data.draw(st.integers(1, 70)))
    found = compare_rankings(q, g, rankings, backend=backend)
    assert all(same(matches, alone(q, g, ranking)) for matches, ranking in zip(found, rankings, strict=True))


@for_every_backend
@pytest.mark.parametrize("after", [1, 3, 6])
def test_a_killed_pass_resumes_both_rankings(tmp_path: Path, after: int, name: str) -> None:
    rng = np.random.default_rng(5)
    q, g = unit_rows(rng, 100, 24), unit_rows(rng, 80, 24)
    rankings = [Ranking(4, True, 10), Ranking(2, True, 5, rng.normal(size=100) * 0.1, rng.normal(size=80) * 0.1)]
    backend = BACKENDS[name](16, 96)
    with pytest.raises(Killed):
        compare_rankings(
            q, g, rankings, backend=backend, progress=killed_at(after), checkpoint=Checkpoint(tmp_path / "c.npz", "", 0)
        )
    done: list[int] = []
    again = compare_rankings(
        q, g, rankings, backend=backend, progress=done.append, checkpoint=Checkpoint(tmp_path / "c.npz", "", 0)
    )
    assert sum(done) == 100 * 80 and all(n >= 0 for n in done), "each pair is reported once, however many passes"
    assert done[0] > 0 or after == 1, "finished panels should not be compared again"
    assert all(same(matches, alone(q, g, ranking)) for matches, ranking in zip(again, rankings, strict=True))


@pytest.mark.skipif(not kernels(), reason="no compiled kernel")
def test_the_kernel_ranks_by_at_most_two_scores() -> None:
    rows = unit_rows(np.random.default_rng(0), 9, 4)
    with pytest.raises(SettingError, match="at most 2 scores, got 3"):
        compare_rankings(rows, rows, [Ranking()] * 3, backend="native")
