"""Which synthetic identities leak: their best match lies among training people, not among decoys."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from unveil.types import Floats


@dataclass(frozen=True)
class Competition:
    """Scores and q of the synthetic identities; an identity whose best match is a control person cannot be listed."""

    q: Floats  # (I,) 1 for those won by a decoy
    target_wins: int
    decoy_wins: int
    ratio: float  # training people for each decoy person
    fewest_listed: int  # wins above every decoy win before any can be listed


def compete(
    score: Floats, won_by_training: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], ratio: float, level: float
) -> Competition:
    """q (I,) of identities by target-decoy competition.

    FDR(t) = ratio (1 + decoy wins >= t) / target wins >= t, made monotone from below. Under the null an identity's best
    match falls on a training person with odds ``ratio`` : 1, whatever its score: selective SeqStep+ (Barber and Candes
    2015, doi:10.1214/15-AOS1337) with unequal odds as in Emery et al. 2020 (arXiv 1907.01458). Assumes that training
    and control people bring the same number of pictures a person, and that identities are independent. Decoys win ties.
    """
    order = np.lexsort((won_by_training, -score))
    wins = np.cumsum(won_by_training[order])
    losses = np.cumsum(~won_by_training[order])
    estimate = ratio * (1 + losses) / np.maximum(wins, 1)
    running = np.minimum(1, np.minimum.accumulate(estimate[::-1])[::-1])
    q = np.ones(len(score))
    q[order] = np.where(won_by_training[order], running, 1)
    return Competition(
        q, int(won_by_training.sum()), int((~won_by_training).sum()), ratio, int(np.ceil(ratio / level - 1e-9))
    )
