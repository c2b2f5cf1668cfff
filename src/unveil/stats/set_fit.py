"""How much better the synthetic set fits a real image than real people do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from unveil.stats.whitening import MIN_IMAGES, Whitening, fit_whitening
from unveil.types import Floats, Vectors

# Added to the variance of each direction, as a share of the mean variance. Chosen in the lab
# (docs/decisions/0033-learned-score.md).
RIDGE = 1.0
# Rounded, so that the order of a sum decides nothing.
DIGITS = 6


@dataclass(frozen=True)
class SetFit:
    """The fit of real images to a synthetic set beside that to real people, by the ``distance`` of two whitenings.

    Without them, every fit is 0.
    """

    of_people: Whitening | None = None
    of_synthetic: Whitening | None = None

    def of(self, images: Vectors) -> Floats:
        """The fit ln(d_R^2 / d_S^2) of images (N, D): the larger, the better S fits them."""
        if self.of_people is None or self.of_synthetic is None:
            return np.zeros(len(images))
        d_r, d_s = (np.maximum(fit.distance(images), 1e-9) for fit in (self.of_people, self.of_synthetic))
        return np.asarray(np.round(2 * np.log(d_r / d_s), DIGITS), np.float64)


def fit_sets(synthetic: Vectors, people: Vectors) -> SetFit:
    """The fit to a synthetic set (Q, D) beside that to real people (P, D), one image each.

    d_R and d_S are the Mahalanobis distances (1936) of an image from the mean of real people and of the synthetic set,
    with a ridge. A generator spreads in the directions in which its training images spread, also where it copies none
    of them. Who of the people is a training person plays no part, so training and control people stay exchangeable
    under the null. With fewer than MIN_IMAGES synthetic images or people, every fit is 0.
    """
    if min(len(synthetic), len(people)) < MIN_IMAGES:
        return SetFit()
    return SetFit(fit_whitening(people, RIDGE), fit_whitening(synthetic, RIDGE))
