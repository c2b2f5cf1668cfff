"""The learned score in an audit: what it finds beside the score of the audit, and where it is not used."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.analysis.worlds import DIMENSION, embedded, unit
from unveil.analysis.comparisons import Comparisons
from unveil.analysis.findings import Findings
from unveil.analysis.learned import OF_DIFFERENCES
from unveil.auditor import analyse
from unveil.compare import open_backend
from unveil.config.settings import Settings
from unveil.images import Location
from unveil.io.run_directory import RunDirectory
from unveil.progress import Silent
from unveil.stats.checks import Check
from unveil.stats.statements import AGAINST_CONTROL
from unveil.types import ChannelVectors, Embedded, Estimate, Floats, Ints

N = 120
LEARNED = "learned score"


def with_appearance(face: Floats, appearance: Floats, prefix: str, people: list[str] | None = None) -> Embedded:
    made = embedded(unit(face), prefix, people)
    return replace(made, views=(ChannelVectors("appearance", unit(appearance), "looks"),))


def world(rng: np.random.Generator) -> tuple[Embedded, Embedded, Embedded]:
    """Synthetic, training and control images. The looks of synthetic and training images spread in the same directions,
    and none is a copy; their faces are noise."""
    directions = rng.normal(size=(6, DIMENSION))

    def noise(n: int) -> Floats:
        return np.asarray(rng.normal(size=(n, DIMENSION)))

    def looks(n: int, of_generator: float) -> Floats:
        return np.asarray(noise(n) + of_generator * rng.normal(size=(n, 6)) @ directions)

    sides = []
    for side, of_generator in (("t", 0.6), ("c", 0.0)):
        people = [f"{side}{i}" for i in range(N)]
        sides.append(with_appearance(noise(N), looks(N, of_generator), side, people))
    return with_appearance(noise(200), looks(200, 0.6), "s"), sides[0], sides[1]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(Location("s"), Location("t"), tmp_path / "o", backend="numpy", resamples=1)


@pytest.fixture
def compare(settings: Settings) -> Comparisons:
    return Comparisons(RunDirectory(settings.out, {}), open_backend("numpy", 1), Silent())


@pytest.fixture
def learned(settings: Settings) -> Settings:
    return replace(settings, learned_score=True)


def found_by(found: Findings, evidence: str) -> int:
    return sum(evidence in p.significant_by for p in found.people)


def test_a_leak_that_no_single_pair_shows_is_learned(
    compare: Comparisons, settings: Settings, learned: Settings
) -> None:
    images = world(np.random.default_rng(0))
    before, after = (analyse(s, *images, [], compare, {}) for s in (settings, learned))
    assert before.calibration is not None and before.calibration.learned_score is None
    assert after.calibration is not None and after.calibration.learned_score is not None
    score = after.calibration.learned_score
    assert score.used and score.reason is None
    assert max(score.weights, key=lambda name: score.weights[name]).startswith("appearance, ")
    assert score.significant == found_by(after, LEARNED) > N / 2
    assert LEARNED in after.evidence and after.verdict == "leak found"
    assert after.calibration.stability.people_significant == (len(after.significant_people),)
    # The other tests stay what they were.
    for evidence in ("conformal", "GPD tail"):
        assert found_by(after, evidence) == found_by(before, evidence)
    assert [(p.person, p.p, p.q) for p in after.people] == [(p.person, p.p, p.q) for p in before.people]


def test_exchanged_sides_find_nobody(compare: Comparisons, learned: Settings) -> None:
    """People of both sides at random: the same world without a leak."""
    synthetic, training, control = world(np.random.default_rng(1))
    pooled = training.joined(control)
    order: Ints = np.random.default_rng(2).permutation(2 * N)
    found = analyse(learned, synthetic, pooled.take(order[:N]), pooled.take(order[N:]), [], compare, {})
    assert found.calibration is not None and found.calibration.learned_score is not None
    assert found.calibration.learned_score.significant == found_by(found, LEARNED) == 0


@pytest.mark.parametrize("name", OF_DIFFERENCES)
def test_it_is_not_used_where_a_check_finds_a_difference(name: str, compare: Comparisons, learned: Settings) -> None:
    differ = Check(name, "warn", Estimate(1, 1, 1, 0.95, N, "difference"), "both sides differ", AGAINST_CONTROL)
    found = analyse(learned, *world(np.random.default_rng(0)), [differ], compare, {})
    assert not found_by(found, LEARNED) and LEARNED not in found.evidence and found.calibration is not None
    score = found.calibration.learned_score
    assert score is not None and not score.used and name in (score.reason or "") and not score.weights
