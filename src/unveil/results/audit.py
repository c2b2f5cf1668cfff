"""The result of an audit. `audit.json` is this record as JSON, field by field."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, NotRequired, TypedDict

from unveil.choices import AuditVerdict
from unveil.results.calibration import (
    Balance,
    Baselines,
    DetectionLimit,
    Exposures,
    IdentityCompetition,
    IdentityEvidence,
    LearnedScore,
    Membership,
    Power,
    Stability,
    Stratum,
    VerificationPerformance,
)
from unveil.results.findings import (
    HubnessFinding,
    IdentityFinding,
    ImageCopy,
    OverlapFinding,
    PairFinding,
    PersonFinding,
)
from unveil.results.identities import MAX_IDENTITIES
from unveil.results.label_link import LabelLink
from unveil.results.no_control import ImprobablePair, NoControl
from unveil.results.protocol import ProtocolRecord
from unveil.results.review import Review
from unveil.results.risk import HighestRisk, PrivacyRisk
from unveil.stats.checks import Check
from unveil.stats.enrichment import GlobalTest
from unveil.stats.false_matches import FalseMatches
from unveil.stats.leak_kinds import CopyThresholds
from unveil.stats.next_step import NextStep
from unveil.stats.statements import Evidence
from unveil.stats.verdict import blocked
from unveil.types import AlignmentKey, ChannelName, Estimate, Reject, Role

SCHEMA_VERSION = 2


@dataclass(frozen=True)
class RoleCounts:
    """What became of the files of one role: images = embedded + rejected."""

    images: int
    """Number of files."""
    embedded: int
    """Number of images that were embedded."""
    rejected: int
    """Number of files without a usable face."""
    people: int
    """Number of people. An image without a label counts as a person of its own."""
    unlabelled: int
    """Number of embedded images without a label."""
    repeats: int
    """Number of embedded images that repeat another one of the role byte for byte. Synthetic repeats are compared
    once."""
    several_faces: int
    """Number of embedded images with several faces. The large face near the centre was used."""
    left_out: int
    """Number of images of the set that were left out: by `--exclude`, a mask or the index of a container. They are not
    among the files, and nothing is said of them."""


@dataclass(frozen=True)
class Method:
    """How a number without an interval of its own was made."""

    n: int
    """Number of observations behind it."""
    method: str
    """The method, with its source."""


class ModelFacts(TypedDict):
    """What is known of a face model."""

    name: str
    """Name of the model."""
    model_id: str
    """Hash of everything that decides an embedding: weights, preprocessing, alignment."""
    dimension: int
    """Dimension of its embeddings."""
    trained_on: str
    """The data that it was trained on."""
    licence: str
    """Its licence."""
    alignment: str
    """How faces are aligned for it."""
    sha256: str
    """SHA-256 of its file."""
    weight: float
    """Weight of its cosine among several models. The weights sum to 1."""
    input_size: NotRequired[int]
    """Side of its input in pixels."""
    channels: NotRequired[str]
    """Order of the colour channels of its input."""
    mean: NotRequired[list[float]]
    """What is subtracted from each colour channel."""
    std: NotRequired[list[float]]
    """What each colour channel is divided by."""


class InputFacts(TypedDict):
    """What identifies the images of one role."""

    path: NotRequired[str]
    """The path or address as given. Left out of redacted copies."""
    kind: str
    """The container, such as folder or zip."""
    images: int
    """Number of files."""
    sha256: str
    """SHA-256 over the id, the label and the SHA-256 of every file, in the order of the source."""
    identity: NotRequired[str]
    """The rule by which labels were read. Left out of redacted copies."""
    aligned: AlignmentKey
    """Which images were read as aligned crops."""
    aligned_because: str
    """Why."""
    notes: NotRequired[list[str]]
    """How the container was read, and what in it was not read. Redacted copies give their number only."""
    registered: NotRequired[str]
    """How its images are moved onto the synthetic set in the appearance channel, where the alignments differ."""


class MachineFacts(TypedDict):
    """The machine of the audit."""

    system: str
    """Operating system."""
    processor: str
    """Processor architecture."""
    cores: int
    """Number of cores available to the process."""
    device: str
    """The device on which models ran."""


class Manifest(TypedDict):
    """What is needed to repeat the audit."""

    settings: dict[str, Any]
    """The settings that decide the result."""
    inputs: dict[Role, InputFacts]
    """The images of each role."""
    files: dict[str, str]
    """SHA-256 of each further file that the settings name."""
    detector: dict[str, str]
    """The face detector: its name, licence and a key of all that decides which faces it finds."""
    copy_model: NotRequired[dict[str, str]]
    """The copy-detection model, if there is one: its name, licence and a key of all that decides a vector."""
    versions: dict[str, str]
    """Versions of the software that can change a number."""
    machine: MachineFacts
    """The machine."""
    redacted: NotRequired[str]
    """A statement that names, files and paths were replaced. Only in redacted copies."""


@dataclass(frozen=True, kw_only=True)
class AuditResult:
    """The result of one audit. It contains no times of its own, so that the same audit gives the same bytes. Images are
    named by their path or key in their source."""

    schema_version: int = SCHEMA_VERSION
    """Version of this format."""
    verdict: AuditVerdict
    """The verdict. `leak found`: synthetic images are training images, or training people are closer to the synthetic
    set than control people are. `leak indicated (no control set)`: synthetic images are closer to training people than
    real people are to other people. `none detected`, `none detected (no control set)`: they are not. `inconclusive`: no
    reliable test is significant and "none detected" is blocked, or nothing calibrates the scores."""
    headline: str
    """The verdict in one or two sentences."""
    evidence: tuple[Evidence, ...]
    """What supports the verdict. `exact copy`: synthetic images are training images. `near-identical copy`: they are
    as similar to training images as these re-encoded, resized or mirrored. `label link`: synthetic classes resemble
    the training classes of the same label. `global test`: training people as a group rank closer than control people.
    `conformal` and `GPD tail`: single people are significant by these p-values. `identities`: synthetic identities
    match training people. `learned score`: single people are significant by what several scores say together. `crowd
    test`: without a control set, synthetic images as a group are closer to training people than real people are to
    others. `conformal search` and `GPD search`: without a control set, single people are significant by p-values from
    such searches."""
    exposed_people: Estimate | None = None
    """Number of training people who are exposed, with a lower limit. Null without a control set."""
    exposed_share: Estimate | None = None
    """Estimated share of training people who are exposed. It misses people whose scores look like chance. Null without
    a control set or if a check invalidates it."""
    expected_false_people: float | None = None
    """Number of significant people expected to be false: the false discovery rate times the number that tests find,
    at most the number of people without a copy. Null without q-values."""
    expected_false_identities: float | None = None
    """Number of significant synthetic identities expected to be false. Null without q-values."""
    next_step: NextStep | None = None
    """What is missing for a verdict, and the one step that would help most. Null if the verdict lacks nothing."""
    privacy_risks: tuple[PrivacyRisk, ...] = ()
    """Singling out, linkability and inference, the criteria of WP216."""
    highest_individual_risk: HighestRisk | None = None
    """The training person who is exposed most. Null if nobody was tested and nobody has a copy."""
    counts: dict[Role, RoleCounts]
    """What became of the files, by role."""
    pairs_compared: int
    """Number of pairs of a synthetic and a training image. All of them were compared."""
    control_pairs_compared: int
    """Number of pairs of a synthetic and a control image."""
    global_test: GlobalTest | None = None
    """Test of the hypothesis that nothing leaked. Null without a control set."""
    detection_limit: DetectionLimit | None = None
    """The smallest leak that can become significant. Null without a control set."""
    no_control: NoControl | None = None
    """The statement without a control set, and the test of its assumption. Null where control people calibrate the
    tests, or too few training people have labels."""
    membership: tuple[Membership, ...] | None = None
    """How well scores separate training from control people. First the score that decides, then each channel alone if
    there are several, then the uncorrected cosine of the published attack. Null without a control set."""
    copies: tuple[ImageCopy, ...] = ()
    """Synthetic images that are copies of training images, with each of these images. Near-identical copies are
    looked for among the closest pairs and those of significant people."""
    label_link: LabelLink | None = None
    """The label link test. Null if the synthetic or the training set has no labels that several images can share."""
    improbable_pairs: tuple[ImprobablePair, ...] = ()
    """Pairs that are closer than false matches are, the closest 100. "None detected" is never said above them."""
    overlap: tuple[OverlapFinding, ...] = ()
    """Control people who are also in the training set and were removed. Empty in redacted copies."""
    people: tuple[PersonFinding, ...]
    """One record for each training person, the most exposed first."""
    n_synthetic_identities: int
    """Number of synthetic identities."""
    synthetic_identities: tuple[IdentityFinding, ...]
    """All significant synthetic identities and the first 10,000 others. All are in `identities.parquet`."""
    identity_competition: IdentityCompetition | None = None
    """The counts behind the q-values of synthetic identities. Null without a control set."""
    identity_evidence: tuple[IdentityEvidence, ...] | None = None
    """Whether the mean vectors of synthetic identities are compared, by channel. Null without a control set."""
    top_pairs: tuple[PairFinding, ...]
    """The closest pairs of all by uncorrected cosine: the output of the published attack (arXiv 2410.24015)."""
    top_pairs_corrected: tuple[PairFinding, ...]
    """The closest pairs of all by hub-corrected score, over all channels."""
    hubness: tuple[HubnessFinding, ...]
    """Training images that are the best match of several synthetic images, the most frequent first."""
    power: Power | None = None
    """The share of planted leaks that this audit finds. Null if none were planted."""
    copy_thresholds: CopyThresholds | None
    """The thresholds above which two images count as copies. Null if no kinds were determined."""
    false_matches: tuple[FalseMatches, ...] | None = None
    """Pairs above several cosines, observed and expected by chance. Null without a control set."""
    balance: Balance | None = None
    """How comparable training and control people are. Null without a control set."""
    strata: tuple[Stratum, ...] | None = None
    """The findings by stratum. Null without a control set."""
    stability: Stability | None = None
    """The findings over resamples. Null without a control set."""
    learned_score: LearnedScore | None = None
    """What several scores of people say together. Null without a control set or without `--learned-score`."""
    baselines: tuple[Baselines, ...]
    """Metrics of other authors for comparison, by channel."""
    verification: tuple[VerificationPerformance, ...]
    """How well the face model separates the labelled real people of this audit."""
    review: Review | None = None
    """What reviewers decided about the pairs (`unveil review`). Null if there are no verdicts."""
    input_checks: tuple[Check, ...]
    """Checks of the inputs. One that fails blocks the statements that it makes unreliable, and no others."""
    rejects: dict[Role, tuple[Reject, ...]]
    """The files that were not embedded, by role."""
    limitations: tuple[str, ...]
    """What this audit cannot show."""
    methods: dict[str, Method]
    """How the numbers without an interval were made, by name of the number."""
    channels: tuple[ChannelName, ...]
    """The channels that were compared."""
    models: tuple[ModelFacts, ...]
    """The face models."""
    manifest: Manifest
    """What is needed to repeat the audit."""
    protocol: ProtocolRecord | None = None
    """What was decided before the audit, and what differs. Null without a protocol."""
    exposures: Exposures | None = field(default=None, compare=False, repr=False)

    @property
    def tests_are_reliable(self) -> bool:
        """Whether no failed input check blocks the tests against control people."""
        return self.global_test is not None and "global test" not in blocked(self.input_checks)

    @property
    def significant_people(self) -> tuple[PersonFinding, ...]:
        """Training people who are significant by any test, the most exposed first."""
        return tuple(p for p in self.people if p.significant_by)


def shortened(link: LabelLink) -> LabelLink:
    """The link with all significant classes and the first others."""
    classes = tuple(c for rank, c in enumerate(link.classes) if c.significant or rank < MAX_IDENTITIES)
    return replace(link, classes=classes)
