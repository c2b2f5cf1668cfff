"""What an audit gives back: plain records, from which every report is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from unveil.stats.checks import Check
from unveil.stats.false_matches import FalseMatches
from unveil.stats.leak_kinds import CopyThresholds, ImageSimilarity, LeakKind
from unveil.stats.person_tests import PersonTests
from unveil.stats.power import DetectionThreshold, Recall
from unveil.stats.target_decoy import Competition
from unveil.stats.verdict import Evidence, Verdict
from unveil.stats.verification import Verification
from unveil.types import Estimate, Exposure, Floats, Reject, Role

Outcome = Literal["leak", "no leak", "undecided"]


@dataclass(frozen=True)
class RoleCounts:
    """Files in = embedded + rejected. A picture without a label counts as a person of its own.

    ``repeats`` of the embedded ones are byte for byte another of the same role; synthetic ones are compared once. In
    ``several_faces`` of them several were seen, and one was taken.
    """

    images: int
    embedded: int
    rejected: int
    people: int
    unlabelled: int
    repeats: int
    several_faces: int


@dataclass(frozen=True)
class VerificationPerformance:
    """How well the face network tells the people of one labelled role apart."""

    role: Role
    measured: Verification


@dataclass(frozen=True)
class ModelScore:
    """What one of several networks says of a pair: its own cosine, and how often the best pairs of control people
    reach it (counted p)."""

    model: str
    cosine: float
    p: float


@dataclass(frozen=True)
class ChannelScore:
    """What one channel says of a person: the score of the person's best pair on the common scale, its cosine, p and q
    against what the channel says of control people, and the pair."""

    channel: str
    score: float
    cosine: float
    p: float
    q: float
    synthetic_id: str
    training_id: str


@dataclass(frozen=True)
class PairKind:
    """What kind of leak a pair would be, and how alike its pictures look."""

    kind: LeakKind
    similarity: ImageSimilarity


@dataclass(frozen=True)
class PersonFinding:
    """One training person: the best pair, the channel that sees it, and how often chance would do as well. p and q need
    a control set and a person who takes part in the tests.

    ``score`` is on the scale on which all channels meet; ``channels`` hold what each of several says. ``p_cosine`` and
    ``q_cosine`` are those of the raw cosine, the published attack's score; nobody is listed by them.
    """

    person: str
    score: float
    cosine: float
    synthetic_id: str
    training_id: str
    n_images: int
    channel: str
    p: float | None = None
    q: float | None = None
    p_gpd: float | None = None
    q_gpd: float | None = None
    significant_by: tuple[Evidence, ...] = ()
    p_cosine: float | None = None
    q_cosine: float | None = None
    resamples_significant: int | None = None  # in how many of the repeated draws this person is listed
    models: tuple[ModelScore, ...] = ()
    channels: tuple[ChannelScore, ...] = ()
    kind: PairKind | None = None


@dataclass(frozen=True)
class IdentityFinding:
    """One synthetic identity: its best match over training and control people; q needs a control set.

    Of several identities that are closest to one training person, only the closest can be listed; the others follow it.
    """

    identity: str
    score: float
    q: float | None
    n_images: int
    synthetic_id: str
    training_id: str | None  # None when a control person was closer
    channel: str
    significant: bool
    duplicate_of: str | None = None


@dataclass(frozen=True)
class PairFinding:
    """One pair of a ranking."""

    rank: int
    synthetic_id: str
    training_id: str
    person: str
    cosine: float
    score: float
    channel: str
    kind: PairKind | None = None


@dataclass(frozen=True)
class HubnessFinding:
    """A training picture that is the best match of many synthetic ones."""

    training_id: str
    person: str
    n_best_match_of: int
    in_top_pairs: int


@dataclass(frozen=True)
class Membership:
    """How well one score tells training from control people, and whom it would list."""

    score: str
    auc: Estimate
    tpr_at_fpr: dict[str, Estimate]
    global_p: float
    significant_conformal: int
    significant_gpd: int


@dataclass(frozen=True)
class Balance:
    """How alike training and control people are in all but membership; None where there were too few to say."""

    prognostic_shift: Estimate | None
    prognostic_shift_before: Estimate | None  # before people were matched, when they were
    classifier_auc: Estimate | None
    image_quality: dict[str, Estimate]
    strata: tuple[str, ...]
    training_people: int
    training_not_tested: int
    control_not_used: int


@dataclass(frozen=True)
class Stratum:
    """The people of one label: how many took part, and how many training people are listed."""

    name: str
    n_control: int
    significant: Estimate


@dataclass(frozen=True)
class Stability:
    """How much the findings depend on which pictures and people were drawn: all draws, the audit's own first."""

    resamples: int
    people_significant: tuple[int, ...]
    identities_significant: tuple[int, ...]
    leak_found: int  # draws with any finding


