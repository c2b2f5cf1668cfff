"""Forecasts of where a query's list ends: they save exact scores, and a wrong one changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.builders import unit_rows
from tests.compare.builders import Killed, check, killed_at, needs_kernel
from unveil import native
from unveil.compare import Checkpoint, compare_all
from unveil.compare.backend_native import PANEL_ROWS, NativeBackend
from unveil.compare.forecast import Forecast
from unveil.compare.topk import QuerySpec
from unveil.types import Floats, Matches


def backend(pilot_rows: int, panel_rows: int = PANEL_ROWS) -> NativeBackend:
    library, _ = native.load()
    assert library is not None
    return NativeBackend(library, library.best, 2, panel_rows, pilot_rows=pilot_rows)


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of exact scores of each tile."""
    counts: list[int] = []
    take_pairs = native.Library.take_pairs

    def counted(self: native.Library, job: Any, query: int, row: int, score: int) -> None:
        counts.append(job.n_scored) if not query else None
        take_pairs(self, job, query, row, score)

    monkeypatch.setattr(native.Library, "take_pairs", counted)
    return counts


def same(a: Matches, b: Matches) -> bool:
    return all(
        getattr(a, field) is getattr(b, field) or np.array_equal(getattr(a, field), getattr(b, field))
        for field in a.__dataclass_fields__
    )


@needs_kernel
@pytest.mark.parametrize("k", [1, 10])
def test_a_forecast_saves_exact_scores_and_changes_nothing(scored: list[int], k: int) -> None:
    rng = np.random.default_rng(0)
    q, g = unit_rows(rng, 4_000, 64), unit_rows(rng, 8_000, 64)
    qo, go = rng.normal(size=len(q)) * 0.05, rng.normal(size=len(g)) * 0.05
    arguments: dict[str, Any] = {"top_k": k, "query_offset": qo, "gallery_offset": go, "moments": False}
    arguments["best_queries"] = False
    without = compare_all(q, g, **arguments, backend=backend(len(q)))
    n_without = sum(scored)
    scored.clear()
    assert same(compare_all(q, g, **arguments, backend=backend(200)), without)
    assert sum(scored) < 0.6 * n_without


@needs_kernel
def test_lists_that_end_below_their_forecast_are_made_again(scored: list[int]) -> None:
    """The first queries have near-duplicates in the gallery, the others have none: every forecast is too high."""
    rng = np.random.default_rng(0)
    q, g = unit_rows(rng, 400, 32), unit_rows(rng, 2_000, 32)
    for i in range(40):
        g[20 * i : 20 * i + 20] = q[i]
    qo, go = rng.normal(size=len(q)) * 0.2, rng.normal(size=len(g)) * 1e-3
    matches = compare_all(
        *(q, g),
        top_k=10,
        top_pairs=50,
        threshold=0.9,
        query_offset=qo,
        gallery_offset=go,
        backend=backend(40, panel_rows=100),
    )
    check(matches, q, g, 10, 50, 0.9, qo, go)
    # The pilot, four panels, and at least the first of them twice more.
    assert len(scored) >= 7


@needs_kernel
@pytest.mark.parametrize("tile", [None, 3, 20])
def test_few_lists_that_end_low_are_made_again_together(scored: list[int], tmp_path: Path, tile: int | None) -> None:
    """One query of each panel has no gallery row near it, and some lists hold equal rows; also after a kill."""
    rng = np.random.default_rng(1)
    q, g = unit_rows(rng, 2_000, 16), unit_rows(rng, 3_000, 16)
    g[100:140] = g[0]
    q[200::100] = -g.mean(0) / np.linalg.norm(g.mean(0))
    go = np.where(g @ q[200] > 0.2, -1.0, 0.0)
    arguments: dict[str, Any] = {"top_k": 7, "top_pairs": 9, "gallery_offset": go, "moments": False}
    expected, few = compare_all(q, g, **arguments, backend="numpy"), backend(200, panel_rows=100)
    if tile is not None:
        with pytest.raises(Killed):
            compare_all(
                q, g, **arguments, backend=few, progress=killed_at(tile), checkpoint=Checkpoint(tmp_path / "c", "", 0)
            )
    scored.clear()
    found = compare_all(q, g, **arguments, backend=few, checkpoint=Checkpoint(tmp_path / "c", "", 0))
    assert same(found, expected)
    if tile is None:  # 20 panels, and few more times of the gallery than the two of all lists that wait
        assert 20 < len(scored) <= 26


def spec(k: int, query_offset: Floats, gallery_offset: Floats) -> QuerySpec:
    return QuerySpec(k, False, 0, None, np.zeros(0), query_offset, gallery_offset, 0)


def test_the_spread_of_scores_is_that_of_all_pairs() -> None:
    rng = np.random.default_rng(0)
    g = (rng.normal(size=(5_000, 100)) * np.linspace(2, 0.1, 100) + 0.3).astype(np.float32)
    g /= np.linalg.norm(g, axis=1, keepdims=True)
    q = g[::50] + 0
    qo, go = rng.normal(size=len(q)), g[:, 0].astype(np.float64) * 0.2
    scores = q.astype(np.float64) @ g.T + qo[:, None] + go
    mean, deviation = Forecast(g, spec(10, qo, go)).spread(q, qo)
    assert np.allclose(mean, scores.mean(1), atol=1e-6)
    assert np.allclose(deviation, scores.std(1), rtol=0.03)


def test_a_forecast_is_a_low_end_of_the_lists_that_were_learnt() -> None:
    rng = np.random.default_rng(0)
    q, g = unit_rows(rng, 600, 48), unit_rows(rng, 3_000, 48)
    none = np.zeros(len(q)), np.zeros(len(g))
    lowest = np.sort(q.astype(np.float64) @ g.T, axis=1)[:, -10]
    forecast = Forecast(g, spec(10, *none))
    learnt, others = slice(0, 300), slice(300, 600)
    assert np.isneginf(forecast.lowest(forecast.spread(q[others], none[0][others]))).all()
    forecast.learn(forecast.spread(q[learnt], none[0][learnt]), lowest[learnt])
    found = forecast.lowest(forecast.spread(q[others], none[0][others]))
    assert 0.9 < (found < lowest[others]).mean() < 1
    assert (lowest[others] - found).mean() < 0.1
