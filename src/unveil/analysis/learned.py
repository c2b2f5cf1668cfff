"""The learned score: what several scores of people say together, and whether training and control people allow it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from unveil.analysis.cohort import ChannelContext
from unveil.analysis.matching import Matching, Subsample
from unveil.analysis.scores import RealSide
from unveil.channels import AppearanceChannel
from unveil.compare import Backend, compare_all
from unveil.results import LearnedScore
from unveil.stats.checks import Check
from unveil.stats.learned_score import learned_list
from unveil.stats.set_fit import SetFit, fit_sets
from unveil.types import Exposure, Floats

# Synthetic images whose mean score with a real image is one of the scores: a generator draws a training image more than
# once.
CLOSEST = 3
# Each test fits everybody, so more people take long.
MAX_PEOPLE = 50_000
# The checks of whether training and control people differ in anything but membership. A model learns any difference.
OF_DIFFERENCES = ("closeness to other people", "prognostic score", "classifier without the synthetic set")


def learn_score(
    contexts: Mapping[str, ChannelContext],
    sides: tuple[RealSide, RealSide],
    tested: tuple[Exposure, Exposure],
    matching: Matching,
    subsample: Subsample,
    checks: Iterable[Check],
    fdr: float,
    backend: Backend,
) -> tuple[LearnedScore, frozenset[str]]:
    """The learned score of an audit, and the training people whom it makes significant.

    ``sides`` and ``tested`` are the training and the control people. It is not used where people or images are
    subsampled, or a check finds a difference between both sides.
    """
    differences = [check for check in checks if check.name in OF_DIFFERENCES and check.status != "pass"]
    reason = None
    if differences:
        reason = f"training and control people differ ({differences[0].name}), and a learned score would learn that"
    elif not matching.is_everything(subsample):
        reason = "people or images are subsampled to match both sides"
    elif len(tested[0]) + len(tested[1]) > MAX_PEOPLE:
        reason = f"there are more than {MAX_PEOPLE:,} people"
    if reason is not None:
        return LearnedScore(False, reason, {}, 0), frozenset()
    training, control = _scores_of_people(contexts, sides, tested, backend)
    found = learned_list(np.column_stack(list(training.values())), np.column_stack(list(control.values())), fdr)
    people = frozenset(tested[0].people[i] for i in np.flatnonzero(found.significant))
    weights = {name: float(weight) for name, weight in zip(training, found.weights, strict=True)}
    return LearnedScore(True, None, weights, len(people)), people


def _scores_of_people(
    contexts: Mapping[str, ChannelContext],
    sides: tuple[RealSide, RealSide],
    tested: tuple[Exposure, Exposure],
    backend: Backend,
) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """The scores (P,) of the tested people of both sides, by name. Each treats all real people alike."""
    scores: tuple[dict[str, Floats], dict[str, Floats]] = ({}, {})
    for channel in contexts:
        for side, of_side in zip(sides, scores, strict=True):
            of_side[channel] = side.exposure(by=channel).score
    name = AppearanceChannel.name
    if name in contexts:
        context = contexts[name]
        fit = fit_sets(context.synthetic.vectors, context.cohort.images.vectors)
        for side, of_side, exposed in zip(sides, scores, tested, strict=True):
            closest, fitted = _by_whole_set(context, side, fit, backend)
            of_side[f"{name}, closest {CLOSEST} images"] = _of_people(side, closest, exposed)
            of_side[f"{name}, whole set"] = _of_people(side, fitted, exposed)
    return scores


def _by_whole_set(context: ChannelContext, side: RealSide, fit: SetFit, backend: Backend) -> tuple[Floats, Floats]:
    """The mean hub-corrected score (N,) of each image with its closest synthetic images, and its fit (N,)."""
    channel = context.synthetic.channel
    vectors = side.images.through(channel).vectors
    found = compare_all(
        *(vectors, context.synthetic.vectors),
        top_k=min(CLOSEST, len(context.synthetic)),
        best_queries=False,
        gallery_offset=context.synthetic_correction,
        backend=backend,
        moments=False,
    )
    return found.score.mean(axis=1) + side.by_channel[channel].correction, fit.of(vectors)


def _of_people(side: RealSide, score: Floats, tested: Exposure) -> Floats:
    """The highest score (P,) of each tested person over their images (N,)."""
    names, codes = side.people
    best = np.full(len(names), -np.inf)
    np.maximum.at(best, codes, score)
    return best[codes[tested.best_pair[:, 1]]]
