"""From single verdicts to what they say together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from unveil.result import Agreement, PairVerdicts, Review
from unveil.review.verdicts import FILE, VERDICTS, PairKey, Said, VerdictStore
from unveil.stats.agreement import MISSING, cohen_kappa, krippendorff_alpha
from unveil.stats.estimates import share
from unveil.steps.after import PairToLookAt
from unveil.types import Estimate

# Who cannot tell neither agrees nor disagrees.
CATEGORIES: dict[str, int] = {verdict: i for i, verdict in enumerate(VERDICTS) if verdict != "cannot tell"}


def outcome_of(run: Path, pairs: Sequence[PairToLookAt]) -> Review | None:
    """What reviewers said of the pairs of a run; None when nobody said anything. StoreError for a damaged file."""
    if not (run / FILE).exists():
        return None
    store = VerdictStore(run)
    try:
        return together(store.standing(), pairs)
    finally:
        store.close()


def together(standing: dict[str, dict[PairKey, Said]], pairs: Sequence[PairToLookAt]) -> Review | None:
    """The verdicts that count, pair by pair, with the figures that follow."""
    known: dict[PairKey, PairToLookAt] = {(p.synthetic_id, p.real_id, p.role): p for p in pairs}
    said = {name: {pair: s for pair, s in own.items() if pair in known} for name, own in standing.items()}
    said = {name: own for name, own in sorted(said.items()) if own}
    if not said:
        return None
    judged = [_verdicts(pair, [own[key].verdict for own in said.values() if key in own]) for key, pair in known.items()]
    judged = [v for v in judged if v.told + v.cannot_tell]
    decided = [v for v in judged if v.listed and v.outcome != "undecided"]
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
        n_findings=sum(p.listed for p in pairs),
        pairs=tuple(judged),
        true_leaks=_share(decided, "share of findings that are leaks by the majority of reviewers who could tell"),
        mistaken=_share(null, "share of control pairs taken for one person by the majority"),
        cohen=tuple(Agreement(pair, kappa) for pair, kappa in kappas if kappa is not None),
        krippendorff=krippendorff_alpha(table, rng),
    )


def _share(judged: Sequence[PairVerdicts], what: str) -> Estimate | None:
    return share(sum(v.outcome == "leak" for v in judged), len(judged), what) if judged else None


def _category(said: Said | None) -> int:
    return MISSING if said is None else CATEGORIES.get(said.verdict, MISSING)


def _verdicts(pair: PairToLookAt, verdicts: Sequence[str]) -> PairVerdicts:
    n = Counter(verdicts)
    return PairVerdicts(
        *(pair.synthetic_id, pair.real_id, pair.role, pair.person, pair.listed),
        *(n[verdict] for verdict in VERDICTS),
    )
