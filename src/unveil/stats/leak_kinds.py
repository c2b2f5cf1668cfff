"""The kind of leak of a pair, from exact copy to identity match."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from unveil.stats.intervals import share
from unveil.types import Estimate, Floats

LeakKind = Literal["exact copy", "near-identical copy", "similar image", "appearance match", "identity match"]

# Two different images of one person exceed each threshold this often.
EXCEEDED = 0.01
MIN_MATED = 50
# Used where too few people have two images to calibrate on: the thresholds of 400 pairs of LFW.
DEFAULT_THRESHOLDS = (0.90, 0.40, 70.0)
# An image re-encoded (quality 15), halved in size and enlarged again or mirrored measured at least 0.988 and at most 16
# of 256 bits. A quality of 5, a blur of 2 pixels or a blend of 80% is beyond this on most images.
SAME_CORRELATION, SAME_BITS = 0.98, 20
# In photographs the face is detected anew, and the crops of a re-encoded or mirrored photograph correlate by 0.95 to 1,
# but the hash of the whole image stays: at most 8 bits at a quality of 15. Of 33 million pairs of different images
# the closest had 52.
SAME_IMAGE_BITS = 8
# Near-duplicates that are tested: the same image at low resolution, and in its fine structure or its hash. Of 158 pairs
# of strangers that were unusually close on LFW none reached this (the closest: .94, .31 and 80 bits).
NEAR_CORRELATION, NEAR_DETAIL, NEAR_BITS = 0.93, 0.5, 60
# Above this, 90% of pairs are copies according to the authors of SSCD (Pizzi et al. 2022, arXiv 2202.10261).
SSCD_THRESHOLD = 0.75


@dataclass(frozen=True)
class ImageSimilarity:
    """How similar two images are. Each number is the higher one of the image and its mirror image."""

    correlation: float
    """Correlation of the aligned faces at low resolution, -1 to 1."""
    detail: float
    """Correlation of their fine structure, -1 to 1."""
    bits: float
    """Number of 256 bits in which their perceptual hashes differ."""
    copy_cosine: float | None = None
    """Cosine similarity by a copy-detection model. Null without one."""
    identical: bool = False
    """Whether their bytes or their pixels are the same."""


@dataclass(frozen=True)
class CopyThresholds:
    """The thresholds above which images are similar images, calibrated on pairs of different images of one person."""

    correlation: float
    """Threshold of the correlation of aligned faces."""
    detail: float
    """Threshold of the correlation of their fine structure."""
    bits: float
    """Number of differing bits below which two images are similar."""
    copy_cosine: float | None
    """Threshold of the cosine by a copy-detection model. Null without one."""
    n_mated: int
    """Number of pairs of different images of one person."""
    calibrated: bool
    """Whether the thresholds come from these pairs. If not, they were measured on other data."""
    false_copy_rate: Estimate | None
    """Share of these pairs classified as copies or similar images. Null if the thresholds are not calibrated."""

    def kind(self, pair: ImageSimilarity, *, by_face: bool = True) -> LeakKind:
        """The kind of a pair, if it shows one person; ``by_face`` says that the face channel found it."""
        if pair.identical:
            return "exact copy"
        if _is_same_image(pair):
            return "near-identical copy"
        if self._is_similar(pair):
            return "similar image"
        return "identity match" if by_face else "appearance match"

    def _is_similar(self, pair: ImageSimilarity) -> bool:
        by_model = pair.copy_cosine is not None and self.copy_cosine is not None and pair.copy_cosine > self.copy_cosine
        return (
            pair.correlation > self.correlation or pair.detail > self.detail or pair.bits < self.bits or bool(by_model)
        )


def _is_same_image(pair: ImageSimilarity) -> bool:
    """Whether two images are as similar as one image and itself re-encoded, resized or mirrored."""
    return (pair.correlation >= SAME_CORRELATION and pair.bits <= SAME_BITS) or (
        pair.correlation >= NEAR_CORRELATION and pair.bits <= SAME_IMAGE_BITS
    )


def is_near_duplicate(pair: ImageSimilarity) -> bool:
    """Whether two images are so similar that one is made from the other, whoever they show.

    Stricter than `CopyThresholds`, which say of what kind a pair is that shows one person. Training and control people
    are treated alike, so it may err.
    """
    return pair.identical or (
        pair.correlation >= NEAR_CORRELATION and (pair.detail >= NEAR_DETAIL or pair.bits <= NEAR_BITS)
    )


def is_changed_copy(pair: ImageSimilarity) -> bool:
    """Whether two images are near-duplicates by all three measures, as no two different images measured so far are."""
    return pair.correlation >= NEAR_CORRELATION and pair.detail >= NEAR_DETAIL and pair.bits <= NEAR_BITS


def calibrate_thresholds(mated: list[ImageSimilarity]) -> CopyThresholds:
    """Thresholds that EXCEEDED of the pairs of different images of one person exceed, without identical images.

    Assumes that fewer than EXCEEDED of those pairs are copies of each other. With fewer than MIN_MATED pairs the
    thresholds are DEFAULT_THRESHOLDS.
    """
    different = [pair for pair in mated if not pair.identical]
    by_model = [pair.copy_cosine for pair in different if pair.copy_cosine is not None]
    if len(different) < MIN_MATED:
        copy_cosine = SSCD_THRESHOLD if by_model or not different else None
        return CopyThresholds(*DEFAULT_THRESHOLDS, copy_cosine, len(different), False, None)
    high: Floats = np.quantile([(p.correlation, p.detail, -p.bits) for p in different], 1 - EXCEEDED, axis=0)
    # However similar the images of a person are, a copy is never less similar than this.
    correlation, detail, bits = (float(max(a, b)) for a, b in zip(high, (0.5, 0.2, -90.0), strict=True))
    copy_cosine = max(SSCD_THRESHOLD, float(np.quantile(by_model, 1 - EXCEEDED))) if by_model else None
    thresholds = CopyThresholds(correlation, detail, -bits, copy_cosine, len(different), True, None)
    n_copies = sum(thresholds.kind(pair) != "identity match" for pair in different)
    return CopyThresholds(
        *(correlation, detail, -bits, copy_cosine, len(different), True),
        share(
            n_copies,
            len(different),
            "share of pairs of different images of one person that are classified as copies or similar images",
        ),
    )
