"""What the report says of the network, with and without people to measure it on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import unveil
from tests.builders import unit_rows
from unveil.report.html import render
from unveil.results import VerificationPerformance, to_document
from unveil.stats.verification import verification_performance


@pytest.mark.parametrize("people", [40, 400])
def test_rates_stand_beside_the_licence(audited: tuple[unveil.AuditResult, Path], people: int) -> None:
    rng = np.random.default_rng(0)
    vectors = np.repeat(unit_rows(rng, people, 32), 3, axis=0) + 0.6 * unit_rows(rng, 3 * people, 32)
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    measured = verification_performance(vectors, np.repeat(np.arange(people), 3), rng)
    assert measured is not None and len(measured.operating) == {40: 0, 400: 2}[people]
    performance = VerificationPerformance(**vars(measured), role="control")
    page = render(replace(audited[0], verification=(performance,)), None)
    assert "dlib_resnet_v1, trained on about 3 million images" in page and "Licence: public domain" in page
    assert f"{people} control people" in page
    assert ("1 in 10,000" in page) is (people == 400) and ("too few pairs" in page) is (people == 40)
    found = to_document(replace(audited[0], verification=(performance,)))["verification"][0]
    assert found["n_mated"] == 3 * people and len(found["operating"]) == len(measured.operating)


def test_without_labelled_people_nothing_is_claimed(audited: tuple[unveil.AuditResult, Path]) -> None:
    assert "fewer than 20 labelled people" in render(replace(audited[0], verification=()), None)
