"""Registration: the systematic offset between the alignments of two sets, and how it is removed from appearance.

Every detector has its own idea of where a face is. Crops of two detectors lie 1 to 2 pixels and a few percent of scale
apart, which hides copies from the appearance channel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import numpy.typing as npt

from unveil.channels.appearance import SIDE
from unveil.faces.align import TEMPLATE_SIZE, Points
from unveil.stats.optimum import lowest
from unveil.types import Floats, Vectors

Coarse = npt.NDArray[np.float32]

# The root mean square displacement of the pixels of a crop, in template pixels. Mean faces of two sets of one alignment
# differ by up to 1.4, since the sets show other people. A larger one than the last is no offset of two detectors.
MIN_DISPLACEMENT, MAX_DISPLACEMENT = 1.5, 10.0
# The two halves of the synthetic set must agree on the offset: it is this many times as large as their difference.
MIN_RATIO = 1.5
# Mean faces with a lower correlation after registration are not two means of aligned faces.
MIN_CORRELATION = 0.95
# A mean of fewer images shows single people.
MIN_IMAGES = 50
# Coarse pixels at each edge that are not compared: an edge that was moved in has no content.
EDGE = 2
CHUNK = 8192
# Shift in pixels, logarithm of the scale and degrees that move a crop about equally far; steps of the search.
STEPS = np.array([1.0, 1.0, 0.02, 1.0])
# Parameters are rounded, so that the order of a sum decides nothing.
DIGITS = 3


@dataclass(frozen=True)
class Registration:
    """A similarity transform about the centre of a 112-pixel crop: shift in pixels, scale, angle in degrees."""

    right: float
    down: float
    scale: float
    angle: float

    @property
    def matrix(self) -> Points:
        """The 2 x 3 matrix of the transform."""
        centre = (TEMPLATE_SIZE - 1) / 2
        matrix = np.asarray(cv2.getRotationMatrix2D((centre, centre), self.angle, self.scale), np.float64)
        matrix[:, 2] += self.right, self.down
        return matrix

    @property
    def displacement(self) -> float:
        """How far the pixels of a crop move: the root mean square, in template pixels."""
        return self.apart(UNMOVED)

    def apart(self, other: Registration) -> float:
        """How far from each other two transforms move the pixels of a crop: the root mean square."""
        y, x = np.mgrid[:TEMPLATE_SIZE, :TEMPLATE_SIZE].reshape(2, -1)
        apart = (self.matrix - other.matrix) @ np.stack([x, y, np.ones_like(x)])
        return float(np.sqrt((apart**2).sum(0).mean()))

    @property
    def description(self) -> str:
        """The transform in words."""
        return (
            f"moved by {self.right:+.1f} and {self.down:+.1f} pixels, scaled by {self.scale:.3f} and rotated by "
            f"{self.angle:+.1f} degrees of a 112-pixel crop"
        )

    def of_coarse(self, image: Coarse) -> Coarse:
        """A coarse image (16, 16) or (16, 16, C), moved."""
        size = (TEMPLATE_SIZE, TEMPLATE_SIZE)
        large = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)
        moved = cv2.warpAffine(large, self.matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(cv2.resize(moved, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.float32)

    @cached_property
    def _rows(self) -> Coarse:
        """The transform of coarse images as a matrix: it is linear in pixels."""
        units = np.eye(SIDE * SIDE, dtype=np.float32).reshape(-1, SIDE, SIDE)
        return np.stack([self.of_coarse(unit).ravel() for unit in units])

    def apply(self, vectors: Vectors) -> Vectors:
        """The appearance vectors (N, 768) of the moved crops, unit rows again."""
        pixels = np.asarray(vectors, np.float32).reshape(len(vectors), SIDE * SIDE, -1)
        moved = np.tensordot(pixels, self._rows, (1, 0)).transpose(0, 2, 1)
        moved = (moved - moved.mean(axis=1, keepdims=True)).reshape(len(vectors), -1)
        length = np.linalg.norm(moved, axis=1, keepdims=True)
        # Content that lies outside of the moved crop alone leaves nothing to compare; the image stays as it was.
        return np.asarray(np.where(length > 1e-6, moved / np.maximum(length, 1e-6), vectors), np.float32)


UNMOVED = Registration(0.0, 0.0, 1.0, 0.0)


def fit_registration(real: Sequence[Vectors], synthetic: Vectors) -> Registration | None:
    """The transform that moves the mean of all real appearance vectors (each N, 768) onto the synthetic mean.

    It maximises the correlation of the two mean faces. All real images count alike, on whichever side they are, so
    training and control people stay exchangeable. None where the sets lie less than MIN_DISPLACEMENT apart, where the
    halves of the synthetic set do not agree, or where no transform makes the means alike.
    """
    n_real = sum(len(vectors) for vectors in real)
    if min(n_real, len(synthetic)) < MIN_IMAGES:
        return None
    of_real = _coarse(np.sum([_sum(vectors) for vectors in real], axis=0) / n_real)
    middle = len(synthetic) // 2
    # The halves in the order of the source show other identities, where there are any.
    halves = [_sum(synthetic[:middle]), _sum(synthetic[middle:])]
    best, correlation = _fit(of_real, _coarse(halves[0] + halves[1]))
    error = _fit(of_real, _coarse(halves[0]))[0].apart(_fit(of_real, _coarse(halves[1]))[0])
    smallest = max(MIN_DISPLACEMENT, MIN_RATIO * error)
    if correlation < MIN_CORRELATION or not smallest <= best.displacement <= MAX_DISPLACEMENT:
        return None
    return best


def _fit(real: Coarse, synthetic: Coarse) -> tuple[Registration, float]:
    """The transform of a coarse image that makes it most like another one, and their correlation."""
    target = _inner(synthetic)

    def loss(steps: Floats) -> float:
        return -float(target @ _inner(_registration(steps).of_coarse(real)))

    steps = lowest(loss, len(STEPS), step=1.0, tolerance=0.01)
    return _registration(steps), -loss(steps)


def _registration(steps: Floats) -> Registration:
    right, down, log_scale, angle = steps * STEPS
    return Registration(*(round(float(v), DIGITS) for v in (right, down, np.exp(log_scale), angle)))


def _sum(vectors: Vectors) -> Floats:
    """The sum (D,) of vectors that may lie in a file."""
    total = np.zeros(vectors.shape[1])
    for i in range(0, len(vectors), CHUNK):
        total += np.asarray(vectors[i : i + CHUNK], np.float64).sum(axis=0)
    return total


def _coarse(vector: Floats) -> Coarse:
    return np.asarray(vector.reshape(SIDE, SIDE, -1), np.float32)


def _inner(coarse: Coarse) -> Floats:
    """The middle of a coarse image as a unit vector without its mean colour."""
    inner = np.asarray(coarse[EDGE:-EDGE, EDGE:-EDGE], np.float64)
    inner = (inner - inner.mean(axis=(0, 1))).ravel()
    return np.asarray(inner / max(float(np.linalg.norm(inner)), 1e-9), np.float64)
