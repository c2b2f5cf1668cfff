"""Membership inference: how well exposure separates training from control people."""

from __future__ import annotations

import numpy as np
import scipy

from unveil.stats.intervals import LEVEL, share
from unveil.types import Estimate, Floats

FPRS = (0.1, 0.01, 0.001)
RESAMPLES = 1000


def auc(training: Floats, control: Floats) -> float:
    """P(training > control) + P(equal) / 2: the area under the ROC curve (Mann-Whitney)."""
    ranks = scipy.stats.rankdata(np.concatenate([training, control]))
    n, m = len(training), len(control)
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * m))


def auc_estimate(training: Floats, control: Floats, rng: np.random.Generator) -> Estimate:
    """AUC with a percentile bootstrap over people, resampling both sides."""
    value = auc(training, control)
    n, m = len(training), len(control)
    # A resample changes only how often each person counts, so weights of the distinct scores suffice.
    scores, index = np.unique(np.concatenate([training, control]), return_inverse=True)
    resampled = []
    for _ in range(RESAMPLES):
        t = np.bincount(index[:n][rng.integers(n, size=n)], minlength=len(scores))
        c = np.bincount(index[n:][rng.integers(m, size=m)], minlength=len(scores))
        below = np.cumsum(c) - c
        resampled.append(float((t * (below + c / 2)).sum() / (n * m)))
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    method = f"area under the ROC curve, percentile bootstrap over people ({RESAMPLES} resamples)"
    return Estimate(value, min(float(low), value), max(float(high), value), LEVEL, n + m, method)


def resolves(fpr: float, n_control: int) -> bool:
    """Whether this number of control people can show a false positive rate: at least one of them may exceed."""
    return fpr * n_control >= 1 - 1e-9


def threshold_at(control: Floats, fpr: float) -> tuple[float, int]:
    """The lowest score that at most ``fpr`` of the control people (C,) exceed, and how many may exceed it."""
    allowed = int(np.floor(fpr * len(control) + 1e-9))
    return float(np.sort(control)[::-1][allowed]), allowed


def tpr_at_fpr(training: Floats, control: Floats, fpr: float) -> Estimate:
    """The share of training people above the lowest threshold that at most ``fpr`` of the control people exceed.

    Low false positive rates matter in membership inference (Carlini et al. 2022, arXiv 2112.03570). The interval takes
    the threshold as fixed.
    """
    threshold, allowed = threshold_at(control, fpr)
    method = f"share above the threshold that {allowed} of {len(control)} control people exceed"
    return share(int((training > threshold).sum()), len(training), method)


def not_resolved(n_control: int) -> dict[str, str]:
    """Why true positive rates cannot be given, by false positive rate that this number of control people is too small
    for."""
    return {
        f"{fpr:g}": f"{n_control} control people cannot show a false positive rate of {fpr:.1%}; "
        f"at least {round(1 / fpr):,} are needed"
        for fpr in FPRS
        if not resolves(fpr, n_control)
    }


def roc(training: Floats, control: Floats) -> tuple[Floats, Floats]:
    """False and true positive rates at every distinct score, from (0, 0) to (1, 1)."""
    thresholds = np.unique(np.concatenate([training, control]))[::-1]
    fpr = 1 - np.searchsorted(np.sort(control), thresholds, side="left") / len(control)
    tpr = 1 - np.searchsorted(np.sort(training), thresholds, side="left") / len(training)
    return np.concatenate([[0.0], fpr]), np.concatenate([[0.0], tpr])
