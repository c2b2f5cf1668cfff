"""The ROC of the scores of training people against those of control people."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from unveil.types import Floats


@dataclass(frozen=True, eq=False)
class ROC:
    """Rates of the decision "was in the training set" at every threshold, in the order of falling thresholds.

    ``fpr`` (T,) is the share of control people at or above ``threshold`` (T,), ``tpr`` (T,) that of training people.
    The first threshold is infinite: nobody is above it.
    """

    threshold: Floats
    fpr: Floats
    tpr: Floats

    @property
    def fnr(self) -> Floats:
        """Share of training people below the threshold (T,)."""
        return 1 - self.tpr

    @property
    def auc(self) -> float:
        """Area under the curve; a tie counts half."""
        return float(np.trapezoid(self.tpr, self.fpr))


def roc_of(training: Floats, control: Floats) -> ROC:
    """The ROC of the scores of training people (M,) against those of control people (N,), both at least one."""
    scores = np.concatenate([training, control])
    thresholds = np.unique(scores)[::-1]
    tpr, fpr = (
        np.concatenate([[0.0], 1 - np.searchsorted(np.sort(side), thresholds) / len(side)])
        for side in (training, control)
    )
    return ROC(np.concatenate([[np.inf], thresholds]), fpr, tpr)
