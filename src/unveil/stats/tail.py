"""p-values beyond the largest control: a conservative generalised Pareto (GPD) tail."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from unveil.stats.conformal import conformal_p
from unveil.types import Floats

SHARE = 0.15  # of the controls, the largest, form the tail
MIN_EXCEEDANCES, MAX_EXCEEDANCES = 30, 1000
# No shape is lighter than exponential: a bounded tail would give a tiny p to the first score beyond it.
SHAPES = np.linspace(0, 0.75, 51)
SCALES = np.geomspace(0.2, 2.5, 101)  # as multiples of the mean excess
# Half the 90% quantile of chi-squared with one degree: the upper end of this interval is a 95% upper limit.
DROP = 1.353
# Values of the survival function that are computed at once.
BLOCK_VALUES = 2**20
# The tail may extend the smallest conformal p by two decades.
CAP = 100


@dataclass(frozen=True)
class Tail:
    """A fitted tail: its threshold, the most likely shape and scale, and all accepted pairs of them."""

    threshold: float
    n_exceedances: int
    n_controls: int
    shape: float
    scale: float
    fit_p: float  # Cramer-von Mises p of the most likely fit; too large, since the parameters were fitted
    accepted: Floats  # (A, 2) shape and scale within the likelihood interval
    controls: Floats
    clump: int = 1  # controls that depend on each other

    @property
    def smallest_p(self) -> float:
        """The smallest p that the tail gives."""
        return self.clump / (CAP * (self.n_controls + 1))

    def p_values(self, scores: Floats) -> Floats:
        """p (N,) of scores (N,): conformal up to the threshold, the upper limit of the fit beyond it."""
        p = conformal_p(scores, self.controls)
        beyond = np.flatnonzero(scores > self.threshold)
        share = (self.n_exceedances + self.clump) / (self.n_controls + 1)
        shape, scale = self.accepted.T
        for start in range(0, len(beyond), size := max(1, BLOCK_VALUES // len(shape))):
            rows = beyond[start : start + size]
            survival = survival_of(scores[rows, None] - self.threshold, shape, scale)
            p[rows] = np.maximum(share * survival.max(axis=1), self.smallest_p)
        return p

    def exponential_p(self, scores: Floats) -> Floats:
        """p (N,) of scores (N,) beyond the threshold by the widest accepted exponential tail, without a least value.

        It is 1 where no exponential tail is accepted.
        """
        scales = self.accepted[self.accepted[:, 0] == 0, 1]
        if not len(scales):
            return np.ones(len(scores))
        share = (self.n_exceedances + self.clump) / (self.n_controls + 1)
        return np.asarray(share * np.exp(-(scores - self.threshold) / scales.max()), np.float64)


def survival_of(excess: Floats, shape: Floats, scale: Floats) -> Floats:
    """1 - F of the generalised Pareto distribution for shapes of at least 0; arrays are broadcast."""
    safe_shape = np.where(shape > 0, shape, 1)
    inner = np.where(shape > 0, np.log1p(safe_shape * excess / scale) / safe_shape, excess / scale)
    survival: Floats = np.exp(-inner)
    return survival


def fit_tail(controls: Floats, clump: int = 1) -> Tail | None:
    """The tail of the control exposures (C,), or None when there are too few of them to fit one.

    The largest 15% are fitted by the generalised Pareto distribution (Pickands 1975, doi:10.1214/aos/1176343003; for
    small p as in Knijnenburg et al. 2009, doi:10.1093/bioinformatics/btp211). Assumes that the exposures are
    independent and that the excesses have reached the limit form. The most likely fit ignores the uncertainty of its
    parameters. So p is the largest survival over all shapes >= 0 and scales in the 90% profile likelihood interval, a
    95% upper limit. ``clump`` controls count as one observation.
    """
    n = len(controls)
    m = min(MAX_EXCEEDANCES, max(MIN_EXCEEDANCES, int(n * SHARE)))
    if n < 2 * MIN_EXCEEDANCES:
        return None
    ascending = np.sort(controls)
    threshold = float(ascending[-m - 1])
    excess = ascending[-m:] - threshold
    mean = float(excess.mean())
    if mean <= 0:
        return None
    shape, scale = (grid.ravel() for grid in np.meshgrid(SHAPES, SCALES * mean, indexing="ij"))
    logs = np.log1p((shape / scale)[:, None] * excess).sum(axis=1)
    safe_shape = np.where(shape > 0, shape, 1)
    likelihood = -m * np.log(scale) - np.where(shape > 0, (1 + 1 / safe_shape) * logs, excess.sum() / scale)
    best = int(np.argmax(likelihood))
    inside = likelihood >= likelihood[best] - DROP * clump
    return Tail(
        threshold=threshold,
        n_exceedances=m,
        n_controls=n,
        shape=float(shape[best]),
        scale=float(scale[best]),
        fit_p=float(scipy.stats.cramervonmises(survival_of(excess, shape[best], scale[best]), "uniform").pvalue),
        accepted=np.column_stack([shape[inside], scale[inside]]),
        controls=ascending,
        clump=clump,
    )
