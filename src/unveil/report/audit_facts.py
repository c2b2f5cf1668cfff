"""What a datasheet states of an audit: threat model, unit, origin of the data, reviewers, and residual risk."""

from __future__ import annotations

from unveil.report.first_page import not_tested
from unveil.report.text import called_leaks, enumeration
from unveil.report.units import IMAGES, unit_of
from unveil.results import AuditResult
from unveil.types import ROLES

ROLE_NAMES = {
    "synthetic": "The synthetic set",
    "training": "The training set, as given by the author of the audit",
    "control": "The control set: people whom the generator never saw, as stated by the author of the audit",
}


def threat_model(result: AuditResult) -> str:
    """What the attacker has and wants."""
    names = enumeration(dict.fromkeys(str(model["name"]) for model in result.models), "and")
    return (
        "The attacker has the published images and photographs of people, and asks which of these people trained the "
        f"generator. The attacker compares images by {enumeration(result.channels, 'and')} with public models "
        f"({names}). The attacker has neither the generator nor its training images."
    )


def unit(result: AuditResult) -> str:
    """What error rates count."""
    if unit_of(result.counts) is IMAGES:
        return "An image: the training images have no person labels, so each counts as a person of its own."
    return "A person: all images with one label count together, and error rates hold over people."


def provenance(result: AuditResult) -> list[str]:
    """What was audited, a sentence for each role."""
    found = []
    for role in ROLES:
        if role not in result.counts:
            found.append("There was no control set.")
            continue
        counts, facts = result.counts[role], result.manifest["inputs"][role]
        people = "" if counts.unlabelled == counts.embedded else f" of {counts.people:,} people"
        left_out = f" {counts.left_out:,} further images were left out." if counts.left_out else ""
        found.append(
            f"{ROLE_NAMES[role]}: {counts.embedded:,} of {counts.images:,} images{people} ({facts['kind']}, SHA-256 "
            f"{facts['sha256'][:16]}).{left_out}"
        )
    return found


def reviewers(result: AuditResult) -> str:
    """Who judged the pairs, and what they decided."""
    review = result.review
    if review is None:
        return "Nobody has reviewed the pairs."
    n = len(review.reviewers)
    text = (
        f"{n:,} {'reviewer' if n == 1 else 'reviewers'} inspected {len(review.pairs):,} pairs, {review.n_blind:,} of "
        f"{review.n_verdicts:,} verdicts blind."
    )
    return f"{text} {called_leaks(review, intervals=True)}".strip()


def residual_risk(result: AuditResult) -> list[str]:
    """What remains after this audit: what it did not test or would miss."""
    return [*not_tested(result), "Copies of the dataset that are already published, and the generator itself."]
