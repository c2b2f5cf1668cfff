"""The reference engine against a brute force in the definition of the score itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import unveil
from tests.builders import unit_rows
from unveil.compare import Checkpoint, best_among, best_of_others, compare_all, exact_cosine, reference
from unveil.errors import SettingError, VectorError
from unveil.types import Floats, Matches


def all_scores(q: Any, g: Any, qo: Floats, go: Floats) -> tuple[Floats, Floats]:
    rows, cols = np.divmod(np.arange(len(q) * len(g)), max(1, len(g)))
    cosine = exact_cosine(q, g, rows, cols)
    return cosine.reshape(len(q), len(g)), (cosine + qo[rows] + go[cols]).reshape(len(q), len(g))


def check(matches: Matches, q: Any, g: Any, k: int, n_top: int, t: float, qo: Floats, go: Floats) -> None:
    cosine, score = all_scores(q, g, qo, go)
    k, n_top = min(k, len(g)), min(n_top, score.size)
    order = np.lexsort((np.broadcast_to(np.arange(len(g)), score.shape), -score), axis=1)[:, :k]
    assert np.array_equal(matches.rows, order)
    assert np.array_equal(matches.score, np.take_along_axis(score, order, 1))
    assert np.array_equal(matches.cosine, np.take_along_axis(cosine, order, 1))
    if len(q):
        best = score.argmax(0)
        assert np.array_equal(matches.best_query, best)
        assert np.array_equal(matches.best_query_score, score[best, np.arange(len(g))])
        assert np.array_equal(matches.best_query_cosine, cosine[best, np.arange(len(g))])
    else:
        assert (matches.best_query == -1).all()
    flat = np.argsort(-score.ravel(), kind="stable")[:n_top]
    assert np.array_equal(matches.top_pairs, np.column_stack(np.divmod(flat, max(1, len(g)))))
    assert np.array_equal(matches.top_pairs_score, score.ravel()[flat])
    assert matches.pairs is not None and matches.pairs_score is not None
    assert np.array_equal(matches.pairs, np.argwhere(score >= t))
    assert np.array_equal(matches.pairs_score, score[score >= t])
    assert matches.n_compared == len(q) * len(g)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Any, ...]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    d = draw(st.sampled_from([1, 3, 8, 9, 128, 129, 512]))
    nq, ng = draw(st.integers(0, 40)), draw(st.integers(0, 60))
    q, g = unit_rows(rng, nq, d), unit_rows(rng, ng, d)
    if nq and ng and draw(st.booleans()):  # planted near-duplicates, exact duplicates and ties
        g[rng.integers(ng, size=ng // 2)] = g[rng.integers(ng)]
        q[rng.integers(nq, size=nq // 3)] = g[rng.integers(ng)]
    if ng and d > 1 and draw(st.booleans()):  # a row that stretches any scale: one coordinate holds nearly everything
        g[0] = 0
        g[0, 0] = 1
    dtype = draw(st.sampled_from([np.float32, np.float16]))
    qo, go = rng.normal(size=nq) * 0.2, rng.normal(size=ng) * 0.2
    if draw(st.booleans()):
        qo[:], go[:] = 0, 0
    return q.astype(dtype), g.astype(dtype), qo, go, draw(st.integers(1, 12)), draw(st.integers(0, 30))


@given(worlds(), st.integers(1, 50), st.integers(1, 70))
@settings(max_examples=120, deadline=None)
def test_equals_brute_force_for_any_block_size(world: tuple[Any, ...], panel: int, block: int) -> None:
    q, g, qo, go, k, n_top = world
    limited = reference.Settings(min(k, len(g)), min(n_top, len(q) * len(g)), 0.3, qo, go, 10**9, panel, block)
    check(reference.run(q, g, limited, lambda _: None, None), q, g, k, n_top, 0.3, qo, go)


@given(worlds())
@settings(max_examples=40, deadline=None)
def test_public_function_equals_brute_force(world: tuple[Any, ...]) -> None:
    q, g, qo, go, k, n_top = world
    matches = unveil.compare_all(
        q, g, top_k=k, top_pairs=n_top, threshold=0.3, query_offset=qo, gallery_offset=go, engine="reference"
    )
    check(matches, q, g, k, n_top, 0.3, qo, go)


def test_score_is_the_float64_dot_product() -> None:
    rng = np.random.default_rng(0)
    q, g = unit_rows(rng, 20, 131), unit_rows(rng, 20, 131)
    cosine, _ = all_scores(q, g, np.zeros(20), np.zeros(20))
    assert np.allclose(cosine, q.astype(np.float64) @ g.astype(np.float64).T, rtol=0, atol=1e-15)


def test_equal_scores_are_ordered_by_row_then_query() -> None:
    g = np.tile(np.array([[1, 0], [0, 1]], np.float32), (3, 1))
    matches = compare_all(g[:4], g, top_k=4, top_pairs=5)
    assert matches.rows[0].tolist() == [0, 2, 4, 1]
    assert matches.rows[1].tolist() == [1, 3, 5, 0]
    assert matches.best_query.tolist() == [0, 1, 0, 1, 0, 1]
    assert matches.top_pairs.tolist() == [[0, 0], [0, 2], [0, 4], [1, 1], [1, 3]]


def test_strided_and_read_only_input() -> None:
    rng = np.random.default_rng(1)
    wide = unit_rows(rng, 60, 32)
    strided = wide[::2]
    frozen = np.ascontiguousarray(strided)
    frozen.flags.writeable = False
    a, b = compare_all(strided, strided), compare_all(frozen, frozen)
    assert np.array_equal(a.rows, b.rows) and np.array_equal(a.score, b.score)
    fortran = np.asfortranarray(frozen)
    assert np.array_equal(compare_all(fortran, fortran).score, a.score)


@pytest.mark.parametrize(
    ("value", "told"),
    [(np.nan, "row 3 is not finite"), (np.inf, "row 3 is not finite"), (0.0, "row 3 is zero"), (2.0, "row 3 has norm")],
)
@pytest.mark.parametrize("side", ["queries", "gallery"])
def test_refuses_bad_rows_with_their_number(value: float, told: str, side: str) -> None:
    good = unit_rows(np.random.default_rng(0), 5, 4)
    bad = good.copy()
    bad[3] = value
    with pytest.raises(VectorError, match=f"{side} {told}"):
        compare_all(bad if side == "queries" else good, bad if side == "gallery" else good)


def test_refuses_other_shapes_types_and_settings() -> None:
    good = unit_rows(np.random.default_rng(0), 5, 4)
    with pytest.raises(VectorError, match="float32 or float16"):
        compare_all(good.astype(np.float64), good)
    with pytest.raises(VectorError, match=r"\(N, D\)"):
        compare_all(good[0], good)
    with pytest.raises(VectorError, match="one model"):
        compare_all(good, unit_rows(np.random.default_rng(0), 5, 3))
    with pytest.raises(VectorError, match="query_offset"):
        compare_all(good, good, query_offset=np.zeros(4))
    with pytest.raises(VectorError, match="gallery_offset"):
        compare_all(good, good, gallery_offset=np.full(5, np.nan))
    with pytest.raises(SettingError, match="engine 'fast'"):
        compare_all(good, good, engine="fast")
    with pytest.raises(SettingError, match="top_k"):
        compare_all(good, good, top_k=0)
    with pytest.raises(SettingError, match="raise the threshold"):
        compare_all(good, good, threshold=-1.0, max_pairs=24)


def test_moments_equal_those_of_all_pairs() -> None:
    rng = np.random.default_rng(3)
    q, g = unit_rows(rng, 70, 20), unit_rows(rng, 90, 20)
    all_pairs = q.astype(np.float64) @ g.astype(np.float64).T
    matches = compare_all(q, g)
    assert matches.mean == pytest.approx(all_pairs.mean(), abs=1e-9)
    assert matches.variance == pytest.approx(all_pairs.var(), rel=1e-8)


class Killed(BaseException):
    pass


@pytest.mark.parametrize("after", [1, 3, 7])
def test_killed_comparison_goes_on_with_the_same_result(tmp_path: Path, after: int, monkeypatch: Any) -> None:
    rng = np.random.default_rng(5)
    q, g = unit_rows(rng, 100, 24), unit_rows(rng, 80, 24)
    arguments: dict[str, Any] = {"top_k": 4, "top_pairs": 10, "threshold": 0.4}

    def settings_with_small_panels(**values: Any) -> reference.Settings:
        return reference.Settings(**values, query_panel=16)

    monkeypatch.setattr("unveil.compare.api.Settings", settings_with_small_panels)
    whole = compare_all(q, g, **arguments)
    panels = 0

    def kill(_: int) -> None:
        nonlocal panels
        panels += 1
        if panels == after:
            raise Killed

    with pytest.raises(Killed):
        compare_all(q, g, **arguments, progress=kill, checkpoint=Checkpoint(tmp_path / "c.npz", "key", 0))
    done: list[int] = []
    again = compare_all(q, g, **arguments, progress=done.append, checkpoint=Checkpoint(tmp_path / "c.npz", "key", 0))
    if after > 1:
        assert done[0] == (after - 1) * 16 * 80, "finished panels should not be compared again"
    assert sum(done) == 100 * 80
    for name in whole.__dataclass_fields__:
        assert np.array_equal(getattr(whole, name), getattr(again, name)), name


def test_checkpoint_of_something_else_or_damaged_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "c.npz"
    Checkpoint(path, "one", 0).save({"done": np.array(3)}, done=True)
    assert Checkpoint(path, "one").load() is not None
    assert Checkpoint(path, "two").load() is None
    path.write_bytes(path.read_bytes()[:-20])
    assert Checkpoint(path, "one").load() is None
    assert Checkpoint(tmp_path / "none.npz", "one").load() is None


@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 80), st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_best_of_others_and_best_among(seed: int, nq: int, ng: int, n_people: int) -> None:
    rng = np.random.default_rng(seed)
    q, g = unit_rows(rng, nq, 6), unit_rows(rng, ng, 6)
    own = [f"p{i}" for i in rng.integers(n_people, size=nq)]
    theirs = [f"p{i}" for i in rng.integers(n_people, size=ng)]
    qo, go = rng.normal(size=nq), rng.normal(size=ng)
    _, score = all_scores(q, g, qo, go)

    other = np.array(own)[:, None] != np.array(theirs)[None]
    rows, best = best_of_others(q, own, g, theirs, qo, go)
    masked = np.where(other, score, -np.inf)
    assert np.array_equal(best, masked.max(1))
    assert np.array_equal(rows, np.where(other.any(1), masked.argmax(1), -1))

    allowed = np.flatnonzero(rng.random(ng) < 0.3)
    found = compare_all(q, g, top_k=3, query_offset=qo, gallery_offset=go)
    rows, best = best_among(found, q, g, allowed, qo, go)
    if len(allowed):
        assert np.array_equal(best, score[:, allowed].max(1))
        assert np.array_equal(rows, allowed[score[:, allowed].argmax(1)])
    else:
        assert (rows == -1).all() and np.isneginf(best).all()
