"""A copy of a result without names of people, files and paths."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from unveil.config.record import without_names
from unveil.results import AuditResult, Exposures, PersonFinding
from unveil.types import Exposure

REDACTED = "This copy is redacted: it shows no face, and numbers replace names, files and paths."


class _Names:
    """Numbers in order of first appearance."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._known: dict[str, str] = {}

    def __getitem__(self, name: str) -> str:
        return self._known.setdefault(name, f"{self._prefix} {len(self._known) + 1}")


def redact(result: AuditResult) -> AuditResult:
    """The result with every name replaced by a number. Hashes of whole sets stay; there are none of single images."""
    person, identity = _Names("person"), _Names("identity")
    synthetic, training, rejected = _Names("synthetic"), _Names("training"), _Names("file")
    control, control_person = _Names("control"), _Names("control person")

    def pairs(rows: Iterable[Any]) -> tuple[Any, ...]:
        return tuple(
            replace(
                row,
                synthetic_id=synthetic[row.synthetic_id],
                training_id=training[row.training_id],
                person=person[row.person],
            )
            for row in rows
        )

    def of_channels(one: PersonFinding) -> PersonFinding:
        views = (
            replace(v, synthetic_id=synthetic[v.synthetic_id], training_id=training[v.training_id])
            for v in one.channels
        )
        return replace(one, channels=tuple(views))

    review = result.review
    if review is not None:
        reviewer = _Names("reviewer")
        names = tuple(reviewer[name] for name in review.reviewers)
        review = replace(
            review,
            reviewers=names,
            pairs=tuple(
                replace(
                    v,
                    synthetic_id=synthetic[v.synthetic_id],
                    real_id=(training if v.role == "training" else control)[v.real_id],
                    person=(person if v.role == "training" else control_person)[v.person],
                )
                for v in review.pairs
            ),
            cohen=tuple(
                replace(a, reviewers=(reviewer[a.reviewers[0]], reviewer[a.reviewers[1]])) for a in review.cohen
            ),
        )
    manifest: Any = {
        **result.manifest,
        "settings": without_names(result.manifest["settings"]),
        "inputs": {
            role: {k: v for k, v in facts.items() if k not in ("path", "identity")}
            for role, facts in result.manifest["inputs"].items()
        },
        "redacted": REDACTED,
    }
    people = tuple(of_channels(one) for one in pairs(result.people))
    return replace(
        result,
        exact_copies=pairs(result.exact_copies),
        people=people,
        synthetic_identities=tuple(
            replace(
                i,
                identity=identity[i.identity],
                duplicate_of=None if i.duplicate_of is None else identity[i.duplicate_of],
                synthetic_id=synthetic[i.synthetic_id],
                training_id=None if i.training_id is None else training[i.training_id],
            )
            for i in result.synthetic_identities
        ),
        top_pairs=pairs(result.top_pairs),
        top_pairs_corrected=pairs(result.top_pairs_corrected),
        hubness=tuple(replace(h, training_id=training[h.training_id], person=person[h.person]) for h in result.hubness),
        # Charts need the scores, not the names.
        exposures=None
        if result.exposures is None
        else Exposures(_nameless(result.exposures.training), _nameless(result.exposures.control)),
        rejects={
            role: tuple(replace(r, id=rejected[f"{role} {r.id}"], detail="") for r in rejects)
            for role, rejects in result.rejects.items()
        },
        limitations=(REDACTED, *result.limitations),
        review=review,
        manifest=manifest,
    )


def _nameless(exposure: Exposure) -> Exposure:
    return replace(exposure, people=("",) * len(exposure))
