"""Target-decoy competition: synthetic identities whose best match is a training and not a control person."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from unveil.types import Floats, Ints, Mask


@dataclass(frozen=True)
class Competition:
    """q of the synthetic identities (I,), and the closest identity of each real person.

    An identity can be significant only if its best match is a training person and it is the closest identity of that
    person (``first``). Other identities of that person are its duplicates.
    """

    q: Floats  # (I,) 1 where a control person is the best match
    first: Mask  # (I,)
    target_wins: int
    decoy_wins: int
    ratio: float  # training people per control person
    min_significant: int  # training people who must exceed every control person before any identity is significant

    def significant(self, fdr: float) -> Mask:
        """Which identities (I,) are significant at a false discovery rate."""
        return np.asarray((self.q <= fdr) & self.first, np.bool_)


def compete(score: Floats, won_by_training: Mask, person: Ints, ratio: float, fdr: float) -> Competition:
    """Target-decoy competition of identities, by their best scores (I,) and the codes (I,) of the matched people.

    FDR(t) = ratio (1 + decoys >= t) / targets >= t, made monotone. Targets are training people and decoys are control
    people who are the best match of an identity at t or above. Each person counts once, however many identities they
    match: a hub matches many, but is a single event of chance.

    Under the null a best match is a training person with odds ``ratio`` : 1, whatever the score. This is selective
    SeqStep+ (Barber and Candes 2015, doi:10.1214/15-AOS1337) with unequal odds, as in Emery et al. 2020
    (arXiv 1907.01458). Assumes that training and control people have equally many images per person, and that people
    are independent. Control people win ties. Training and control people may share codes.
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
        int(np.ceil(ratio / fdr - 1e-9)),
    )
