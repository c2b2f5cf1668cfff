"""What kind of leak a pair is: the real picture itself, a changed copy of it, one that is drawn after it, or another
picture of the person."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from unveil.stats.intervals import share
from unveil.types import Estimate, Floats

LeakKind = Literal["exact copy", "near-duplicate", "appearance match", "identity match"]

# Two different pictures of one person pass each line this often.
PASSED = 0.01
MIN_MATED = 50
# Where there are too few pairs of pictures of one person to calibrate on: what PASSED gives on 400 pairs of LFW.
DEFAULT_THRESHOLDS = (0.90, 0.40, 70.0)
# The same picture re-encoded (quality 15), halved in size and scaled up again or mirrored measured at least .988 and at
# most 16 bits of 256; a quality of 5, a blur of 2 pixels or a blend of 80% fall below on most pictures.
SHIPPED_CORRELATION, SHIPPED_BITS = 0.98, 20
# Above this, 9 of 10 pairs are copies by the authors of SSCD (Pizzi et al. 2022, arXiv 2202.10261).
SSCD_THRESHOLD = 0.75


@dataclass(frozen=True)
class ImageSimilarity:
    """How alike two pictures look, each the best over the picture and its mirror image."""

    correlation: float  # of the aligned faces, coarse: -1 to 1
    detail: float  # of their fine structure: -1 to 1
    bits: float  # of 256 by which their perceptual hashes differ
    copy_cosine: float | None = None  # of a copy-detection network, when there is one
    identical: bool = False  # the same bytes or the same pixels


@dataclass(frozen=True)
class CopyThresholds:
    """Lines beyond which two pictures are one, from pairs of different pictures of one person."""

    correlation: float
    detail: float
    bits: float
    copy_cosine: float | None
    n_mated: int
    calibrated: bool
    false_copy_rate: Estimate | None  # share of those pairs that are nevertheless taken for copies

    def kind(self, pair: ImageSimilarity, *, by_face: bool = True) -> LeakKind:
        """What a pair is that the faces brought up, should they be one person's, or else its looks alone."""
        if pair.identical or (pair.correlation >= SHIPPED_CORRELATION and pair.bits <= SHIPPED_BITS):
            return "exact copy"
        if self._copies(pair):
            return "near-duplicate"
        return "identity match" if by_face else "appearance match"

    def _copies(self, pair: ImageSimilarity) -> bool:
        network = pair.copy_cosine is not None and self.copy_cosine is not None and pair.copy_cosine > self.copy_cosine
        return (
            pair.correlation > self.correlation or pair.detail > self.detail or pair.bits < self.bits or bool(network)
        )


def calibrate_thresholds(mated: list[ImageSimilarity]) -> CopyThresholds:
    """Lines that each PASSED of the pairs of different pictures of one person cross, identical ones left out.

    Assumes that fewer than PASSED of those pairs are copies of each other: some sets hold pictures twice. With fewer
    than FEWEST_MATED pairs the lines are those measured on LFW.
    """
    different = [pair for pair in mated if not pair.identical]
    with_network = [pair.copy_cosine for pair in different if pair.copy_cosine is not None]
    if len(different) < MIN_MATED:
        network = SSCD_THRESHOLD if with_network or not different else None
        return CopyThresholds(*DEFAULT_THRESHOLDS, network, len(different), False, None)
    high: Floats = np.quantile([(p.correlation, p.detail, -p.bits) for p in different], 1 - PASSED, axis=0)
    # However alike a person's pictures are, what is told as a copy never looks less alike than this.
    correlation, detail, bits = (float(max(a, b)) for a, b in zip(high, (0.5, 0.2, -90.0), strict=True))
    network = max(SSCD_THRESHOLD, float(np.quantile(with_network, 1 - PASSED))) if with_network else None
    lines = CopyThresholds(correlation, detail, -bits, network, len(different), True, None)
    false_copy_rate = sum(lines.kind(pair) != "identity match" for pair in different)
    return CopyThresholds(
        *(correlation, detail, -bits, network, len(different), True),
        share(
            false_copy_rate,
            len(different),
            "share of pairs of different pictures of one person told as copies",
        ),
    )
