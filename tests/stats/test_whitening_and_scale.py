"""Whitening by the synthetic set and the scale on which channels meet."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import gumbel_r

from tests.builders import examples
from unveil.stats.conformal import conformal_p
from unveil.stats.score_scale import (
    ScoreScale,
    fit_score_scale,
    fit_score_scales,
    leading_channel,
    max_over_channels,
    of_channel,
)
from unveil.stats.whitening import MIN_IMAGES, RIDGE, fit_whitening


def unit(x: np.ndarray) -> np.ndarray:
    return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True), np.float32)


def test_whitening_is_the_inverse_root_of_the_ridged_covariance() -> None:
    rng = np.random.default_rng(0)
    x = unit(rng.normal(size=(400, 6)) * [5, 3, 2, 1, 0.5, 0.1] + [1, 0, 0, 0, 0, 0])
    whitening = fit_whitening(x)
    covariance = np.cov(np.asarray(x, np.float64).T)
    ridged = covariance + RIDGE * np.trace(covariance) / 6 * np.eye(6)
    assert whitening.rows @ ridged @ whitening.rows == pytest.approx(np.eye(6), abs=1e-6)
    assert whitening.centre == pytest.approx(x.mean(0), abs=1e-6)
    whitened = whitening.apply(x)
    assert np.linalg.norm(whitened, axis=1) == pytest.approx(np.ones(400), abs=1e-5) and whitened.dtype == np.float32


def test_a_detail_that_few_images_have_counts_more_than_what_all_share() -> None:
    """Two images that share a rare detail against two that share what varies most among synthetic ones."""
    rng = np.random.default_rng(1)
    spread = np.array([5.0] + [0.5] * 9)
    synthetic = unit(rng.normal(size=(1000, 10)) * spread)
    common, rare = np.zeros((2, 10)), np.zeros((2, 10))
    common[:, 0], rare[:, 9] = 1, 0.6
    noise = rng.normal(size=(2, 10)) * 0.3
    apply = fit_whitening(synthetic).apply
    plain = [float(a @ b) for a, b in (unit(common + noise), unit(rare + noise))]
    whitened = [float(a @ b) for a, b in (apply(unit(common + noise)), apply(unit(rare + noise)))]
    assert plain[0] > plain[1] and whitened[1] > whitened[0]


@pytest.mark.parametrize("n", [1, 2, MIN_IMAGES - 1, MIN_IMAGES, 300])
def test_every_vector_has_a_direction_whatever_the_set(n: int) -> None:
    rng = np.random.default_rng(2)
    for synthetic in (unit(rng.normal(size=(n, 8))), unit(np.tile(rng.normal(size=(1, 8)), (n, 1)))):
        for other in (synthetic, unit(rng.normal(size=(5, 8))), np.asarray(synthetic.mean(0), np.float32)[None]):
            vectors = fit_whitening(synthetic).apply(other)
            assert np.isfinite(vectors).all()
            assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(len(other)), abs=1e-4)


def test_the_scale_puts_the_middle_at_0_and_15_percent_below_minus_1() -> None:
    exposure = 7 + 3 * gumbel_r.ppf((np.arange(1000) + 0.5) / 1000)
    scaled = fit_score_scale(exposure).of(exposure)
    assert np.median(scaled) == pytest.approx(0, abs=0.01) and (scaled < -1).mean() == pytest.approx(0.15, abs=0.001)
    normal = np.random.default_rng(3).normal(7, 3, size=1000)
    scaled = fit_score_scale(normal).of(normal)
    assert np.median(scaled) == pytest.approx(0, abs=0.2) and (scaled < -1).mean() == pytest.approx(0.15, abs=0.02)
    leaking = np.concatenate([exposure, np.full(1000, 50.0)])
    assert (fit_score_scale(leaking).of(np.array([50.0])) > 5).all(), "leaks of half of all people stand out"
    assert fit_score_scale(exposure[:5]) == ScoreScale(0.0, 1.0)
    assert np.isfinite(fit_score_scale(np.full(50, 0.3)).of(exposure)).all(), "people who are all equal"


def test_the_channel_in_which_most_people_stand_out_leads() -> None:
    rng = np.random.default_rng(5)
    silent, loud = rng.normal(size=500), rng.normal(size=500)
    loud[:30] += 6
    first, second = fit_score_scale(silent), fit_score_scale(loud)
    scales = fit_score_scales({"face": silent, "appearance": loud})
    assert scales == {"face": ScoreScale(first.middle, first.spread / 0.5), "appearance": second}
    assert fit_score_scales({"face": loud, "appearance": loud.copy()})["face"] == second, "the first of equals leads"
    assert fit_score_scales({"face": silent}) == {"face": first}
    shuffled = rng.permutation(500)
    assert fit_score_scales({"face": silent[shuffled], "appearance": loud[shuffled]}) == scales, "sides play no part"


def test_a_few_leaks_are_not_outnumbered_by_a_channel_with_a_heavy_tail() -> None:
    """Fifty of 4,000 people leak by appearance; by face nobody does, but more people than these are beyond 3.5."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        face, appearance = rng.gumbel(size=4000), rng.normal(size=4000)
        appearance[:50] += 6
        scaled = {c: fit_score_scale(x).of(x) for c, x in {"face": face, "appearance": appearance}.items()}
        beyond = {c: int((z > 3.5).sum()) for c, z in scaled.items()}
        assert beyond["face"] > beyond["appearance"] >= 40
        assert leading_channel(scaled) == "appearance"
        assert leading_channel({"face": scaled["appearance"], "appearance": scaled["face"]}) == "face"
    assert leading_channel({"face": np.zeros(50), "appearance": np.zeros(50)}) == "face", "the first of equals"


