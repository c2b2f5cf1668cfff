"""What the work after an audit starts from: pairs that people should look at, and how close each picture comes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from unveil.analysis.findings import Findings
from unveil.compare import exact_cosine
from unveil.results.audit import AuditResult
from unveil.types import Embedded, Role

ReviewReason = Literal["exposed person", "synthetic identity", "closest pair", "control"]
# Beside few findings, at least so many control pairs: reviewers are measured on them.
MIN_CONTROL_PAIRS = 20


@dataclass(frozen=True)
class ReviewPair:
    """A synthetic and a real picture, and why they should be looked at; ``listed`` ones are findings."""

    why: ReviewReason
    synthetic_id: str
    real_id: str
    role: Role
    person: str
    cosine: float
    score: float
    significant: bool


@dataclass(frozen=True)
class ClosestImage:
    """An embedded synthetic picture and the training picture that comes closest to it by any channel."""

    id: str
    identity: str
    score: float
    training_id: str
    person: str
    channel: str


def review_pairs(result: AuditResult, found: Findings, synthetic: Embedded) -> tuple[ReviewPair, ...]:
    """Findings, surest first, then the closest pairs of all, then as many of the closest pairs of control people; each
    pair once."""
    pairs: dict[tuple[str, str, Role], ReviewPair] = {}

    def add(
        why: ReviewReason, synthetic_id: str, real_id: str, person: str, cosine: float, score: float, role: Role
    ) -> None:
        significant = why in ("exposed person", "synthetic identity")
        pairs.setdefault(
            (synthetic_id, real_id, role),
            ReviewPair(why, synthetic_id, real_id, role, person, cosine, score, significant),
        )

    training = found.training.images
    row_of = {id: row for row, id in enumerate(training.ids)}
    query_of = {id: row for row, id in enumerate(synthetic.ids)}
    for p in result.significant_people:
        add("exposed person", p.synthetic_id, p.training_id, p.person, p.cosine, p.score, "training")
    closest = dict(zip(synthetic.ids, found.training.closest[1].tolist(), strict=True))
    for i in result.synthetic_identities:
        if i.significant and i.training_id is not None:
            row = row_of[i.training_id]
            (cosine,) = exact_cosine(
                *(synthetic.vectors, training.vectors),
                *(np.array([query_of[i.synthetic_id]]), np.array([row])),
            )
            person = training.people_or_ids[row]
            add("synthetic identity", i.synthetic_id, i.training_id, person, float(cosine), i.score, "training")
    for pair in (*result.top_pairs, *result.top_pairs_corrected):
        # Pairs of the published ranking have no score on the common scale but their picture's.
        score = closest[pair.synthetic_id]
        add("closest pair", pair.synthetic_id, pair.training_id, pair.person, pair.cosine, score, "training")
    if found.ground is not None:
        side = found.ground.control
        exposed = side.exposure(found.ground.draw.control)
        most = max(MIN_CONTROL_PAIRS, len(pairs))
        for i in np.lexsort((np.arange(len(exposed)), -exposed.score))[:most]:
            query, row = exposed.best_pair[i]
            add(
                *("control", synthetic.ids[query], side.images.ids[row], exposed.people[i]),
                *(float(exposed.cosine[i]), float(exposed.score[i]), "control"),
            )
    return tuple(pairs.values())


def closest_images(found: Findings, synthetic: Embedded) -> tuple[ClosestImage, ...]:
    """Each distinct synthetic picture with the training picture that is closest on the common scale."""
    row, score, channel = found.training.closest
    training, channels = found.training.images, list(found.training.by_channel)
    people = training.people_or_ids
    return tuple(
        ClosestImage(id, identity, float(s), training.ids[r], people[r], channels[c])
        for id, identity, r, s, c in zip(synthetic.ids, synthetic.people_or_ids, row, score, channel, strict=True)
    )
