"""How well exposure tells training people from control people."""

from __future__ import annotations

import numpy as np
from scipy import stats

from unveil.stats.intervals import LEVEL, share
from unveil.types import Estimate, Floats

FPRS = (0.1, 0.01, 0.001)
RESAMPLES = 1000


def auc(training: Floats, control: Floats) -> float:
    """P(training > control) + P(equal) / 2: the area under the ROC curve (Mann-Whitney)."""
    ranks = stats.rankdata(np.concatenate([training, control]))
    n, m = len(training), len(control)
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * m))


def auc_estimate(training: Floats, control: Floats, rng: np.random.Generator) -> Estimate:
    """AUC with a percentile bootstrap over people, both sides drawn anew with replacement."""
    value = auc(training, control)
    n, m = len(training), len(control)
    # A resample only changes how often each person counts: weights over the distinct scores, sorted once.
    scores, place = np.unique(np.concatenate([training, control]), return_inverse=True)
    drawn = []
    for _ in range(RESAMPLES):
        t = np.bincount(place[:n][rng.integers(n, size=n)], minlength=len(scores))
        c = np.bincount(place[n:][rng.integers(m, size=m)], minlength=len(scores))
        below = np.cumsum(c) - c
        drawn.append(float((t * (below + c / 2)).sum() / (n * m)))
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    method = f"area under the ROC curve, percentile bootstrap over people ({RESAMPLES} resamples)"
    return Estimate(value, min(float(low), value), max(float(high), value), LEVEL, n + m, method)


def tpr_at_fpr(training: Floats, control: Floats, fpr: float) -> Estimate:
    """Share of training people above the lowest line that at most ``fpr`` of the control people reach.

    Low false positive rates are what counts in membership inference (Carlini et al. 2022, arXiv 2112.03570). The
    interval takes the line as given.
    """
    allowed = int(np.floor(fpr * len(control) + 1e-9))
    line = np.sort(control)[::-1][allowed]
    told = f"share above the control people's line ({allowed} of {len(control)} above it)"
    return share(int((training > line).sum()), len(training), told)


def roc(training: Floats, control: Floats) -> tuple[Floats, Floats]:
    """False and true positive rates at every distinct score, from (0, 0) to (1, 1)."""
    lines = np.unique(np.concatenate([training, control]))[::-1]
    fpr = 1 - np.searchsorted(np.sort(control), lines, side="left") / len(control)
    tpr = 1 - np.searchsorted(np.sort(training), lines, side="left") / len(training)
    return np.concatenate([[0.0], fpr]), np.concatenate([[0.0], tpr])
