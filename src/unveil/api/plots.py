"""Plots of a result. They need matplotlib (`pip install 'unveil[plot]'`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from unveil.api.roc import ROC
from unveil.errors import SettingError
from unveil.results import Exposures, Power

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from unveil.api.audits import Audit

TRAINING, CONTROL = "#c2410c", "#1d4ed8"
# Rates on the axes of a DET curve.
DET_RATES = (0.001, 0.01, 0.05, 0.1, 0.2, 0.5, 0.8, 0.95, 0.99)


class Plots:
    """Plots of one audit. Each method draws on ``ax`` or on a new figure, and returns the axes."""

    def __init__(self, audit: Audit) -> None:
        self._audit = audit

    def scores(self, ax: Axes | None = None) -> Axes:
        """The distribution of the scores of training people beside that of control people.

        Raises SettingError if the audit had no control set.
        """
        exposures = self._exposures()
        axes = ax or _new_axes()
        training, control = exposures.training.score, exposures.control.score
        edges = np.histogram_bin_edges(np.concatenate([training, control]), 40).tolist()
        for name, score, colour in (("control people", control, CONTROL), ("training people", training, TRAINING)):
            weights = np.full(len(score), 1 / len(score))
            axes.hist(score, edges, weights=weights, histtype="step", color=colour, label=name, linewidth=1.6)
        axes.set_xlabel("score of the person's closest pair")
        axes.set_ylabel("share of people")
        axes.legend(frameon=False)
        return axes

    def roc(self, ax: Axes | None = None) -> Axes:
        """True positive rate against false positive rate, with the line of chance.

        Raises SettingError if the audit had no control set.
        """
        curve = self._audit.roc()
        axes = ax or _new_axes()
        axes.plot(curve.fpr, curve.tpr, color=TRAINING, drawstyle="steps-post", label=f"audit, AUC {curve.auc:.3f}")
        axes.plot([0, 1], [0, 1], color="#737373", linestyle="--", label="chance")
        axes.set_xlabel("false positive rate: control people")
        axes.set_ylabel("true positive rate: training people")
        axes.set_aspect("equal")
        axes.legend(frameon=False, loc="lower right")
        return axes

    def det(self, ax: Axes | None = None) -> Axes:
        """False negative rate against false positive rate on normal deviate axes (ISO/IEC 19795-1).

        Raises SettingError if the audit had no control set.
        """
        from statistics import NormalDist

        deviate = NormalDist().inv_cdf
        curve = self._audit.roc()
        x, y = (_deviates(curve, rate, deviate) for rate in (curve.fpr, curve.fnr))
        axes = ax or _new_axes()
        axes.plot(x, y, color=TRAINING, label="audit")
        chance = np.array([deviate(rate) for rate in DET_RATES])
        axes.plot(chance, -chance, color="#737373", linestyle="--", label="chance")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_ticks(chance, [f"{rate:.1%}".replace(".0%", "%") for rate in DET_RATES])
        axes.set_xlabel("false positive rate: control people")
        axes.set_ylabel("false negative rate: training people")
        axes.set_aspect("equal")
        axes.legend(frameon=False)
        return axes

    def power(self, ax: Axes | None = None) -> Axes:
        """The share of planted leaks that the audit detects, by kind and strength, with 95% intervals.

        Raises SettingError if no leaks were planted.
        """
        power: Power | None = self._audit.power
        if power is None:
            raise SettingError("the audit planted no leaks; audit with planted_leaks='full' to measure its power")
        axes = ax or _new_axes(height=0.24 * len(power.recalls) + 1.2)
        names = [f"{recall.kind}, {recall.strength}" for recall in power.recalls]
        value = np.array([recall.one_leak.value for recall in power.recalls])
        low = np.array([recall.one_leak.low for recall in power.recalls])
        high = np.array([recall.one_leak.high for recall in power.recalls])
        rows = np.arange(len(names))[::-1]
        axes.errorbar(value, rows, xerr=[value - low, high - value], fmt="o", color=TRAINING, markersize=4, capsize=2)
        axes.set_yticks(rows, names, fontsize=8)
        axes.set_xlim(-0.02, 1.02)
        axes.set_xlabel(f"share of {power.n_people} planted people detected")
        return axes

    def _exposures(self) -> Exposures:
        return self._audit.tested_people()


def _deviates(curve: ROC, rate: np.ndarray[Any, np.dtype[np.float64]], deviate: Any) -> list[float]:
    """Normal deviates of rates. A rate of 0 or 1 is none: it is drawn at half an observation."""
    least = 0.5 / max(len(curve.threshold), 2)
    return [deviate(float(np.clip(one, least, 1 - least))) for one in rate]


def _new_axes(height: float = 3.6) -> Axes:
    try:
        from matplotlib import pyplot
    except ImportError:
        raise SettingError("plots need matplotlib, which is not installed; run pip install 'unveil[plot]'") from None
    axes: Axes = pyplot.subplots(figsize=(5.4, height), layout="constrained")[1]
    axes.spines[["top", "right"]].set_visible(False)
    return axes
