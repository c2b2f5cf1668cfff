"""The table of backends, and what is particular to one of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_info

from tests.builders import examples, unit_rows
from tests.compare.builders import check
from unveil.choices import BACKENDS
from unveil.compare import compare_all, describe, exact_cosine, open_backend
from unveil.compare.backend_onnxruntime import NARROW, WIDE, IntegerProduct, probe_levels
from unveil.compare.backend_torch import TorchProduct, single_precision_sums
from unveil.compare.backends import REGISTRY
from unveil.compare.blockwise import BlockwiseBackend
from unveil.compare.pruning import DimensionOrder, choose_dimension_order
from unveil.compare.scoring import PAIRS_PER_CALL, ParallelScorer
from unveil.compare.topk import QuerySpec, worst_first
from unveil.errors import SettingError
from unveil.stats.blas import single_blas_thread
from unveil.types import Floats


def test_every_backend_is_described_and_opens_or_says_why_not() -> None:
    assert BACKENDS == ("auto", *REGISTRY) == ("auto", "native", "onnxruntime", "torch", "numpy")
    assert [name for name, _ in describe()] == list(BACKENDS) and all(text for _, text in describe())
    rows = unit_rows(np.random.default_rng(0), 9, 5)
    found = {}
    for name in BACKENDS:
        try:
            found[name] = compare_all(rows, rows, top_k=2, backend=name).score
        except SettingError as error:
            assert name in ("native", "torch") and f"backend {name} needs" in str(error)
    assert {"auto", "onnxruntime", "numpy"} <= set(found)
    assert all(np.array_equal(score, found["numpy"]) for score in found.values())
    with pytest.raises(SettingError, match=r"backend should be one of auto, native.*got 'fast'"):
        open_backend("fast", 1)


@pytest.mark.parametrize(("error", "levels"), [(0, WIDE), (-1, NARROW)])
def test_a_product_that_saturates_gets_seven_bits(error: int, levels: int) -> None:
    class Session:
        def run(self, *_: object) -> list[Any]:
            return [np.full((8, 8), 127 * 127 * 64 + error)]

    assert probe_levels(lambda *_: Session()) == levels


def test_seven_bits_miss_nothing() -> None:
    rng = np.random.default_rng(0)
    q, g = unit_rows(rng, 70, 129), unit_rows(rng, 90, 129)
    product = IntegerProduct(NARROW)
    assert np.abs(product.panel(q, np.zeros(len(q))).quantised.values).max() == NARROW
    backend = BlockwiseBackend(product, 1, 40, 24)
    matches = compare_all(q, g, top_k=5, top_pairs=9, threshold=0.3, backend=backend)
    check(matches, q, g, 5, 9, 0.3, np.zeros(len(q)), np.zeros(len(g)))


def read_precision() -> list[object]:
    import torch

    matmul, mkldnn = torch.backends.cuda.matmul, cast(Any, torch.backends.mkldnn)
    return [
        *(matmul.allow_fp16_reduced_precision_reduction, matmul.allow_tf32, torch.get_float32_matmul_precision()),
        getattr(mkldnn.matmul, "fp32_precision", None),
    ]


@pytest.mark.parametrize("precision", ["medium", "high", "highest"])
def test_settings_of_pytorch_are_those_of_the_process_again(precision: str) -> None:
    torch = pytest.importorskip("torch")
    original = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        before = read_precision()
        with single_precision_sums():
            assert not torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction
            assert getattr(torch.backends.cuda.matmul, "fp32_precision", "ieee") == "ieee"
            assert getattr(torch.backends.mkldnn.matmul, "fp32_precision", "ieee") == "ieee"
        assert read_precision() == before
        with pytest.raises(ZeroDivisionError), single_precision_sums():
            _ = 1 // 0
        assert read_precision() == before
        rows = unit_rows(np.random.default_rng(0), 50, 64)
        by_torch, by_numpy = (compare_all(rows, rows, top_k=3, backend=name).score for name in ("torch", "numpy"))
        assert np.array_equal(by_torch, by_numpy) and read_precision() == before
    finally:
        torch.set_float32_matmul_precision(original)


def test_a_survey_saves_exact_scores_and_changes_nothing() -> None:
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


def test_threads_score_many_pairs_in_order() -> None:
    rng = np.random.default_rng(0)
    q, g = unit_rows(rng, 50, 32), unit_rows(rng, 50, 32)
    at, to = rng.integers(50, size=(2, 3 * PAIRS_PER_CALL + 7))
    for n in (0, 5, len(at)):
        expected = exact_cosine(q, g, at[:n], to[:n])
        assert np.array_equal(ParallelScorer(exact_cosine, 3)(q, g, at[:n], to[:n]), expected)


@given(st.integers(0, 2**32), st.integers(0, 60), st.integers(1, 5))
@examples(100)
def test_the_fast_order_is_that_of_lexsort(seed: int, n: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    place, g = rng.integers(4, size=n), rng.permutation(n)
    score = rng.integers(levels, size=n) / 7
    assert np.array_equal(worst_first(place, score, g), np.lexsort((-g, score, place)))
    wide = place * 100_000
    assert np.array_equal(worst_first(wide, score, g), np.lexsort((-g, score, wide)))


@given(st.integers(0, 2**32), st.integers(0, 60), st.integers(1, 5))
@examples(100)
def test_the_order_on_a_device_is_that_of_lexsort(seed: int, n: int, levels: int) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(seed)
    place, g = rng.integers(4, size=n), rng.permutation(n)
    score = np.array([-np.inf, -0.0, 0.0, 0.5, np.nextafter(0.5, 1)])[rng.integers(levels, size=n)]
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        order = TorchProduct.on(device).worst_first(place, score, g)
        assert np.array_equal(order, np.lexsort((-g, score, place)))


def test_products_use_one_thread_until_the_last_block_ends() -> None:
    def threads() -> list[int]:
        return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]

    before = threads()
    with single_blas_thread():
        with single_blas_thread():
            assert set(threads()) == {1}
        assert set(threads()) == {1}
    assert threads() == before


def test_a_sample_finds_an_order_that_pays_and_one_that_does_not() -> None:
    rng = np.random.default_rng(0)
    n, d = 40_000, 256
    spectrum = np.r_[np.ones(64), np.full(d - 64, 0.01)]
    turn, _ = np.linalg.qr(rng.normal(size=(d, d)))
    thin = (rng.normal(size=(n, d)) * spectrum @ turn).astype(np.float32)
    thin /= np.linalg.norm(thin, axis=1, keepdims=True)
    none = np.zeros(n)
    join = QuerySpec(0, False, 0, 0.7, np.zeros(0), none, none, 10**6)
    found = choose_dimension_order(thin, thin, [join], (8, 48))
    assert found.checks and found.checks[0] < 160
    flat = unit_rows(rng, n, d)
    top = replace(join, top_k=1, best_queries=True, threshold=None)
    assert choose_dimension_order(flat, flat, [top], (8, 48)) == DimensionOrder()
    too_few = choose_dimension_order(thin[:100], thin[:100], [join], (8, 48))
    assert too_few == DimensionOrder(), "a rotation costs more than it saves"


class _Counted(np.ndarray[Any, Any]):
    """Offsets that count how often all of them are looked at."""

    looks = 0

    def max(self, *args: Any, **kwargs: Any) -> Any:
        _Counted.looks += 1
        return super().max(*args, **kwargs)


@examples(60)
@given(st.lists(st.floats(-3, 3), max_size=9), st.lists(st.floats(-3, 3), max_size=9))
def test_the_largest_offset_is_that_of_the_absolute_values_and_is_looked_for_once(
    q: list[float], g: list[float]
) -> None:
    _Counted.looks = 0
    query_offset, gallery_offset = (np.array(values, np.float64).view(_Counted) for values in (q, g))
    spec = QuerySpec(1, False, 0, None, np.zeros(0), query_offset, gallery_offset, 0)
    expected = sum(max((abs(v) for v in values), default=0.0) for values in (q, g))
    assert spec.max_offset == spec.max_offset == expected and _Counted.looks == 2
