"""The risks that data protection law names: singling out, linkability and inference (WP216)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unveil.analysis.findings import Findings
from unveil.analysis.scores import RealSide
from unveil.results import HighestRisk, PrivacyRisk
from unveil.results.risk import Criterion
from unveil.stats.hubness import person_codes
from unveil.stats.intervals import share
from unveil.stats.membership import FPRS, resolves, threshold_at
from unveil.stats.risk import excess_risk
from unveil.stats.statements import FACTS, Statement
from unveil.types import Estimate, Ints

# The strictest false positive rate of the singling-out attack that enough control people resolve.
STRICTEST = 0.01
# Fewer people with two images give no useful rate of linked images.
MIN_LINKABLE = 20

MEANINGS: dict[Criterion, str] = {
    "singling out": (
        "An attacker has a photograph of a person and the synthetic set, and claims that the person is in the training "
        "set if the synthetic set comes closer than to almost all control people."
    ),
    "linkability": (
        "An attacker has two photographs and claims that they show one person if the same synthetic identity is the "
        "closest to both."
    ),
    "inference": "An attacker infers an attribute of a person, such as age or origin, from the synthetic set.",
}
ASSUMPTIONS: dict[Criterion, str] = {
    "singling out": "Training and control people differ in nothing but membership; the input checks test this.",
    "linkability": (
        "Two photographs of a control person are as alike as two of a training person, and the labels of people and "
        "synthetic identities are right."
    ),
    "inference": "None, since nothing was measured.",
}


def measure_risks(found: Findings) -> tuple[PrivacyRisk, ...]:
    """Singling out, linkability and inference: attack, control and baseline rate and the risk, or why there is none.

    The criteria are those of Opinion 05/2014 of the Article 29 Working Party (WP216); rates and risks follow Giomi et
    al. 2023 (doi:10.56553/popets-2023-0055).
    """
    return (
        _singling_out(found),
        _linkability(found),
        _not_assessed(
            "inference", "The audit infers no attribute of a person from the synthetic set, so this risk is not known."
        ),
    )


def highest_risk(found: Findings) -> HighestRisk | None:
    """The training person who is exposed most, by a fact or by score; None if nobody was tested and nothing is a fact.

    Opinion 28/2024 of the European Data Protection Board asks for the risk of single people, not for means alone.
    """
    reliable = _blocked_by(found, "conformal") is None
    ranked = sorted(found.people, key=lambda p: (FACTS.isdisjoint(p.significant_by), -p.score))
    first = next((p for p in ranked if not FACTS.isdisjoint(p.significant_by) or (reliable and p.p is not None)), None)
    if first is None:
        return None
    as_close, q = None, None
    if reliable and found.exposures is not None and first.p is not None:
        control = found.exposures.control.score
        as_close = share(int((control >= first.score).sum()), len(control), "share of control people who score as high")
        q = first.lowest_q
    return HighestRisk(first.person, first.score, as_close, q, first.significant_by)


def _singling_out(found: Findings) -> PrivacyRisk:
    reason = _blocked_by(found, "conformal")
    if reason is not None or found.exposures is None:
        return _not_assessed("singling out", reason or _NO_CONTROL)
    training, control = found.exposures.training.score, found.exposures.control.score
    fpr = next((f for f in sorted(FPRS) if f >= STRICTEST and resolves(f, len(control))), None)
    if fpr is None or not len(training):
        return _not_assessed("singling out", f"{len(control)} control people are too few to set a threshold.")
    threshold, _ = threshold_at(control, fpr)
    return _assessed(
        "singling out",
        (int((training > threshold).sum()), len(training)),
        (int((control > threshold).sum()), len(control)),
        Estimate(fpr, fpr, fpr, 1.0, len(control), "claims about random people, as often as about control people"),
    )


def _linkability(found: Findings) -> PrivacyRisk:
    reason = _blocked_by(found, "identities")
    if reason is not None or found.control is None:
        return _not_assessed("linkability", reason or _NO_CONTROL)
    first = next(iter(found.contexts))
    _, identity = person_codes(found.contexts[first].synthetic.people_or_ids)
    sides = ((found.training, found.control.subsample.training), (found.control.side, found.control.subsample.control))
    (linked_t, n_t), (linked_c, n_c) = (_linked(side, rows, first, identity) for side, rows in sides)
    if min(n_t, n_c) < MIN_LINKABLE:
        return _not_assessed(
            "linkability",
            f"{n_t} training people and {n_c} control people have two images; {MIN_LINKABLE} of each are needed.",
        )
    chance = 1 / (int(identity.max()) + 1)
    return _assessed(
        "linkability",
        (linked_t, n_t),
        (linked_c, n_c),
        Estimate(chance, chance, chance, 1.0, len(identity), "a random synthetic identity for the second photograph"),
    )


def _linked(side: RealSide, tested: Ints, channel: str, identity: Ints) -> tuple[int, int]:
    """How many of the tested people with two images have one synthetic identity closest to both, and of how many.

    The first two images of a person in the order of the source are compared, so that all people are treated alike.
    """
    codes, closest = side.people[1], side.by_channel[channel].corrected.best_query
    rows = np.flatnonzero(np.isin(codes, np.unique(codes[tested])) & (closest >= 0))
    order = rows[np.argsort(codes[rows], kind="stable")]
    own = codes[order]
    first = np.flatnonzero(np.r_[True, own[1:] != own[:-1]]) if len(own) else np.zeros(0, np.int64)
    first = first[first + 1 < len(own)]
    first = first[own[first] == own[first + 1]]
    a, b = identity[closest[order[first]]], identity[closest[order[first + 1]]]
    return int((a == b).sum()), len(first)


_NO_CONTROL = "There are no control people, so nothing shows how often the attack succeeds by chance."


def _blocked_by(found: Findings, statement: Statement) -> str | None:
    """The failed check that makes a statement unreliable, as a reason; None if there is none."""
    failed = [c for c in found.checks if c.status == "fail" and statement in c.invalidates]
    return f"The check `{failed[0].name}` failed: {failed[0].message}." if failed else None


def _not_assessed(criterion: Criterion, reason: str) -> PrivacyRisk:
    return PrivacyRisk(criterion, False, reason, MEANINGS[criterion], ASSUMPTIONS[criterion])


def _assessed(criterion: Criterion, attack: Sequence[int], control: Sequence[int], baseline: Estimate) -> PrivacyRisk:
    against_training = share(attack[0], attack[1], "share of training people")
    against_control = share(control[0], control[1], "share of control people")
    return PrivacyRisk(
        *(criterion, True, None, MEANINGS[criterion], ASSUMPTIONS[criterion]),
        attack=against_training,
        control=against_control,
        baseline=baseline,
        risk=excess_risk(against_training, against_control),
    )
