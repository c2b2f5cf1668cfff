"""Singling out, linkability and inference on worlds answered by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.analysis.worlds import contexts, images, side
from tests.builders import identity_findings
from unveil.analysis.findings import ControlState, Findings, best_pair
from unveil.analysis.matching import Subsample
from unveil.analysis.risks import highest_risk, measure_risks
from unveil.results import Exposures
from unveil.stats.checks import Check
from unveil.stats.statements import AGAINST_CONTROL
from unveil.types import Estimate

PEOPLE, CONTROL = 30, 100


def world(linked: int, above: int) -> Findings:
    """Training people with two images each, ``linked`` of which have one closest synthetic identity; ``above`` of them
    are closer to the synthetic set than all control people."""
    synthetic = images("s", ["A", "A", "B", "C"])
    scores_t, scores_c = np.zeros((4, 2 * PEOPLE)), np.zeros((4, 2 * CONTROL))
    for person in range(PEOPLE):
        # Two images of one identity count as linked: both belong to A.
        scores_t[0, 2 * person] = 9.0 if person < above else 1.0
        scores_t[1 if person < linked else 2, 2 * person + 1] = 0.5
    for person in range(CONTROL):
        scores_c[0, 2 * person], scores_c[3, 2 * person + 1] = 2.0, 0.5
    training = side("t", [f"t{i // 2:02d}" for i in range(2 * PEOPLE)], {"face": scores_t.tolist()})
    control = side("c", [f"c{i // 2:03d}" for i in range(2 * CONTROL)], {"face": scores_c.tolist()})
    exposures = Exposures(training.exposure(), control.exposure())
    people = tuple(
        replace(best_pair(exposures.training, i, synthetic, training), p=0.5, q=0.2, q_gpd=0.1)
        for i in range(len(exposures.training))
    )
    subsample = Subsample(np.arange(2 * PEOPLE), np.arange(2 * CONTROL))
    return Findings(
        *("leak found", (), (), tuple(sorted(people, key=lambda p: -p.score))),
        *(identity_findings(), training, contexts(synthetic)),
        control=ControlState(control, subsample),
        exposures=exposures,
    )


def test_rates_by_hand() -> None:
    singling_out, linkability, inference = measure_risks(world(linked=12, above=6))
    assert singling_out.attack is not None and singling_out.control is not None and singling_out.risk is not None
    # No control person scores above the highest, so none is claimed falsely.
    assert (singling_out.attack.value, singling_out.control.value, singling_out.risk.value) == (6 / 30, 0, 6 / 30)
    assert linkability.attack is not None and linkability.control is not None and linkability.baseline is not None
    assert (linkability.attack.value, linkability.control.value) == (12 / 30, 0)
    assert linkability.baseline.value == pytest.approx(1 / 3), "three synthetic identities"
    assert (
        inference.risk is None
        and not inference.assessed
        and "infers no attribute" in str(inference.not_assessed_because)
    )


def test_the_highest_risk_is_that_of_the_most_exposed_person() -> None:
    found = world(linked=0, above=1)
    highest = highest_risk(found)
    assert highest is not None and highest.person == "t00" and highest.q == 0.1
    assert highest.control_as_close is not None and highest.control_as_close.value == 0
    # A copy is a fact: it comes before any score.
    copied = tuple(replace(p, significant_by=("exact copy",)) if p.person == "t07" else p for p in found.people)
    highest = highest_risk(replace(found, people=copied))
    assert highest is not None and highest.person == "t07"


def test_what_is_not_assessed_says_why() -> None:
    found = world(linked=0, above=0)
    bare = replace(found, control=None, exposures=None)
    assert [risk.assessed for risk in measure_risks(bare)] == [False] * 3
    assert "no control people" in str(measure_risks(bare)[0].not_assessed_because)
    failed = Check("size of control", "fail", Estimate(3, 3, 3, 1, 3, "counted"), "3 control people", AGAINST_CONTROL)
    blocked = replace(found, checks=(failed,))
    assert all("size of control" in str(risk.not_assessed_because) for risk in measure_risks(blocked)[:2])
    assert highest_risk(blocked) is None
    few = replace(found, control=ControlState(found.control.side, Subsample(np.arange(20), np.arange(8))))  # type: ignore[union-attr]
    assert "10 training people and 4 control people have two images" in str(measure_risks(few)[1].not_assessed_because)
