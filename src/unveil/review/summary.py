"""Summary of the verdicts: reviewer precision, reviewer false positive rate, and agreement."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from unveil.io.run_directory import VERDICTS
from unveil.results import Agreement, PairVerdicts, Review, ReviewPair
from unveil.review.verdicts import REVIEW_VERDICTS, PairKey, RecordedVerdict, VerdictStore
from unveil.stats.agreement import MISSING, cohen_kappa, krippendorff_alpha
from unveil.stats.intervals import share
from unveil.types import Estimate

# Kappas are of two reviewers each; of more than these, one alpha says how far all agree.
MAX_COMPARED = 20
# `cannot tell` is no category: it neither agrees nor disagrees.
CATEGORIES: dict[str, int] = {verdict: i for i, verdict in enumerate(REVIEW_VERDICTS) if verdict != "cannot tell"}


def review_summary(run: Path, pairs: Sequence[ReviewPair]) -> Review | None:
    """The summary of the verdicts in a run, or None without any verdict. Raises StoreError for a damaged file."""
    if not (run / VERDICTS).exists():
        return None
    store = VerdictStore(run)
    try:
        return summarise(store.current(), pairs)
    finally:
        store.close()


def summarise(by_reviewer: dict[str, dict[PairKey, RecordedVerdict]], pairs: Sequence[ReviewPair]) -> Review | None:
    """The summary of the current verdicts of each reviewer. Verdicts on other pairs than ``pairs`` do not count."""
    known: dict[PairKey, ReviewPair] = {(p.synthetic_id, p.real_id, p.role): p for p in pairs}
    counted = {name: {key: v for key, v in own.items() if key in known} for name, own in by_reviewer.items()}
    counted = {name: own for name, own in sorted(counted.items()) if own}
    if not counted:
        return None
    reviewed = [
        _count(pair, [own[key].verdict for own in counted.values() if key in own]) for key, pair in known.items()
    ]
    reviewed = [v for v in reviewed if v.decided + v.cannot_tell]
    findings = [v for v in reviewed if v.significant and v.outcome != "undecided"]
    controls = [v for v in reviewed if v.role == "control" and v.outcome != "undecided"]
    # A fixed seed: the same verdicts give the same intervals.
    rng = np.random.default_rng(0)
    table = np.array([[_category(own.get(key)) for own in counted.values()] for key in known], np.int64)
    compared = list(counted) if len(counted) <= MAX_COMPARED else []
    kappas = [
        (names, cohen_kappa(table[:, i], table[:, j], rng))
        for (i, j), names in zip(combinations(range(len(compared)), 2), combinations(compared, 2), strict=True)
    ]
    verdicts = [v for own in counted.values() for v in own.values()]
    return Review(
        reviewers=tuple(counted),
        n_verdicts=len(verdicts),
        n_blind=sum(v.blind for v in verdicts),
        n_findings=sum(p.significant for p in pairs),
        pairs=tuple(reviewed),
        reviewer_precision=_share_of_leaks(
            findings, "share of findings that are leaks by the majority of reviewers who could tell"
        ),
        reviewer_false_positive_rate=_share_of_leaks(
            controls, "share of control pairs taken for one person by the majority"
        ),
        cohen=tuple(Agreement(names, kappa) for names, kappa in kappas if kappa is not None),
        krippendorff=krippendorff_alpha(table, rng),
    )


def _share_of_leaks(decided: Sequence[PairVerdicts], method: str) -> Estimate | None:
    return share(sum(v.outcome == "leak" for v in decided), len(decided), method) if decided else None


def _category(recorded: RecordedVerdict | None) -> int:
    return MISSING if recorded is None else CATEGORIES.get(recorded.verdict, MISSING)


def _count(pair: ReviewPair, verdicts: Sequence[str]) -> PairVerdicts:
    n = Counter(verdicts)
    return PairVerdicts(
        *(pair.synthetic_id, pair.real_id, pair.role, pair.person, pair.significant),
        *(n[verdict] for verdict in REVIEW_VERDICTS),
    )
