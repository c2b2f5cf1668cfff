"""The pairs that reviewers see, and the closest training image of each synthetic image."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np

from unveil.analysis.findings import Findings
from unveil.columns import Texts
from unveil.compare import exact_cosine
from unveil.results import IdentityMatch, PairFinding, ReviewPair, ReviewReason
from unveil.stats.baselines.memorisation import memorisation
from unveil.types import Embedded, Ints, Role

# The error rate of reviewers is measured on at least so many control pairs, however few the findings are.
MIN_CONTROL_PAIRS = 20


def review_pairs(found: Findings, synthetic: Embedded, rankings: Sequence[PairFinding]) -> tuple[ReviewPair, ...]:
    """The findings, then the pairs of the rankings, then as many closest pairs of control people; each pair once."""
    pairs: dict[tuple[str, str, Role], ReviewPair] = {}

    def add(
        why: ReviewReason,
        synthetic_id: str,
        real_id: str,
        person: str,
        cosine: float,
        score: float,
        role: Role,
        identity: IdentityMatch | None = None,
    ) -> None:
        significant = why in ("exposed person", "synthetic identity")
        agreement = (
            ""
            if identity is None
            else f"{identity.n_agreeing} of {identity.n_images} images of synthetic identity {identity.identity} "
            "have this person as their closest real person."
        )
        pairs.setdefault(
            (synthetic_id, real_id, role),
            ReviewPair(why, synthetic_id, real_id, role, person, cosine, score, significant, agreement),
        )

    training = found.training.images
    identities = [(i, id) for i in found.identities.that_are_significant if (id := i.training_id) is not None]
    # Only of the images that are shown: a place for each of millions would take gigabytes.
    row_of = _rows(training.ids, {id for _, id in identities})
    query_of = _rows(synthetic.ids, {i.synthetic_id for i, _ in identities} | {pair.synthetic_id for pair in rankings})
    for p in found.significant_people:
        add("exposed person", p.synthetic_id, p.training_id, p.person, p.cosine, p.score, "training", p.identity)
    best_score = found.training.closest[1]
    for i, id in identities:
        row = row_of[id]
        (cosine,) = exact_cosine(
            *(synthetic.vectors, training.vectors), *(np.array([query_of[i.synthetic_id]]), np.array([row]))
        )
        add("synthetic identity", i.synthetic_id, id, training.people_or_ids[row], float(cosine), i.score, "training")
    for pair in rankings:
        # Pairs of the published attack have no score of their own: the best score of their synthetic image is shown.
        score = float(best_score[query_of[pair.synthetic_id]])
        add("closest pair", pair.synthetic_id, pair.training_id, pair.person, pair.cosine, score, "training")
    if found.control is not None:
        side = found.control.side
        exposed = side.exposure(found.control.subsample.control)
        n_control = max(MIN_CONTROL_PAIRS, len(pairs))
        for i in np.lexsort((np.arange(len(exposed)), -exposed.score))[:n_control]:
            query, row = exposed.best_pair[i]
            add(
                *("control", synthetic.ids[query], side.images.ids[row], exposed.people[i]),
                *(float(exposed.cosine[i]), float(exposed.score[i]), "control"),
            )
    return tuple(pairs.values())


def _rows(ids: Texts, needed: AbstractSet[str]) -> dict[str, int]:
    """The rows of some images."""
    rows = np.flatnonzero(ids.are_in(Texts(list(needed))))
    return dict(zip(ids.take(rows), rows.tolist(), strict=True))


def closest_images(found: Findings, synthetic: Embedded, rows: Ints) -> dict[str, Any]:
    """The distinct synthetic images of some rows, each with its closest training image: `ClosestImage` in columns."""
    row, score, channel = found.training.closest
    row, score, channel = row[rows], score[rows], channel[rows]
    training = found.training.images
    cosine = found.training.raw.cosine[rows]
    return {
        "id": synthetic.ids.take(rows).array,
        "identity": synthetic.people_or_ids.take(rows).array(),
        "score": score,
        "training_id": training.ids.take(row).array,
        "person": training.people_or_ids.take(row).array(),
        "channel": Texts(list(found.training.by_channel)).take(channel).array,
        "memorisation": memorisation(np.sqrt(np.maximum(0, 2 - 2 * cosine))),
    }
