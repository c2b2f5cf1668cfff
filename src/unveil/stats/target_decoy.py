"""Which synthetic identities leak: their best match lies among training people, not among decoys."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unveil.types import Floats, Ints

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Competition:
    """q of the synthetic identities, and which of them stand for a real person.

    An identity whose best match is a control person cannot be listed. Nor can one whose real person has another
    identity that is closer: ``first`` are those that have the closest.
    """

    q: Floats  # (I,) 1 for those won by a decoy
    first: Mask  # (I,)
    target_wins: int
    decoy_wins: int
    ratio: float  # training people for each decoy person
    min_significant: int  # people who must win above every decoy before any can be listed

    def significant(self, level: float) -> Mask:
        """Which identities (I,) are listed at a false discovery rate of ``level``."""
        return np.asarray((self.q <= level) & self.first, np.bool_)


def compete(score: Floats, won_by_training: Mask, person: Ints, ratio: float, level: float) -> Competition:
    """Target-decoy competition of identities: scores (I,), and the real ``person`` (I,) whom each is closest to.

    FDR(t) = ratio (1 + decoys >= t) / targets >= t, made monotone from below. Targets and decoys are the real people
    who win identities at t or above, each counted once and standing for one identity, the closest: a face that is close
    to everybody wins many, but is one draw of chance. Under the null a winner is a training person with odds ``ratio``
    : 1, whatever the score: selective SeqStep+ (Barber and Candes 2015, doi:10.1214/15-AOS1337) with unequal odds as in
    Emery et al. 2020 (arXiv 1907.01458). Assumes that training and control people bring the same number of pictures a
    person, and that people are independent. Decoys win ties. Training and control people may share codes.
    """
    order = np.lexsort((won_by_training, -score))
    won = won_by_training[order]
    first_in_order = np.zeros(len(score), np.bool_)
    first_in_order[np.unique(2 * person[order] + won, return_index=True)[1]] = True
    wins, losses = np.cumsum(won & first_in_order), np.cumsum(~won & first_in_order)
    estimate = ratio * (1 + losses) / np.maximum(wins, 1)
    running = np.minimum(1, np.minimum.accumulate(estimate[::-1])[::-1])
    q, first = np.ones(len(score)), np.zeros(len(score), np.bool_)
    q[order] = np.where(won, running, 1)
    first[order] = first_in_order
    return Competition(
        *(q, first & won_by_training, int(won_by_training.sum()), int((~won_by_training).sum()), ratio),
        int(np.ceil(ratio / level - 1e-9)),
    )
