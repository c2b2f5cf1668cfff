"""The records that the analysis returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import get_args

from unveil.analysis.cohort import ChannelContext
from unveil.analysis.label_link import unreliable_link
from unveil.analysis.matching import Subsample
from unveil.analysis.scores import RealSide
from unveil.choices import LEAK, NO_LEAK, AuditVerdict
from unveil.results import (
    Balance,
    Calibration,
    Exposures,
    IdentityFindings,
    ImageCopy,
    ImprobablePair,
    LabelLink,
    NoControl,
    OverlapFinding,
    PersonFinding,
    fewest_people,
)
from unveil.stats.checks import Check
from unveil.stats.intervals import exact_count
from unveil.stats.person_tests import PersonTests
from unveil.stats.statements import NONE_DETECTED, Evidence
from unveil.stats.verdict import blocked
from unveil.types import Embedded, Exposure


@dataclass(frozen=True)
class ControlState:
    """The scored control people and the images that were tested: the null of every test and of planted leaks."""

    side: RealSide
    subsample: Subsample


@dataclass(frozen=True)
class Findings:
    """The verdict and what it follows from.

    With a control set there is a ``calibration``. Without one, or where it cannot be used, there is the statement
    ``no_control`` if enough training people have labels.
    """

    verdict: AuditVerdict
    evidence: tuple[Evidence, ...]
    checks: tuple[Check, ...]
    people: tuple[PersonFinding, ...]
    identities: IdentityFindings
    training: RealSide
    contexts: Mapping[str, ChannelContext]
    calibration: Calibration | None = None
    no_control: NoControl | None = None
    balance: Balance | None = None  # where control people were measured but not used
    control_pairs: int = 0
    control: ControlState | None = None
    exposures: Exposures | None = None  # of the tested people
    tests: PersonTests | None = None  # of these exposures
    copies: tuple[ImageCopy, ...] = ()
    label_link: LabelLink | None = None
    improbable_pairs: tuple[ImprobablePair, ...] = ()
    overlap: tuple[OverlapFinding, ...] = ()  # control people who were removed

    @property
    def significant_people(self) -> tuple[PersonFinding, ...]:
        """Training people who are significant by any evidence, most exposed first."""
        return tuple(p for p in self.people if p.significant_by)

    def reliable(self) -> Findings:
        """The same without findings that a failed input check makes unreliable."""
        unreliable = blocked(self.checks)
        if not unreliable:
            return self
        people = tuple(
            replace(p, significant_by=tuple(name for name in p.significant_by if name not in unreliable))
            for p in self.people
        )
        identities = self.identities
        if "identities" in unreliable or (self.no_control is not None and "conformal search" in unreliable):
            identities = identities.unreliable()
        calibration = self.calibration
        if calibration is not None and "global test" in unreliable:
            # The limit of the number of exposed people is an inversion of the global test.
            exposed_people = replace(calibration.exposed_people, low=0.0, value=0.0)
            calibration = replace(calibration, exposed_people=exposed_people, exposed_share=None)
        return replace(self, people=people, identities=identities, calibration=calibration)

    def with_improbable(self, pairs: Sequence[ImprobablePair], n_synthetic: int) -> Findings:
        """The same with pairs that are closer than false matches are; "none detected" is never said above them."""
        if not pairs or self.verdict not in NO_LEAK:
            return replace(self, improbable_pairs=tuple(pairs))
        return replace(
            self,
            verdict="inconclusive",
            checks=(*self.checks, improbable_check(pairs, n_synthetic)),
            improbable_pairs=tuple(pairs),
        )

    def with_changed(self, n: int, n_synthetic: int) -> Findings:
        """The same where ``n`` images are probably changed training images; "none detected" is never said above them.

        Few of them are too few for a test, with control people too.
        """
        if not n or self.verdict not in NO_LEAK:
            return self
        return replace(self, verdict="inconclusive", checks=(*self.checks, changed_check(n, n_synthetic)))

    def with_link(self, link: LabelLink | None) -> Findings:
        """The same with the label link: an exact test without control people, so a significant one is a leak whatever
        the other tests say. It has no findings where a failed input check makes them unreliable."""
        if link is not None and "label link" in blocked(self.checks):
            link = unreliable_link(link)
        if link is None or not link.significant:
            return replace(self, label_link=link)
        evidence = self.evidence if self.verdict in LEAK else ()
        return replace(self, verdict="leak found", evidence=("label link", *evidence), label_link=link)

    def with_copies(self, copies: Sequence[ImageCopy]) -> Findings:
        """The same with more copies: facts, so the verdict is a leak whatever the tests and input checks say."""
        if not copies:
            return self
        new = {copy.person: copy for copy in reversed(copies)}
        people = tuple(_copied(p, new[p.person]) if p.person in new else p for p in self.people)
        # Of people who share an image, one at least is shown.
        copied = fewest_people((*self.copies, *copies))
        calibration = self.calibration
        if calibration is not None:
            exposed = calibration.exposed_people
            low = max(exposed.low, float(copied))
            value = max(exposed.value, low, float(sum(bool(p.significant_by) for p in people)))
            high = max(exposed.high, value)
            share = calibration.exposed_share
            if share is not None and share.n:
                # People with a copy may be among those who were not tested.
                least = min(1.0, copied / share.n)
                share = replace(
                    share, low=max(share.low, least), value=max(share.value, least), high=max(share.high, least)
                )
            calibration = replace(
                calibration,
                exposed_people=replace(exposed, low=low, value=value, high=high),
                exposed_share=share,
            )
        return replace(
            self,
            verdict="leak found",
            evidence=_with_facts({evidence_of(copy) for copy in copies}, self.evidence),
            people=people,
            calibration=calibration,
            copies=(*self.copies, *copies),
        )


def _copied(finding: PersonFinding, copy: ImageCopy) -> PersonFinding:
    """The finding with its fact; where nothing else names the person, the pair shown is the copy."""
    evidence = _with_facts({evidence_of(copy)}, finding.significant_by)
    if finding.significant_by:
        return replace(finding, significant_by=evidence)
    return replace(
        finding,
        significant_by=evidence,
        synthetic_id=copy.synthetic_id,
        training_id=copy.training_id,
        cosine=finding.cosine if copy.equal == "nearly" else 1.0,
    )


def evidence_of(copy: ImageCopy) -> Evidence:
    """The evidence that a copy is."""
    return "near-identical copy" if copy.equal == "nearly" else "exact copy"


def _with_facts(facts: Set[Evidence], evidence: Sequence[Evidence]) -> tuple[Evidence, ...]:
    """The evidence with more facts, which come first."""
    named = {*facts, *evidence}
    return tuple(name for name in get_args(Evidence) if name in named)


def improbable_check(pairs: Sequence[ImprobablePair], n_synthetic: int) -> Check:
    """The check that blocks "none detected": improbable pairs do not prove a leak, but that verdict would hide them."""
    n, highest = len(pairs), max(pair.expected for pair in pairs)
    message = (
        f"{n} synthetic {'image is' if n == 1 else 'images are'} closer to a training image than false matches are: "
        f"{highest:.2g} such images are expected by chance; look at them with unveil review"
    )
    figure = exact_count(n, n_synthetic, "synthetic images with an improbable pair")
    return Check("improbable pairs", "fail", figure, message, (NONE_DETECTED,))


def changed_check(n: int, n_synthetic: int) -> Check:
    """The check that blocks "none detected": near-duplicates prove no leak, but that verdict would hide them."""
    message = (
        f"{n} synthetic {'image is' if n == 1 else 'images are'} so like a training image that one is probably made "
        "from the other; look at the closest pairs with unveil review"
    )
    figure = exact_count(n, n_synthetic, "synthetic images with a near-duplicate")
    return Check("near-duplicates", "fail", figure, message, (NONE_DETECTED,))


def best_pair(exposed: Exposure, i: int, synthetic: Embedded, training: RealSide) -> PersonFinding:
    """The best pair of person ``i``, without p and q."""
    query, row = exposed.best_pair[i]
    return PersonFinding(
        person=exposed.people[i],
        score=float(exposed.score[i]),
        cosine=float(exposed.cosine[i]),
        synthetic_id=synthetic.ids[query],
        training_id=training.images.ids[row],
        channel=list(training.by_channel)[exposed.channel[i]],
        n_images=int(exposed.n_images[i]),
    )
