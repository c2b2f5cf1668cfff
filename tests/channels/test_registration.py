"""Registration: an offset between two alignments is found and removed, by a rule that favours neither side."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tests.builders import drawn_faces
from unveil.channels import AppearanceChannel
from unveil.channels.registration import (
    MAX_DISPLACEMENT,
    MIN_DISPLACEMENT,
    MIN_IMAGES,
    Registration,
    fit_registration,
)
from unveil.types import Vectors

SIZE = (112, 112)


def crops(n: int, seed: int) -> np.ndarray:
    return np.stack([cv2.resize(face, SIZE) for face in drawn_faces(n, seed)])


def moved(images: np.ndarray, how: Registration) -> np.ndarray:
    return np.stack([cv2.warpAffine(x, how.matrix, SIZE, borderMode=cv2.BORDER_REPLICATE) for x in images])


def embedded(images: np.ndarray) -> Vectors:
    return AppearanceChannel().embed(images)


SYNTHETIC, REAL = crops(120, 1), crops(120, 2)
OFFSET = Registration(1.5, -2.0, 1.06, 1.5)


def test_the_operator_moves_vectors_as_a_warp_moves_the_crops() -> None:
    plain, warped = embedded(REAL), embedded(moved(REAL, OFFSET))
    registered = OFFSET.apply(plain)
    assert (registered * warped).sum(1).min() > 0.97
    assert (plain * warped).sum(1).mean() < 0.97 < 0.99 < (registered * warped).sum(1).mean()
    assert np.linalg.norm(registered, axis=1) == pytest.approx(np.ones(len(REAL)), abs=1e-5)
    assert Registration(0, 0, 1, 0).displacement == pytest.approx(0, abs=1e-9)


def test_the_offset_of_another_alignment_is_found() -> None:
    assert fit_registration([embedded(REAL)], embedded(SYNTHETIC)) is None
    found = fit_registration([embedded(REAL)], embedded(moved(SYNTHETIC, OFFSET)))
    assert found is not None
    assert found.apart(OFFSET) < OFFSET.displacement / 2 and OFFSET.displacement > MIN_DISPLACEMENT


def test_registered_copies_are_as_close_as_copies_of_one_alignment() -> None:
    copies = embedded(moved(REAL[:60], OFFSET))
    found = fit_registration([embedded(REAL)], np.concatenate([copies, embedded(moved(SYNTHETIC, OFFSET))]))
    assert found is not None
    before = (copies * embedded(REAL[:60])).sum(1).mean()
    after = (copies * found.apply(embedded(REAL[:60]))).sum(1).mean()
    assert after > 0.98 > before


def test_it_does_not_depend_on_the_side_of_a_real_person() -> None:
    target, real = embedded(moved(SYNTHETIC, OFFSET)), embedded(REAL)
    order = np.random.default_rng(0).permutation(len(real))
    expected = fit_registration([real[:40], real[40:]], target)
    assert expected is not None
    for cut in (1, 60, 110):
        assert fit_registration([real[order[:cut]], real[order[cut:]]], target) == expected


def test_sets_that_cannot_be_registered_stay_as_they_are() -> None:
    far = Registration(2 * MAX_DISPLACEMENT, 0, 1, 0)
    assert fit_registration([embedded(REAL)], embedded(moved(SYNTHETIC, far))) is None
    noise = np.random.default_rng(0).integers(0, 256, REAL.shape, np.uint8)
    assert fit_registration([embedded(REAL)], embedded(noise)) is None
    few = embedded(moved(SYNTHETIC, OFFSET))
    assert fit_registration([embedded(REAL)], few[: MIN_IMAGES - 1]) is None
    assert fit_registration([embedded(REAL)[: MIN_IMAGES - 1]], few) is None
