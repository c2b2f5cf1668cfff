"""What the label link test finds: which correspondence of labels, and which classes."""

from __future__ import annotations

from dataclasses import dataclass

from unveil.stats.correspondence import CorrespondenceName
from unveil.types import Estimate, Probability


@dataclass(frozen=True)
class TriedCorrespondence:
    """One way in which synthetic and training labels may correspond."""

    name: CorrespondenceName
    """`label map`: as your file says. `equal names`: by the name. `numbers in names`: by the last number in the name.
    `order of names`: by the place after sorting."""
    n_classes: int
    """Number of classes that correspond. 0 if it was not tested."""
    p_value: Probability | None = None
    """Its p-value, before the correction for the number of correspondences. Null if it was not tested."""
    reason: str = ""
    """Why it was not tested."""
    ambiguous: tuple[str, ...] = ()
    """Two labels of one set that cannot be told apart, if that is the reason."""


@dataclass(frozen=True)
class LinkedClass:
    """A synthetic class and the training class of the corresponding label."""

    synthetic_label: str
    """The synthetic label."""
    training_label: str
    """The training label."""
    n_synthetic: int
    """Number of distinct images of the synthetic class."""
    n_training: int
    """Number of images of the training class."""
    similarity: float
    """Cosine between the mean vectors of the two classes, each without the mean of its set."""
    rank: int
    """Rank of the training class among all training classes, 1 for the most similar. Ties count against it. With more
    than 4,096 classes, ranks above 1,000 are estimates from a random part of the classes."""
    p: Probability
    """Rank divided by the number of classes: a valid p-value."""
    q: Probability
    """The p-values of all classes adjusted by Benjamini and Hochberg."""
    significant: bool
    """Whether the link as a whole is significant and the class at the false discovery rate."""


@dataclass(frozen=True)
class LabelLink:
    """The label link test: whether synthetic class k resembles training class k more than other classes."""

    significant: bool
    """Whether the p-value is at most the level of the global test."""
    p_value: Probability | None = None
    """p-value of the correspondence, times the number of correspondences tested. Null if none was tested."""
    correspondence: CorrespondenceName | None = None
    """The correspondence with the smallest p-value. Null if none was tested."""
    n_classes: int = 0
    """Number of classes that correspond."""
    n_arrangements: int = 0
    """Number of arrangements of the training classes that were tried."""
    own_first: Estimate | None = None
    """Share of synthetic classes that resemble the training class of their label more than any other. Null if no
    correspondence was tested."""
    n_significant: int = 0
    """Number of significant classes."""
    tried: tuple[TriedCorrespondence, ...] = ()
    """Every correspondence, with its p-value or the reason why it was not tested."""
    classes: tuple[LinkedClass, ...] = ()
    """All significant classes and the first 10,000 others, the smallest p-value first. All are in
    `label_link.parquet`."""
    method: str = "arrangements of training classes that resemble each other, Bonferroni over correspondences"
    """How the p-value is made."""
