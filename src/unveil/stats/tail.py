"""Modelled p-values beyond the largest control: a generalised Pareto tail, on the safe side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from unveil.stats.conformal import conformal_p
from unveil.types import Floats

SHARE = 0.15  # of the controls, the largest, form the tail
MIN_EXCEEDANCES, MAX_EXCEEDANCES = 30, 1000
# Shapes considered. None is lighter than exponential: a bounded tail would give tiny p to the first score beyond it.
SHAPES = np.linspace(0, 0.75, 51)
SCALES = np.geomspace(0.2, 2.5, 101)  # as multiples of the mean excess
# Half the 90% quantile of chi-squared with one degree: the upper end of this interval is a 95% upper limit.
DROP = 1.353
# The tail may reach two decades below what counting resolves, not further.
CAP = 100


@dataclass(frozen=True)
class Tail:
    """A fitted tail: threshold, exceedances, the most likely shape and scale, and every accepted pair of them."""

    threshold: float
    n_exceedances: int
    n_controls: int
    shape: float
    scale: float
    fit_p: float  # Cramer-von Mises p of the most likely fit; kind, since the parameters were fitted
    accepted: Floats  # (A, 2) shape, scale within the likelihood interval
    controls: Floats

    @property
    def smallest_p(self) -> float:
        """The cap: no modelled p is below this."""
        return 1 / (CAP * (self.n_controls + 1))

    def p_values(self, scores: Floats) -> Floats:
        """Modelled p (N,): counted up to the tail's threshold, the upper limit of the fit beyond it."""
        p = conformal_p(scores, self.controls)
        beyond = np.flatnonzero(scores > self.threshold)
        share = (self.n_exceedances + 1) / (self.n_controls + 1)
        survival = survival_of(scores[beyond, None] - self.threshold, self.accepted[:, 0], self.accepted[:, 1])
        p[beyond] = np.maximum(share * survival.max(axis=1), self.smallest_p)
        return p


def survival_of(excess: Floats, shape: Floats, scale: Floats) -> Floats:
    """1 - F of the generalised Pareto distribution, for shapes of at least 0."""
    bent = np.where(shape > 0, shape, 1)
    inner = np.where(shape > 0, np.log1p(bent * excess / scale) / bent, excess / scale)
    survival: Floats = np.exp(-inner)
    return survival


def fit_tail(controls: Floats) -> Tail | None:
    """The tail of the control exposures (C,), or None when there are too few of them to fit one.

    The largest 15% are fitted by the generalised Pareto distribution (Pickands 1975, doi:10.1214/aos/1176343003; for
    small p as in Knijnenburg et al. 2009, doi:10.1093/bioinformatics/btp211). Assumes that the exposures are
    independent and that this part has reached the limit form. A most likely fit is too bold for evidence: the
    p-values take the largest survival among all shapes >= 0 and scales inside the 90% profile likelihood interval,
    which is a 95% upper limit.
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
    bent = np.where(shape > 0, shape, 1)
    likelihood = -m * np.log(scale) - np.where(shape > 0, (1 + 1 / bent) * logs, excess.sum() / scale)
    best = int(np.argmax(likelihood))
    inside = likelihood >= likelihood[best] - DROP
    return Tail(
        threshold=threshold,
        n_exceedances=m,
        n_controls=n,
        shape=float(shape[best]),
        scale=float(scale[best]),
        fit_p=float(stats.cramervonmises(survival_of(excess, shape[best], scale[best]), "uniform").pvalue),
        accepted=np.column_stack([shape[inside], scale[inside]]),
        controls=ascending,
    )