@dataclass(frozen=True)
class Calibration:
    """Everything that needs a control set."""

    training: Exposure
    control: Exposure
    decision: PersonTests
    exposed: Estimate
    competition: Competition
    membership: tuple[Membership, ...]
    min_people_conformal: int
    smallest_p: float
    roc: tuple[Floats, Floats]
    balance: Balance
    strata: tuple[Stratum, ...]
    stability: Stability
    false_matches: tuple[FalseMatches, ...]


@dataclass(frozen=True)
class Power:
    """What the audit would have found: leaks planted from people of the control set."""

    setting: str
    n_people: int
    threshold_one_leak: DetectionThreshold
    threshold_many_leaks: DetectionThreshold
    lowest_score: float | None  # from which one more exposed person is listed
    recalls: tuple[Recall, ...]  # by kind, the weakest change first
    strongest_found: dict[str, str | None]  # kind -> the strongest change found FOUND of the time


@dataclass(frozen=True)
class Baselines:
    """Measures that others report, by one channel's vectors of ``n_synthetic`` synthetic and ``n_real`` training and
    as many control pictures; see `unveil.stats.baselines`."""

    channel: str
    authenticity: Estimate
    data_copying: Estimate
    closer_to_training: Estimate
    neighbour_ratio: Estimate
    gan_leaks_auc: Estimate
    n_synthetic: int
    n_real: int


@dataclass(frozen=True)
class CandidateThreshold:
    """The line used without a control set, and how many synthetic pictures cross it."""

    score: float
    fpir: float
    n_searches: int
    n_above: int
    expected_above: Estimate


@dataclass(frozen=True)
class PairVerdicts:
    """What reviewers said of one pair: how many of them said what. ``listed`` pairs are findings."""

    synthetic_id: str
    real_id: str
    role: Role
    person: str
    significant: bool
    same_image: int
    same_person: int
    different: int
    cannot_tell: int

    @property
    def confirmed(self) -> int:
        """How many saw a leak."""
        return self.same_image + self.same_person

    @property
    def decided(self) -> int:
        """How many could tell."""
        return self.confirmed + self.different

    @property
    def outcome(self) -> Outcome:
        """What more than half of those who could tell saw."""
        if 2 * self.confirmed > self.decided:
            return "leak"
        return "no leak" if 2 * self.different > self.decided else "undecided"


@dataclass(frozen=True)
class Agreement:
    """Cohen's kappa of two reviewers over the pairs that both could tell."""

    reviewers: tuple[str, str]
    kappa: Estimate


@dataclass(frozen=True)
class Review:
    """The reviewers' verdicts on the pairs.

    ``reviewer_precision`` is the share of leaks among the findings that reviewers decided.
    ``reviewer_false_positive_rate`` is the share of control pairs (never leaks) taken for one person.
    """

    reviewers: tuple[str, ...]
    n_verdicts: int
    n_blind: int  # of the verdicts that count, without scores and with control pairs mixed in
    n_findings: int
    pairs: tuple[PairVerdicts, ...]
    reviewer_precision: Estimate | None
    reviewer_false_positive_rate: Estimate | None
    cohen: tuple[Agreement, ...]
    krippendorff: Estimate | None


@dataclass(frozen=True)
class AuditResult:
    """The result of an audit. ``manifest`` holds inputs, model, settings, seeds and versions; times stand apart."""

    verdict: Verdict
    headline: str
    evidence: tuple[Evidence, ...]
    counts: dict[Role, RoleCounts]
    pairs_compared: int
    control_pairs_compared: int
    calibration: Calibration | None
    candidate_threshold: CandidateThreshold | None
    people: tuple[PersonFinding, ...]
    synthetic_identities: tuple[IdentityFinding, ...]
    top_pairs: tuple[PairFinding, ...]
    top_pairs_corrected: tuple[PairFinding, ...]
    hubness: tuple[HubnessFinding, ...]
    power: Power | None
    baselines: tuple[Baselines, ...]
    verification: tuple[VerificationPerformance, ...]
    copy_thresholds: CopyThresholds | None
    input_checks: tuple[Check, ...]
    rejects: dict[Role, tuple[Reject, ...]]
    limitations: tuple[str, ...]
    channels: tuple[str, ...]
    models: tuple[dict[str, Any], ...]
    manifest: dict[str, Any]
    review: Review | None = None

    @property
    def significant_people(self) -> tuple[PersonFinding, ...]:
        """Training people listed by any basis, most exposed first."""
        return tuple(p for p in self.people if p.significant_by)
