"""Every backend against a brute force in the definition of the score itself."""

from __future__ import annotations

import importlib.util
import tempfile
import weakref
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import unveil
from tests.builders import unit_rows
from tests.engines import LocalEngine
from unveil import native
from unveil.compare import Checkpoint, best_among, best_of_others, compare_all, exact_cosine
from unveil.compare import backend_onnxruntime as portable
from unveil.compare.backend_native import NativeBackend
from unveil.compare.backend_numpy import NumpyBackend
from unveil.compare.backend_onnxruntime import IntegerProduct
from unveil.compare.backend_torch import TorchProduct
from unveil.compare.backends import PAIRS_PER_TASK, Backend, ParallelScorer, open_backend
from unveil.compare.blockwise import BlockwiseBackend
from unveil.compare.distributed import DistributedBackend, TileSizes
from unveil.compare.pruning import DimensionOrder, choose_dimension_order
from unveil.compare.topk import QuerySpec, _order
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
    nq, ng = draw(st.integers(0, 40)), draw(st.integers(0, 110))
    q, g = unit_rows(rng, nq, d), unit_rows(rng, ng, d)
    if nq and ng and draw(st.booleans()):  # planted near-duplicates, exact duplicates and ties
        g[rng.integers(ng, size=ng // 2)] = g[rng.integers(ng)]
        q[rng.integers(nq, size=nq // 3)] = g[rng.integers(ng)]
        g[ng // 2] = near(g[0], rng)
    if ng and d > 1 and draw(st.booleans()):  # rows that stretch any scale: one coordinate holds nearly everything
        g[0] = stretched(d, rng)
        q[: nq // 4] = stretched(d, rng)
    dtype = draw(st.sampled_from([np.float32, np.float16]))
    qo, go = rng.normal(size=nq) * 0.2, rng.normal(size=ng) * 0.2
    if draw(st.booleans()):
        qo[:], go[:] = 0, 0
    return q.astype(dtype), g.astype(dtype), qo, go, draw(st.integers(0, 12)), draw(st.integers(0, 30))


def near(row: Any, rng: np.random.Generator) -> Any:
    """The same direction but for the last bits."""
    return np.nextafter(row, rng.choice([-1, 1], size=row.shape).astype(row.dtype))


def stretched(d: int, rng: np.random.Generator) -> Any:
    row = rng.normal(size=d) * 1e-3
    row[rng.integers(d)] = 1
    return row / np.linalg.norm(row)


def kernels() -> dict[str, Callable[[int, int], Backend]]:
    """Every kernel of the library that runs here, in panels and slabs of a few rows, on several threads."""
    library, why = native.load()
    if library is None:
        pytest.skip(f"no compiled kernel: {why}", allow_module_level=True)

    def backend(kernel: native.Kernel, panel: int, block: int) -> Backend:
        return NativeBackend(library, kernel, 1 + panel % 3, panel, block * 600)

    return {kernel.name: partial(backend, kernel) for kernel in library.kernels if kernel.available}


def multipliers() -> dict[str, Callable[[int, int], Backend]]:
    made: dict[str, Any] = {"onnxruntime": IntegerProduct()}
    if importlib.util.find_spec("torch") is not None:
        import torch

        for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
            made[f"torch {device} single"] = TorchProduct.on(device, False, False)
            made[f"torch {device} half, surveyed"] = TorchProduct.on(device, True, True)
    return {name: partial(lambda m, panel, block: BlockwiseBackend(m, 2, panel, block), made[name]) for name in made}


def tiled(backend: str, panel: int, block: int) -> Backend:
    """Tiles of some rows through an engine, merged from a folder; two blocks along the gallery, whatever the size."""
    folder = tempfile.TemporaryDirectory()
    made = DistributedBackend(
        LocalEngine(panel), backend, open_backend("numpy", 1), folder.name, "work", TileSizes(panel, block, 2), 0
    )
    weakref.finalize(made, folder.cleanup)
    return made


COMPARATORS: dict[str, Callable[[int, int], Backend]] = {
    "numpy": NumpyBackend,
    **kernels(),
    **multipliers(),
    "tiled native": partial(tiled, "native"),
    "tiled onnxruntime": partial(tiled, "onnxruntime"),
}
in_every_comparator = pytest.mark.parametrize("name", COMPARATORS)


@in_every_comparator
@given(worlds(), st.integers(1, 50), st.integers(1, 70))
@settings(max_examples=80, deadline=None)
def test_equals_brute_force_for_any_split(name: str, world: tuple[Any, ...], panel: int, block: int) -> None:
    q, g, qo, go, k, n_top = world
    matches = unveil.compare_all(
        *(q, g),
        top_k=k,
        top_pairs=n_top,
        threshold=0.3,
        tail=[0.1, 0.3, 0.9],
        query_offset=qo,
        gallery_offset=go,
        backend=COMPARATORS[name](panel, block),
    )
    check(matches, q, g, k, n_top, 0.3, qo, go)
    assert matches.tail_counts.tolist() == [(all_scores(q, g, qo, go)[1] >= t).sum() for t in (0.1, 0.3, 0.9)]


@in_every_comparator
@given(worlds(), st.sampled_from(["rows", "columns", "top", "pairs", "tail"]))
@settings(max_examples=40, deadline=None)
def test_each_thing_alone_is_what_it_is_with_the_others(name: str, world: tuple[Any, ...], what: str) -> None:
    q, g, qo, go, _, _ = world
    asked: dict[str, dict[str, Any]] = {
        "rows": {"top_k": 3},
        "columns": {"best_queries": True},
        "top": {"top_pairs": 20},
        "pairs": {"threshold": 0.2},
        "tail": {"tail": [0.25]},
    }
    everything = {key: value for some in asked.values() for key, value in some.items()}
    offsets = {"query_offset": qo, "gallery_offset": go}
    whole = compare_all(q, g, **everything, **offsets, backend="numpy")
    alone = {"top_k": 0, "best_queries": False, **asked[what]}
    part = compare_all(q, g, **alone, **offsets, backend=COMPARATORS[name](16, 32))
    for field in {
        "rows": ("rows", "score", "cosine"),
        "columns": ("best_query", "best_query_score", "best_query_cosine"),
        "top": ("top_pairs", "top_pairs_score", "top_pairs_cosine"),
        "pairs": ("pairs", "pairs_score"),
        "tail": ("tail_counts",),
    }[what]:
        assert np.array_equal(getattr(whole, field), getattr(part, field)), field
    assert part.n_compared == len(q) * len(g)


@pytest.mark.parametrize("name", kernels())
@given(worlds(), st.data())
@settings(max_examples=80, deadline=None)
def test_any_order_of_dimensions_changes_nothing(name: str, world: tuple[Any, ...], data: st.DataObject) -> None:
    q, g, qo, go, k, n_top = world
    d, rng = q.shape[1], np.random.default_rng(0)
    basis, _ = np.linalg.qr(rng.normal(size=(d, d)))
    looks = data.draw(st.sets(st.integers(0, max(0, (d - 1) // 4)), max_size=4).map(sorted))
    order = DimensionOrder(np.ascontiguousarray(basis, np.float32), tuple(4 * look for look in looks))
    base = kernels()[name](24, 50)
    assert isinstance(base, NativeBackend)
    t = data.draw(st.sampled_from([-0.1, 0.3, 0.95]))
    arguments: dict[str, Any] = {"threshold": t, "query_offset": qo, "gallery_offset": go}
    backend = replace(base, order=order)
    check(compare_all(q, g, top_k=k, top_pairs=n_top, **arguments, backend=backend), q, g, k, n_top, t, qo, go)
    pairs = compare_all(q, g, top_k=0, best_queries=False, **arguments, backend=backend).pairs
    assert pairs is not None
    assert np.array_equal(pairs, np.argwhere(all_scores(q, g, qo, go)[1] >= t))


def test_a_survey_spares_exact_scores_and_changes_nothing() -> None:
    pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    q, g = unit_rows(rng, 600, 64), unit_rows(rng, 4000, 64)
    scored = {False: 0, True: 0}
    found = {}
    for surveys in scored:

        def score(queries: Any, gallery: Any, qs: Any, gs: Any, surveys: bool = surveys) -> Floats:
            scored[surveys] += len(qs)
            return exact_cosine(queries, gallery, qs, gs)

        backend = BlockwiseBackend(TorchProduct.on("cpu", False, surveys), 1, 300, 200, score)
        found[surveys] = compare_all(q, g, top_k=5, top_pairs=20, backend=backend)
    for field in found[True].__dataclass_fields__:
        assert np.array_equal(getattr(found[True], field), getattr(found[False], field)), field
    assert scored[True] < 0.7 * scored[False]


def test_many_scores_are_shared_out_among_threads_in_order() -> None:
    rng = np.random.default_rng(0)
    q, g = unit_rows(rng, 50, 32), unit_rows(rng, 50, 32)
    at, to = rng.integers(50, size=(2, 3 * PAIRS_PER_TASK + 7))
    for n in (0, 5, len(at)):
        expected = exact_cosine(q, g, at[:n], to[:n])
        assert np.array_equal(ParallelScorer(exact_cosine, 3)(q, g, at[:n], to[:n]), expected)


@given(st.integers(0, 2**32), st.integers(0, 60), st.integers(1, 5))
@settings(max_examples=100, deadline=None)
def test_pairs_are_sorted_as_by_lexsort(seed: int, n: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    place, g = rng.integers(4, size=n), rng.permutation(n)
    score = rng.integers(levels, size=n) / 7
    assert np.array_equal(_order(place, score, g), np.lexsort((-g, score, place)))
    wide = place * 100_000
    assert np.array_equal(_order(wide, score, g), np.lexsort((-g, score, wide)))


@pytest.mark.gpu
@pytest.mark.parametrize("half", [True, False])
def test_a_gpu_gives_the_same_bytes(half: bool) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    rng = np.random.default_rng(0)
    q, g = unit_rows(rng, 9_001, 512), unit_rows(rng, 20_003, 512)
    g[::100] = q[:201]
    arguments: dict[str, Any] = {
        "top_k": 10,
        "top_pairs": 500,
        "threshold": 0.3,
        "tail": [0.25, 0.3],
        "query_offset": rng.normal(size=len(q)) * 0.05,
        "gallery_offset": rng.normal(size=len(g)) * 0.05,
    }
    whole = compare_all(q, g, **arguments, backend="numpy")
    found = compare_all(q, g, **arguments, backend=BlockwiseBackend(TorchProduct.on("cuda", half), 1, 8192, 8192))
    for field in whole.__dataclass_fields__:
        assert np.array_equal(getattr(whole, field), getattr(found, field)), field


def test_a_sample_finds_an_order_that_pays_and_one_that_does_not() -> None:
    rng = np.random.default_rng(0)
    n, d = 40_000, 256
    spectrum = np.r_[np.ones(64), np.full(d - 64, 0.01)]
    turn, _ = np.linalg.qr(rng.normal(size=(d, d)))
    thin = (rng.normal(size=(n, d)) * spectrum @ turn).astype(np.float32)
    thin /= np.linalg.norm(thin, axis=1, keepdims=True)
    none = np.zeros(n)
    join = QuerySpec(0, False, 0, 0.7, np.zeros(0), none, none, 10**6)
    found = choose_dimension_order(thin, thin, join, (8, 48))
    assert found.looks and found.looks[0] < 160
    flat = unit_rows(rng, n, d)
    top = QuerySpec(1, True, 0, None, np.zeros(0), none, none, 10**6)
    assert choose_dimension_order(flat, flat, top, (8, 48)) == DimensionOrder()
    assert choose_dimension_order(thin[:100], thin[:100], join, (8, 48)) == DimensionOrder(), (
        "too few rows to be worth the turning"
    )


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
    with pytest.raises(SettingError, match="backend 'fast'"):
        compare_all(good, good, backend="fast")
    with pytest.raises(SettingError, match="top_k"):
        compare_all(good, good, top_k=-1)
    with pytest.raises(SettingError, match="threshold"):
        compare_all(good, good, threshold=np.nan)
    for tail in ([0.5, 0.5], [0.5, 0.1], [np.inf]):
        with pytest.raises(SettingError, match="ascending"):
            compare_all(good, good, tail=tail)
    with pytest.raises(VectorError, match="65536"):
        compare_all(np.ones((1, 65537), np.float32) / 256, good)


def test_where_sums_saturate_portable_takes_seven_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    class Saturating:
        def run(self, *_: object) -> list[Any]:
            return [np.full((8, 8), 32 * 32767)]

    monkeypatch.setattr(portable, "_session", lambda *_: Saturating())
    portable.weight_levels.cache_clear()
    assert portable.weight_levels() == portable.NARROW
    monkeypatch.undo()
    rng = np.random.default_rng(0)
    q, g = unit_rows(rng, 70, 129), unit_rows(rng, 90, 129)
    backend = BlockwiseBackend(IntegerProduct(), 1, 40, 24)
    panel = IntegerProduct().panel(q, np.zeros(len(q)))
    assert np.abs(panel.rounded.values).max() == portable.NARROW
    matches = compare_all(q, g, top_k=5, top_pairs=9, threshold=0.3, backend=backend)
    portable.weight_levels.cache_clear()
    check(matches, q, g, 5, 9, 0.3, np.zeros(len(q)), np.zeros(len(g)))


@in_every_comparator
def test_a_pair_on_the_line_is_above_it(name: str) -> None:
    rows = np.tile(np.eye(3, dtype=np.float32), (20, 1))
    found = compare_all(rows, rows, threshold=1.0, tail=[0.0, 1.0], backend=COMPARATORS[name](16, 32))
    assert found.pairs is not None and len(found.pairs) == 60 * 20
    assert found.tail_counts.tolist() == [3600, 1200]


@in_every_comparator
def test_more_pairs_than_wanted_are_refused(name: str) -> None:
    rows = unit_rows(np.random.default_rng(0), 50, 4)
    with pytest.raises(SettingError, match="raise the threshold"):
        compare_all(rows, rows, threshold=-1.1, max_pairs=2499, backend=COMPARATORS[name](20, 30))
    found = compare_all(rows, rows, threshold=-1.1, max_pairs=2500, backend=COMPARATORS[name](20, 30))
    assert found.pairs is not None and len(found.pairs) == 2500


@in_every_comparator
def test_strided_and_read_only_input_is_read_where_it_is(name: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    wide = unit_rows(rng, 60, 32)
    np.save(tmp_path / "rows.npy", wide)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    whole = compare_all(wide[::2], wide[::-1], backend="numpy", threshold=0.1)
    odd = np.frombuffer(b"x" + wide.tobytes(), np.float32, offset=1).reshape(wide.shape)
    for other in (mapped, np.asfortranarray(wide), odd):
        found = compare_all(other[::2], other[::-1], backend=COMPARATORS[name](7, 40), threshold=0.1)
        for field in whole.__dataclass_fields__:
            assert np.array_equal(getattr(whole, field), getattr(found, field)), field


def test_moments_equal_those_of_all_pairs() -> None:
    rng = np.random.default_rng(3)
    q, g = unit_rows(rng, 70, 20), unit_rows(rng, 90, 20)
    all_pairs = q.astype(np.float64) @ g.astype(np.float64).T
    matches = compare_all(q, g)
    assert matches.mean == pytest.approx(all_pairs.mean(), abs=1e-9)
    assert matches.variance == pytest.approx(all_pairs.var(), rel=1e-8)


@in_every_comparator
def test_progress_adds_up_to_every_pair(name: str) -> None:
    rows = unit_rows(np.random.default_rng(0), 90, 16)
    told: list[int] = []
    compare_all(rows, rows[:70], backend=COMPARATORS[name](30, 8), progress=told.append)
    assert sum(told) == 90 * 70 and all(n >= 0 for n in told)
    assert sum(n > 0 for n in told) >= 3, "a panel of queries at a time at least"


class Killed(BaseException):
    pass


@in_every_comparator
@pytest.mark.parametrize("after", [1, 3, 7])
def test_killed_comparison_goes_on_with_the_same_result(tmp_path: Path, after: int, name: str) -> None:
    rng = np.random.default_rng(5)
    q, g = unit_rows(rng, 100, 24), unit_rows(rng, 80, 24)
    backend = COMPARATORS[name](16, 96)
    arguments: dict[str, Any] = {
        "top_k": 4,
        "top_pairs": 10,
        "threshold": 0.4,
        "tail": [0.2, 0.4],
        "backend": backend,
    }
    whole = compare_all(q, g, **arguments)
    assert whole.top_pairs_score[-1] > 0.4, "the test should have something to find"
    tiles = 0

    def kill(n: int) -> None:
        nonlocal tiles
        tiles += n > 0
        if tiles == after:
            raise Killed

    with pytest.raises(Killed):
        compare_all(q, g, **arguments, progress=kill, checkpoint=Checkpoint(tmp_path / "c.npz", "key", 0))
    done: list[int] = []
    again = compare_all(q, g, **arguments, progress=done.append, checkpoint=Checkpoint(tmp_path / "c.npz", "key", 0))
    if after > 1:
        assert done[0] >= (after - 1) * 16 * 80, "finished panels should not be compared again"
    assert sum(done) == 100 * 80
    for field in whole.__dataclass_fields__:
        assert np.array_equal(getattr(whole, field), getattr(again, field)), field


def test_checkpoint_of_something_else_or_damaged_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "c.npz"
    Checkpoint(path, "one", 0).save(lambda: {"done": np.array(3)}, done=True)
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