@pytest.mark.parametrize(("n_training", "n_control", "gap"), [(250, 250, 5.0), (300, 200, 8.0), (325, 175, 15.0)])
def test_a_leak_of_all_training_people_does_not_hide_itself(n_training: int, n_control: int, gap: float) -> None:
    """One channel shows every training person, up to 65% of all real people; the other is noise."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        exposures = {
            "face": rng.gumbel(size=n_training + n_control),
            "appearance": rng.normal(size=n_training + n_control),
        }
        exposures["face"][:n_training] += gap
        scaled = {c: fit_score_scale(x).of(x) for c, x in exposures.items()}
        assert leading_channel(scaled) == "face"
        scales = fit_score_scales(exposures)
        score = np.max([scales[c].of(x) for c, x in exposures.items()], axis=0)
        found = conformal_p(score[:n_training], score[n_training:]) <= 0.05
        assert found.mean() > 0.9
        shuffled = rng.permutation(n_training + n_control)
        assert fit_score_scales({c: x[shuffled] for c, x in exposures.items()}) == scales, "sides play no part"


@examples(30)
@given(st.integers(0, 2**32))
def test_one_channel_keeps_its_ranks(seed: int) -> None:
    rng = np.random.default_rng(seed)
    training, control, cohort = rng.normal(size=80), rng.normal(size=60), rng.normal(size=30)
    scale = fit_score_scale(cohort)
    assert np.array_equal(conformal_p(training, control), conformal_p(scale.of(training), scale.of(control)))


def test_the_highest_of_several_channels_is_calibrated_as_one() -> None:
    """Channels of different shape, dependent on each other: false findings stay at their rate, and a leak that one of
    them shows is found."""
    rng = np.random.default_rng(4)
    p_null, found = [], 0
    for _ in range(300):
        common = rng.normal(size=360)
        channels = [
            common + rng.normal(size=360),
            np.exp((common + rng.normal(size=360)) / 4),
            rng.exponential(size=360),
        ]
        leaked = np.zeros(360)
        leaked[0] = 15
        channels[2] = channels[2] + leaked
        scales = fit_score_scales({str(i): c for i, c in enumerate(channels)})
        score = np.max([scales[str(i)].of(c) for i, c in enumerate(channels)], axis=0)
        p = conformal_p(score[:160], score[160:260])
        p_null.append(p[1])
        found += p[0] <= 1 / 101
    levels = np.array([0.01, 0.05, 0.1, 0.5])
    assert (np.mean(np.array(p_null)[:, None] <= levels, axis=0) <= levels + 3 * np.sqrt(levels / 300)).all()
    assert found > 200


@pytest.mark.parametrize("n", [1, 2, 3])
def test_the_best_channel_of_each(n: int) -> None:
    """Ties go to the first."""
    scores = np.random.default_rng(0).integers(0, 3, size=(n, 20)).astype(np.float64)
    rows = np.arange(20 * n).reshape(n, 20)
    channel, best = max_over_channels(list(scores))
    assert channel.tolist() == [max(range(n), key=lambda c: scores[c, i]) for i in range(20)]
    assert best.tolist() == [scores[channel[i], i] for i in range(20)]
    assert of_channel(channel, list(rows)).tolist() == [rows[channel[i], i] for i in range(20)]
