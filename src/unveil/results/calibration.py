"""What the control people contribute to a result, and what is measured beside the findings."""

from __future__ import annotations

from dataclasses import dataclass

from unveil.stats.enrichment import GlobalTest
from unveil.stats.false_matches import FalseMatches
from unveil.stats.power import DetectionThreshold, Recall
from unveil.stats.verification import Verification
from unveil.types import ChannelName, Estimate, Exposure, Probability, Rate, Role


@dataclass(frozen=True)
class Exposures:
    """The exposure of every tested person: the arrays behind the tests. They are in `exposures.parquet`."""

    training: Exposure
    """Training people who were tested."""
    control: Exposure
    """Control people who calibrate the tests."""


@dataclass(frozen=True)
class GPDFit:
    """The generalised Pareto distribution (GPD) fitted to the highest scores of control people."""

    threshold: float
    """Score above which the distribution is fitted."""
    n_exceedances: int
    """Number of control people above the threshold."""
    n_controls: int
    """Number of control people."""
    shape: float
    """Shape parameter with the highest likelihood."""
    scale: float
    """Scale parameter with the highest likelihood."""
    fit_p: Probability
    """p-value of the Cramér-von Mises test of the fit. A small value indicates a poor fit."""
    smallest_p: Probability
    """Smallest p-value that the fit may give."""
    method: str = "generalised Pareto, shape >= 0, 95% upper limit by profile likelihood"
    """How the p-values are made."""


@dataclass(frozen=True)
class DetectionLimit:
    """The smallest leak that can become significant with this number of people."""

    smallest_p_conformal: Probability
    """Smallest conformal p-value that this number of control people can give."""
    min_people_conformal: int
    """Number of training people who must exceed every control person before conformal p-values make any significant, at
    this ``chance_share``."""
    min_identities: int
    """Number of training people who must beat every control person before any synthetic identity is significant."""
    tail: GPDFit | None
    """The fitted tail. Null with too few control people for a fit."""
    chance_share: float = 1.0
    """Estimated share of training people whom chance explains, with which conformal q-values are made (Storey). 1 with
    fewer than 50 people on either side. Above 1 where training people are less exposed than control people."""


@dataclass(frozen=True)
class Membership:
    """How well one score separates training people from control people."""

    score: str
    """Name of the score."""
    auc: Estimate
    """Area under the ROC curve of training against control people. 0.5 is chance."""
    tpr_at_fpr: dict[Rate, Estimate | None]
    """True positive rate by false positive rate: the share of training people above the score that this share of
    control people exceed. Null if there are too few control people to show that rate."""
    not_resolved: dict[Rate, str]
    """Why a true positive rate is null, by false positive rate."""
    global_p: Probability
    """p-value of the global test by this score alone, before it is multiplied by the number of scores."""
    significant_conformal: int
    """Number of training people who would be significant by conformal p-values of this score."""
    significant_gpd: int
    """Number of training people who would be significant by GPD p-values of this score."""


@dataclass(frozen=True)
class Balance:
    """How comparable training and control people are in everything but membership. The synthetic set is not used."""

    prognostic_shift: Estimate | None
    """Difference in prognostic score (exposure predicted from image properties), in standard deviations. Null with too
    few people."""
    prognostic_shift_before: Estimate | None
    """The same difference before people were matched. Null if they were not."""
    classifier_auc: Estimate | None
    """AUC of a classifier that separates training from control people without the synthetic set. 0.5 is chance."""
    image_quality: dict[str, Estimate]
    """Difference of each image property, training minus control, in standard deviations."""
    strata: tuple[str, ...]
    """Names of the strata. Only people of one stratum are compared with each other."""
    training_people: int
    """Number of training people before matching."""
    training_not_tested: int
    """Number of training people without enough comparable control people. They were not tested."""
    control_not_used: int
    """Number of control people who were not used for the tests."""


@dataclass(frozen=True)
class Stratum:
    """The people of one stratum."""

    name: str
    """Name of the stratum."""
    n_control: int
    """Number of control people in it."""
    significant: Estimate
    """Share of its training people who are significant."""
    concentration_p: Probability
    """p-value of so many findings in this stratum if findings did not depend on strata (Fisher, Bonferroni)."""


@dataclass(frozen=True)
class Stability:
    """How much the findings depend on the subsample of images and people. The first resample is the audit itself."""

    resamples: int
    """Number of resamples: that of the settings, or 1 if every subsample would hold all images of all people."""
    people_significant: tuple[int, ...]
    """Number of significant people in each resample."""
    identities_significant: tuple[int, ...]
    """Number of significant synthetic identities in each resample."""
    leak_found: int
    """Number of resamples with any finding."""


