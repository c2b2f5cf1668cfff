"""A copy of a result without names of people, files and paths."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from unveil.columns import Texts
from unveil.config.record import without_names
from unveil.config.settings import SETTINGS
from unveil.report.text import concentration
from unveil.results import (
    AuditResult,
    Balance,
    Exposures,
    HubnessFinding,
    IdentityFinding,
    InputFacts,
    LabelLink,
    Manifest,
    PairVerdicts,
    PersonFinding,
    ProtocolRecord,
    Review,
    Stratum,
)
from unveil.types import Exposure, Reject, Role

NOT_SHOWN = "not shown"
REDACTED = "This copy is redacted: it shows no face, and numbers replace names, files and paths."


class _Names:
    """Numbers in order of first appearance."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._known: dict[str, str] = {}

    def __getitem__(self, name: str) -> str:
        return self._known.setdefault(name, f"{self._prefix} {len(self._known) + 1}")


class _Redaction:
    """Replaces each name by the same number in every part of one result."""

    def __init__(self) -> None:
        self._people = {"training": _Names("person"), "control": _Names("control person")}
        self._images = {"synthetic": _Names("synthetic"), "training": _Names("training"), "control": _Names("control")}
        self._identities, self._rejected, self._reviewers = _Names("identity"), _Names("file"), _Names("reviewer")
        self._strata = _Names("no.")

    def pair(self, row: Any) -> Any:
        """A finding about a synthetic and a training image, and the person of the latter."""
        return replace(self.images(row), person=self._people["training"][row.person])

    def training_person(self, name: str) -> str:
        return self._people["training"][name]

    def images(self, row: Any) -> Any:
        """A record of a synthetic and a training image."""
        training = None if row.training_id is None else self._images["training"][row.training_id]
        return replace(row, synthetic_id=self._images["synthetic"][row.synthetic_id], training_id=training)

    def person(self, found: PersonFinding) -> PersonFinding:
        redacted: PersonFinding = self.pair(found)
        of = found.identity
        return replace(
            redacted,
            channels=tuple(self.images(view) for view in found.channels),
            identity=None if of is None else replace(of, identity=self._identities[of.identity]),
        )

    def identity(self, found: IdentityFinding) -> IdentityFinding:
        redacted: IdentityFinding = self.images(found)
        return replace(
            redacted,
            identity=self._identities[found.identity],
            duplicate_of=None if found.duplicate_of is None else self._identities[found.duplicate_of],
        )

    def link(self, link: LabelLink) -> LabelLink:
        return replace(
            link,
            tried=tuple(replace(one, ambiguous=()) for one in link.tried),
            classes=tuple(
                replace(
                    c,
                    synthetic_label=self._identities[c.synthetic_label],
                    training_label=self._people["training"][c.training_label],
                )
                for c in link.classes
            ),
        )

    def hub(self, hub: HubnessFinding) -> HubnessFinding:
        return replace(
            hub, training_id=self._images["training"][hub.training_id], person=self._people["training"][hub.person]
        )

    def reject(self, role: Role, reject: Reject) -> Reject:
        return replace(reject, id=self._rejected[f"{role} {reject.id}"], detail="")

    def stratum(self, stratum: Stratum) -> Stratum:
        return replace(stratum, name=self._strata[stratum.name])

    def balance(self, balance: Balance) -> Balance:
        return replace(balance, strata=tuple(self._strata[name] for name in balance.strata))

    def review(self, review: Review) -> Review:
        return replace(
            review,
            reviewers=tuple(self._reviewers[name] for name in review.reviewers),
            pairs=tuple(self._reviewed(pair) for pair in review.pairs),
            cohen=tuple(
                replace(a, reviewers=(self._reviewers[a.reviewers[0]], self._reviewers[a.reviewers[1]]))
                for a in review.cohen
            ),
        )

    def _reviewed(self, pair: PairVerdicts) -> PairVerdicts:
        return replace(
            pair,
            synthetic_id=self._images["synthetic"][pair.synthetic_id],
            real_id=self._images[pair.role][pair.real_id],
            person=self._people[pair.role][pair.person],
        )


def redact(result: AuditResult) -> AuditResult:
    """The result with every name replaced by a number. Hashes of whole sets stay; there are none of single images."""
    names = _Redaction()
    # Numbers are given in order of first appearance: reviewers and their pairs come first.
    review = None if result.review is None else names.review(result.review)
    highest = result.highest_individual_risk
    # A limitation names the stratum in which findings concentrate.
    said = {concentration(one): concentration(names.stratum(one)) for one in result.strata or ()}
    return replace(
        result,
        people=tuple(names.person(p) for p in result.people),
        copies=tuple(names.pair(c) for c in result.copies),
        improbable_pairs=tuple(names.pair(p) for p in result.improbable_pairs),
        overlap=(),
        synthetic_identities=tuple(names.identity(i) for i in result.synthetic_identities),
        label_link=None if result.label_link is None else names.link(result.label_link),
        top_pairs=tuple(names.pair(p) for p in result.top_pairs),
        top_pairs_corrected=tuple(names.pair(p) for p in result.top_pairs_corrected),
        hubness=tuple(names.hub(h) for h in result.hubness),
        # Charts need the scores, not the names.
        exposures=None
        if result.exposures is None
        else Exposures(_nameless(result.exposures.training), _nameless(result.exposures.control)),
        rejects={role: tuple(names.reject(role, r) for r in rejects) for role, rejects in result.rejects.items()},
        highest_individual_risk=None
        if highest is None
        else replace(highest, person=names.training_person(highest.person)),
        balance=None if result.balance is None else names.balance(result.balance),
        strata=None if result.strata is None else tuple(names.stratum(one) for one in result.strata),
        limitations=(REDACTED, *(said.get(one, one) for one in result.limitations)),
        review=review,
        manifest=_manifest(result.manifest),
        protocol=None if result.protocol is None else _protocol(result.protocol),
    )


def _manifest(manifest: Manifest) -> Any:
    """The manifest without names and paths in its settings and inputs."""
    return {
        **manifest,
        "settings": without_names(manifest["settings"]),
        "inputs": {role: _input(facts) for role, facts in manifest["inputs"].items()},
        "redacted": REDACTED,
    }


def _input(facts: InputFacts) -> dict[str, Any]:
    """What identifies the images of a role, without its path and the names in its notes."""
    found: dict[str, Any] = {k: v for k, v in facts.items() if k not in ("path", "identity", "notes")}
    n = len(facts.get("notes", []))
    return {**found, "notes": [f"{n} {'note' if n == 1 else 'notes'}, {NOT_SHOWN} in this copy"]} if n else found


def _protocol(protocol: ProtocolRecord) -> ProtocolRecord:
    """The protocol without the reason, and without values of settings that can hold a name or a path."""
    private = {name for name, setting in SETTINGS.items() if setting.private}
    deviations = tuple(
        replace(one, planned=NOT_SHOWN, found=NOT_SHOWN) if one.what.partition(" of ")[0] in private else one
        for one in protocol.deviations
    )
    return replace(protocol, deviations=deviations, reason=None)


def _nameless(exposure: Exposure) -> Exposure:
    return replace(exposure, people=Texts([""] * len(exposure)))
