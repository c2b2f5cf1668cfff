"""Several models as one, resamples and matching, on vectors whose truth is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.analysis.worlds import crowd, embedded, unit
from unveil.analysis.comparisons import Comparisons
from unveil.auditor import analyse
from unveil.compare import compare_all, exact_cosine, open_backend
from unveil.config.settings import Settings
from unveil.embedding.fusion import fuse, model_weights, part_cosines
from unveil.images import Location
from unveil.io.run_directory import RunDirectory
from unveil.progress import Silent
from unveil.types import Embedded


def source(vectors: np.ndarray, model_id: str = "m") -> Embedded:
    """Images x0, x1, ... by one model."""
    return replace(embedded(unit(vectors), "x"), model_id=model_id)


def test_fused_cosines_are_the_weighted_mean_of_the_models(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    a, b = source(rng.normal(size=(30, 16)), model_id="a"), source(rng.normal(size=(30, 8)), model_id="b")
    both = fuse([a, b], ["a", "b"], [0.3, 0.7], tmp_path / "v.npy")
    assert both.vectors.shape == (30, 24) and np.allclose(np.linalg.norm(both.vectors, axis=1), 1, atol=1e-6)
    q, g = rng.integers(30, size=(2, 50))
    each = [exact_cosine(s.vectors, s.vectors, q, g) for s in (a, b)]
    assert np.allclose(exact_cosine(both.vectors, both.vectors, q, g), 0.3 * each[0] + 0.7 * each[1], atol=1e-6)
    assert np.allclose(part_cosines(both, both, q, g), np.column_stack(each), atol=1e-6)
    other = fuse([a, b], ["a", "b"], [0.4, 0.6], tmp_path / "w.npy")
    assert other.model_id != both.model_id and other.fingerprint != both.fingerprint


def test_weights_make_the_models_spread_equally() -> None:
    rng = np.random.default_rng(2)
    narrow = embedded(unit(crowd(rng, 300, pull=3)), "x")
    wide = embedded(unit(rng.normal(size=(300, 8))), "y")
    weights = model_weights([narrow, wide], rng)
    assert sum(weights) == pytest.approx(1)

    def spread(e: Embedded) -> float:
        cosine = e.vectors @ e.vectors.T
        return float(cosine[~np.eye(300, dtype=bool)].std())

    assert weights[0] * spread(narrow) == pytest.approx(weights[1] * spread(wide), rel=0.05)


def test_a_look_alike_by_one_model_alone_does_not_pass_both(tmp_path: Path) -> None:
    """A hundred pairs that model A takes for one person and B does not, and one that both do."""
    rng = np.random.default_rng(3)
    n = 200
    t = [rng.normal(size=(n, 64)) for _ in range(2)]
    s = [rng.normal(size=(n, 64)) for _ in range(2)]
    s[0][:100] = t[0][:100] + 0.6 * rng.normal(size=(100, 64))
    for k in range(2):
        s[k][150] = t[k][150] + 0.6 * rng.normal(size=64)
    fused = [
        fuse([source(x[0]), source(x[1])], ["a", "b"], [0.5, 0.5], tmp_path / f"{i}.npy") for i, x in enumerate((s, t))
    ]
    alone = compare_all(unit(s[0]), unit(t[0]), top_pairs=1, top_k=1)
    assert (alone.score[:100, 0] > 0.7).sum() > 50
    both = compare_all(fused[0].vectors, fused[1].vectors, top_pairs=2, top_k=1)
    assert both.top_pairs[0].tolist() == [150, 150]
    assert both.top_pairs_score[0] - both.top_pairs_score[1] > 0.2


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(Location("s"), Location("t"), tmp_path / "o", backend="numpy", resamples=5)


def test_resamples_show_what_depends_on_them(settings: Settings) -> None:
    """Training people have six images and control people three: half are drawn, and half of the leaks with them."""
    rng = np.random.default_rng(4)
    people_t, people_c = [f"t{i // 6}" for i in range(1800)], [f"c{i // 3}" for i in range(900)]
    training, control, synthetic = crowd(rng, 1800), crowd(rng, 900), crowd(rng, 200)
    leaked = rng.permutation(1800)[:60]
    synthetic[:60] = training[leaked] + rng.normal(size=(60, 64)) * 0.05
    compare = Comparisons(RunDirectory(settings.out, {}), open_backend("numpy", 1), Silent())
    s, t, c = (
        embedded(unit(x), n, p)
        for x, n, p in ((synthetic, "s", None), (training, "t", people_t), (control, "c", people_c))
    )
    found = analyse(settings, s, t, c, [], compare, {})
    assert found.calibration is not None
    stability = found.calibration.stability
    assert (
        stability.resamples == 5
        and len(stability.people_significant) == 5
        and len(set(stability.people_significant)) > 1
    )
    assert stability.people_significant[0] == len(found.significant_people) > 10
    assert all(1 <= (p.resamples_significant or 0) <= 5 for p in found.significant_people)
    # About half are in each subsample, so some people are significant in some subsamples only.
    assert any(not p.significant_by and p.resamples_significant for p in found.people)
    again = analyse(settings, s, t, c, [], compare, {})
    assert again.calibration is not None and again.calibration.stability == stability


def test_matching_on_request_keeps_the_leaks(settings: Settings) -> None:
    rng = np.random.default_rng(5)
    training, control, synthetic = crowd(rng, 400), crowd(rng, 700, pull=0.7), crowd(rng, 300)
    synthetic[:40] = training[:40] + rng.normal(size=(40, 64)) * 0.05
    made = [embedded(unit(x), n) for x, n in ((synthetic, "s"), (training, "t"), (control, "c"))]
    s, t, c = (replace(e, quality=rng.normal(size=(len(e), 5))) for e in made)
    settings = replace(settings, match_controls="on")
    compare = Comparisons(RunDirectory(settings.out, {}), open_backend("numpy", 1), Silent())
    found = analyse(settings, s, t, c, [], compare, {})
    assert found.calibration is not None and found.exposures is not None
    balance = found.calibration.balance
    assert balance.prognostic_shift is not None and balance.prognostic_shift_before is not None
    assert abs(balance.prognostic_shift.value) <= abs(balance.prognostic_shift_before.value) + 0.02
    (size,) = [c.figure.value for c in found.checks if c.name == "size of control"]
    assert len(found.exposures.control) == size - balance.control_not_used
    assert len(found.exposures.training) == 400 - balance.training_not_tested
    assert len(found.people) == 400, "people who take no part are ranked"
    assert sum(p.p is None for p in found.people) == balance.training_not_tested
    assert sum(p.person in {f"t{i}" for i in range(40)} for p in found.significant_people) >= 30
