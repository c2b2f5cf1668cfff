"""From single verdicts to what they say together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from unveil.analysis.review_pairs import ReviewPair
from unveil.results import Agreement, PairVerdicts, Review
from unveil.review.verdicts import FILE, REVIEW_VERDICTS, PairKey, RecordedVerdict, VerdictStore
from unveil.stats.agreement import MISSING, cohen_kappa, krippendorff_alpha
from unveil.stats.intervals import share
from unveil.types import Estimate

# Who cannot tell neither agrees nor disagrees.
CATEGORIES: dict[str, int] = {verdict: i for i, verdict in enumerate(REVIEW_VERDICTS) if verdict != "cannot tell"}


def review_summary(run: Path, pairs: Sequence[ReviewPair]) -> Review | None:
    """What reviewers said of the pairs of a run; None when nobody said anything. StoreError for a damaged file."""
    if not (run / FILE).exists():
        return None
    store = VerdictStore(run)
    try:
        return combined(store.standing(), pairs)
    finally:
        store.close()


def combined(standing: dict[str, dict[PairKey, RecordedVerdict]], pairs: Sequence[ReviewPair]) -> Review | None:
    """The verdicts that count, pair by pair, with the figures that follow."""
    known: dict[PairKey, ReviewPair] = {(p.synthetic_id, p.real_id, p.role): p for p in pairs}
    said = {name: {pair: s for pair, s in own.items() if pair in known} for name, own in standing.items()}
    said = {name: own for name, own in sorted(said.items()) if own}
    if not said:
        return None
    judged = [_verdicts(pair, [own[key].verdict for own in said.values() if key in own]) for key, pair in known.items()]
    judged = [v for v in judged if v.decided + v.cannot_tell]
    decided = [v for v in judged if v.significant and v.outcome != "undecided"]
    null = [v for v in judged if v.role == "control" and v.outcome != "undecided"]
    # The same verdicts give the same intervals.
    rng = np.random.default_rng(0)
    table = np.array([[_category(own.get(key)) for own in said.values()] for key in known], np.int64)
    kappas = [
        (pair, cohen_kappa(table[:, i], table[:, j], rng))
        for (i, j), pair in zip(combinations(range(len(said)), 2), combinations(said, 2), strict=True)
    ]
    every = [s for own in said.values() for s in own.values()]
    return Review(
        reviewers=tuple(said),
        n_verdicts=len(every),
        n_blind=sum(s.blind for s in every),
        n_findings=sum(p.significant for p in pairs),
        pairs=tuple(judged),
        reviewer_precision=_share(
            decided, "share of findings that are leaks by the majority of reviewers who could tell"
        ),
        reviewer_false_positive_rate=_share(null, "share of control pairs taken for one person by the majority"),
        cohen=tuple(Agreement(pair, kappa) for pair, kappa in kappas if kappa is not None),
        krippendorff=krippendorff_alpha(table, rng),
    )


def _share(judged: Sequence[PairVerdicts], what: str) -> Estimate | None:
    return share(sum(v.outcome == "leak" for v in judged), len(judged), what) if judged else None


def _category(said: RecordedVerdict | None) -> int:
    return MISSING if said is None else CATEGORIES.get(said.verdict, MISSING)


def _verdicts(pair: ReviewPair, verdicts: Sequence[str]) -> PairVerdicts:
    n = Counter(verdicts)
    return PairVerdicts(
        *(pair.synthetic_id, pair.real_id, pair.role, pair.person, pair.significant),
        *(n[verdict] for verdict in REVIEW_VERDICTS),
    )