@dataclass(frozen=True)
class IdentityEvidence:
    """Whether the mean vectors of synthetic identities are compared in one channel."""

    channel: ChannelName
    """Name of the channel."""
    n_identities: int
    """Number of synthetic identities with at least two images."""
    cohesion: Estimate | None
    """Share of pairs of synthetic images with one label that are closer than pairs with two labels. 0.5 is chance. Null
    with fewer than 10 pairs."""
    used: bool
    """Whether the mean vectors are compared: whether `cohesion` is at least 0.6."""
    image_handicap: float
    """What the scores of single images are lowered by: from 0 at a `cohesion` of 0.6 to 1 at 0.8 and above."""


@dataclass(frozen=True)
class LearnedScore:
    """What several scores of people say together: a model that learns to tell training from control people."""

    used: bool
    """Whether it was learned. It is not if training and control people differ, or people or images are subsampled."""
    reason: str | None
    """Why it was not learned. Null if it was."""
    weights: dict[str, float]
    """Weight of each score, in standard deviations of it among all real people."""
    significant: int
    """Number of training people it makes significant."""


@dataclass(frozen=True)
class IdentityCompetition:
    """The target-decoy competition of synthetic identities: each goes to the real person it matches best."""

    target_wins: int
    """Number of identities that match a training person best."""
    decoy_wins: int
    """Number of identities that match a control person best."""
    ratio: float
    """Number of training people for each control person in the competition."""


@dataclass(frozen=True)
class Calibration:
    """The fields of a result that need a control set. `AuditResult` has them under the same names."""

    exposed_people: Estimate
    exposed_share: Estimate | None
    global_test: GlobalTest
    detection_limit: DetectionLimit
    membership: tuple[Membership, ...]
    identity_competition: IdentityCompetition
    identity_evidence: tuple[IdentityEvidence, ...]
    false_matches: tuple[FalseMatches, ...]
    balance: Balance
    strata: tuple[Stratum, ...]
    stability: Stability
    learned_score: LearnedScore | None


@dataclass(frozen=True)
class Power:
    """The share of planted leaks that this audit finds. Leaks are planted from people of the control set."""

    setting: str
    """How many changes were planted."""
    n_people: int
    """Number of control people whose images were planted."""
    threshold_one_leak: DetectionThreshold
    """What one more exposed person must reach to become significant."""
    threshold_many_leaks: DetectionThreshold
    """What each person must reach if 5% of people leak alike."""
    lowest_score: float | None
    """Score from which one more exposed person becomes significant. Null if no score suffices."""
    recalls: tuple[Recall, ...]
    """Share found by kind and strength of the change, the weakest change of a kind first."""
    strongest_found: dict[str, str | None]
    """For each kind of change, the strongest of which at least 95% are found. Null if there is none."""


@dataclass(frozen=True)
class Baselines:
    """Metrics of other authors, on the embeddings of one channel. They decide nothing; see `unveil.stats.baselines`."""

    channel: ChannelName
    """The channel."""
    authenticity: Estimate
    """AuthPct (arXiv 2102.08921): share of synthetic images that are no closer to a training image than that image's
    nearest training neighbour."""
    data_copying: Estimate
    """C_T (arXiv 2004.05675): far below 0 means that synthetic images are closer to the training set than control
    images are."""
    closer_to_training: Estimate
    """Share of synthetic images closer to the training set than to the control set (arXiv 2104.00635). 50% without a
    leak."""
    neighbour_ratio: Estimate
    """5th percentile of the ratio of distances to the nearest and second nearest training image (arXiv 2102.08369)."""
    gan_leaks_auc: Estimate
    """AUC over images of the calibrated GAN-Leaks score (arXiv 1909.03935), which Synth-MIA calls DCR-Diff (arXiv
    2509.18014). 0.5 is chance."""
    likelihood_gap: Estimate
    """Generalisation gap of FLD (arXiv 2302.04440), on at most 1,000 images of each set: far below 0 means that the
    synthetic set explains training images better than control images."""
    memorised: Estimate
    """Share of synthetic images that are less than half as far from their nearest training image as from their ten
    nearest on average (arXiv 2301.13188)."""
    n_synthetic: int
    """Number of synthetic images used."""
    n_real: int
    """Number of training images used, and of control images."""


@dataclass(frozen=True)
class VerificationPerformance(Verification):
    """How well the face model separates the labelled people of one role."""

    role: Role
    """The role."""
