"""Every backend against a brute force in the definition of the score itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import examples, unit_rows
from tests.compare.builders import (
    BACKENDS,
    Killed,
    all_scores,
    check,
    for_every_backend,
    kernels,
    killed_at,
    needs_kernel,
    worlds,
)
from unveil.compare import Checkpoint, api, compare_all
from unveil.compare.backend_native import NativeBackend, moments_by_kernel
from unveil.compare.backend_torch import TorchProduct
from unveil.compare.blockwise import BlockwiseBackend
from unveil.compare.moments import sums_by_numpy
from unveil.compare.pruning import DimensionOrder
from unveil.errors import SettingError, VectorError


@for_every_backend
@given(worlds(), st.integers(1, 50), st.integers(1, 70))
@examples(80)
def test_equals_brute_force_for_any_split(name: str, world: tuple[Any, ...], panel: int, block: int) -> None:
    q, g, qo, go, k, n_top = world
    matches = compare_all(
        *(q, g),
        top_k=k,
        top_pairs=n_top,
        threshold=0.3,
        tail=[0.1, 0.3, 0.9],
        query_offset=qo,
        gallery_offset=go,
        backend=BACKENDS[name](panel, block),
    )
    check(matches, q, g, k, n_top, 0.3, qo, go)
    assert matches.tail_counts.tolist() == [(all_scores(q, g, qo, go)[1] >= t).sum() for t in (0.1, 0.3, 0.9)]


@for_every_backend
@given(worlds(), st.sampled_from(["rows", "columns", "top", "pairs", "tail"]))
@examples(40)
def test_each_result_alone_is_the_same_as_with_the_others(name: str, world: tuple[Any, ...], what: str) -> None:
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
    part = compare_all(q, g, **alone, **offsets, backend=BACKENDS[name](16, 32))
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
@examples(80)
def test_any_order_of_dimensions_changes_nothing(name: str, world: tuple[Any, ...], data: st.DataObject) -> None:
    q, g, qo, go, k, n_top = world
    d, rng = q.shape[1], np.random.default_rng(0)
    basis, _ = np.linalg.qr(rng.normal(size=(d, d)))
    checks = data.draw(st.sets(st.integers(0, max(0, (d - 1) // 4)), max_size=4).map(sorted))
    order = DimensionOrder(np.ascontiguousarray(basis, np.float32), tuple(4 * check for check in checks))
    base = kernels()[name](24, 50)
    assert isinstance(base, NativeBackend)
    t = data.draw(st.sampled_from([-0.1, 0.3, 0.95]))
    arguments: dict[str, Any] = {"threshold": t, "query_offset": qo, "gallery_offset": go}
    backend = replace(base, order=order)
    check(compare_all(q, g, top_k=k, top_pairs=n_top, **arguments, backend=backend), q, g, k, n_top, t, qo, go)
    pairs = compare_all(q, g, top_k=0, best_queries=False, **arguments, backend=backend).pairs
    assert pairs is not None
    assert np.array_equal(pairs, np.argwhere(all_scores(q, g, qo, go)[1] >= t))


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
    product = TorchProduct.on("cuda", half)
    backend = BlockwiseBackend(product, 1, 8192, 8192, order=product.worst_first)
    found = compare_all(q, g, **arguments, backend=backend)
    for field in whole.__dataclass_fields__:
        assert np.array_equal(getattr(whole, field), getattr(found, field)), field


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
    ("value", "message"),
    [(np.nan, "row 3 is not finite"), (np.inf, "row 3 is not finite"), (0.0, "row 3 is zero"), (2.0, "row 3 has norm")],
)
@pytest.mark.parametrize("side", ["queries", "gallery"])
def test_refuses_bad_rows_with_their_number(value: float, message: str, side: str) -> None:
    good = unit_rows(np.random.default_rng(0), 5, 4)
    bad = good.copy()
    bad[3] = value
    with pytest.raises(VectorError, match=f"{side} should have finite rows of norm 1, and {message}"):
        compare_all(bad if side == "queries" else good, bad if side == "gallery" else good)


@given(st.integers(0, 2**32), st.sampled_from([1, 3, 512, 5000]), st.sampled_from([np.float32, np.float16]))
@examples(60)
def test_rows_are_refused_by_their_norm_in_double_precision(seed: int, d: int, dtype: Any) -> None:
    rng = np.random.default_rng(seed)
    rows = unit_rows(rng, 20, d)
    tolerance = api.NORM_TOLERANCE
    by = rng.choice([1, 1 - tolerance, 1 + tolerance, 1 - tolerance / 2, 1.003, np.inf, np.nan, 1e30, 1e-30], size=20)
    by *= 1 + rng.choice([0, 1e-3, -1e-3, 1e-7, -1e-7, 1e-6, -1e-6], size=20)
    with np.errstate(all="ignore"):
        rows = (rows * by[:, None]).astype(dtype)
        norms = np.sqrt(np.square(rows.astype(np.float64)).sum(1))
        wrong = np.flatnonzero(~(np.abs(norms - 1) <= tolerance))
    if not len(wrong):
        api.check_vectors(rows, "queries")
        return
    with pytest.raises(VectorError, match=f"and row {wrong[0]} "):
        api.check_vectors(rows, "queries")


def test_refuses_other_shapes_types_and_settings() -> None:
    good = unit_rows(np.random.default_rng(0), 5, 4)
    with pytest.raises(VectorError, match="got list; convert it"):
        compare_all([[1.0, 0.0]], unit_rows(np.random.default_rng(0), 3, 2))  # type: ignore[arg-type]
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
    with pytest.raises(SettingError, match="got 'fast'"):
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


@for_every_backend
def test_a_pair_at_the_threshold_counts(name: str) -> None:
    rows = np.tile(np.eye(3, dtype=np.float32), (20, 1))
    found = compare_all(rows, rows, threshold=1.0, tail=[0.0, 1.0], backend=BACKENDS[name](16, 32))
    assert found.pairs is not None and len(found.pairs) == 60 * 20
    assert found.tail_counts.tolist() == [3600, 1200]


@for_every_backend
def test_too_many_pairs_are_an_error(name: str) -> None:
    rows = unit_rows(np.random.default_rng(0), 50, 4)
    with pytest.raises(SettingError, match="Raise the threshold"):
        compare_all(rows, rows, threshold=-1.1, max_pairs=2499, backend=BACKENDS[name](20, 30))
    found = compare_all(rows, rows, threshold=-1.1, max_pairs=2500, backend=BACKENDS[name](20, 30))
    assert found.pairs is not None and len(found.pairs) == 2500


@for_every_backend
def test_strided_unaligned_and_read_only_input_gives_the_same_result(name: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    wide = unit_rows(rng, 60, 32)
    np.save(tmp_path / "rows.npy", wide)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    whole = compare_all(wide[::2], wide[::-1], backend="numpy", threshold=0.1)
    odd = np.frombuffer(b"x" + wide.tobytes(), np.float32, offset=1).reshape(wide.shape)
    for other in (mapped, np.asfortranarray(wide), odd):
        found = compare_all(other[::2], other[::-1], backend=BACKENDS[name](7, 40), threshold=0.1)
        for field in whole.__dataclass_fields__:
            assert np.array_equal(getattr(whole, field), getattr(found, field)), field


@needs_kernel
@given(st.integers(0, 2**32), st.integers(1, 300), st.sampled_from([1, 3, 47, 128, 512]), st.booleans())
@examples(30)
def test_the_moments_of_the_kernel_are_those_of_numpy(seed: int, n: int, d: int, half: bool) -> None:
    rng = np.random.default_rng(seed)
    rows = np.asfortranarray(unit_rows(rng, n, d).astype(np.float16 if half else np.float32))
    found, expected = moments_by_kernel(rows), sums_by_numpy(rows)
    assert found is not None
    for mine, theirs in zip(found, expected, strict=True):
        assert np.allclose(mine, theirs, rtol=0, atol=1e-13 * n)
    # Each product is exact, and rows are added in turn: the same bits as one by one.
    exact = rows.astype(np.float64)
    assert np.array_equal(found[1][0], np.add.accumulate(exact[:, :1] * exact)[-1])


def test_moments_equal_those_of_all_pairs() -> None:
    rng = np.random.default_rng(3)
    q, g = unit_rows(rng, 70, 20), unit_rows(rng, 90, 20)
    all_pairs = q.astype(np.float64) @ g.astype(np.float64).T
    matches = compare_all(q, g)
    assert matches.mean == pytest.approx(all_pairs.mean(), abs=1e-9)
    assert matches.variance == pytest.approx(all_pairs.var(), rel=1e-8)


@for_every_backend
def test_progress_adds_up_to_every_pair(name: str) -> None:
    rows = unit_rows(np.random.default_rng(0), 90, 16)
    reported: list[int] = []
    compare_all(rows, rows[:70], backend=BACKENDS[name](30, 8), progress=reported.append)
    assert sum(reported) == 90 * 70 and all(n >= 0 for n in reported)
    assert sum(n > 0 for n in reported) >= 3, "a panel of queries at a time at least"


@for_every_backend
@pytest.mark.parametrize("after", [1, 3, 7])
def test_a_killed_comparison_resumes_with_the_same_result(tmp_path: Path, after: int, name: str) -> None:
    rng = np.random.default_rng(5)
    q, g = unit_rows(rng, 100, 24), unit_rows(rng, 80, 24)
    backend = BACKENDS[name](16, 96)
    arguments: dict[str, Any] = {
        "top_k": 4,
        "top_pairs": 10,
        "threshold": 0.4,
        "tail": [0.2, 0.4],
        "backend": backend,
    }
    whole = compare_all(q, g, **arguments)
    assert whole.top_pairs_score[-1] > 0.4, "the test should have something to find"
    with pytest.raises(Killed):
        compare_all(q, g, **arguments, progress=killed_at(after), checkpoint=Checkpoint(tmp_path / "c.npz", "key", 0))
    done: list[int] = []
    again = compare_all(q, g, **arguments, progress=done.append, checkpoint=Checkpoint(tmp_path / "c.npz", "key", 0))
    if after > 1:
        # The kernels begin with a panel of two queries.
        assert done[0] >= (2 + (after - 2) * 16) * 80, "finished panels should not be compared again"
    assert sum(done) == 100 * 80
    for field in whole.__dataclass_fields__:
        assert np.array_equal(getattr(whole, field), getattr(again, field)), field
