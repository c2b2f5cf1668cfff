"""Synthetic identities as a whole: the mean vector of each, and whether its images show one person."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice

import numpy as np

from unveil.columns import BLOCK, Labels, Texts
from unveil.compare import exact_cosine
from unveil.stats.checks import label_closeness
from unveil.stats.class_sums import class_sums
from unveil.stats.hubness import person_codes
from unveil.types import Embedded, Estimate, Ints, Vectors

# The mean of one image is the image itself.
MIN_IMAGES = 2
# Labels hold where at least this share of pairs with one label are closer than pairs with two, and hold fully from the
# second share on. One half is chance. The check of labels fails and warns below the same shares.
LABELS_HOLD, LABELS_HOLD_FULLY = 0.6, 0.8
# What a single image is lowered by where labels hold fully, on the scale of the scores. Chosen in the lab
# (docs/decisions/0023-identity-evidence.md).
IMAGE_HANDICAP = 1.0
# Pairs of each kind that decide it; more change no digit that matters.
MAX_PAIRS = 20_000


@dataclass(frozen=True)
class Identities:
    """The synthetic identities with several images.

    ``means`` holds one row for each identity (I,): the mean vector of its images, of length 1, in every channel.
    ``of_image`` (Q,) is the row in ``means`` of each synthetic image, -1 for images of no such identity.
    """

    means: Embedded
    of_image: Ints

    def __len__(self) -> int:
        return len(self.means)

    def through(self, channel: str) -> Identities:
        """The same identities with the mean vectors of one channel."""
        return replace(self, means=self.means.through(channel))

    @cached_property
    def order(self) -> tuple[Ints, Ints, Ints]:
        """The rows of images by identity, and where each identity (I,) starts and how many images it has."""
        rows = np.flatnonzero(self.of_image >= 0)
        rows = rows[np.argsort(self.of_image[rows], kind="stable")]
        counts = np.bincount(self.of_image[rows], minlength=len(self.means))
        return rows, np.cumsum(counts) - counts, counts

    @property
    def n_images(self) -> Ints:
        """Images (I,) of each identity."""
        return self.order[2]

    def images(self, identities: Ints) -> tuple[Ints, Ints]:
        """The images of the identities (K,): the position (M,) in ``identities``, and the synthetic row (M,)."""
        rows, starts, counts = self.order
        position = np.repeat(np.arange(len(identities)), counts[identities])
        within = np.arange(len(position)) - np.repeat(
            np.cumsum(counts[identities]) - counts[identities], counts[identities]
        )
        return position, rows[starts[identities][position] + within]


def mean_identities(synthetic: Embedded) -> Identities:
    """The identities of a synthetic set (Q images) that have at least MIN_IMAGES images, in order of appearance.

    Images without a label belong to none.
    """
    names, codes = person_codes(synthetic.people_or_ids)
    labelled = synthetic.people.known
    counts = np.bincount(codes[labelled], minlength=len(names))
    chosen = np.flatnonzero(counts >= MIN_IMAGES)
    row_of = np.full(len(names), -1, np.int64)
    row_of[chosen] = np.arange(len(chosen))
    of_image = np.where(labelled, row_of[codes], -1)
    labels = names.take(chosen)
    means = Embedded(
        ids=labels,
        people=Labels.each(labels),
        digests=_digests(synthetic.digests, of_image, len(labels)),
        vectors=_mean_vectors(synthetic.vectors, of_image, len(labels)),
        model_id=synthetic.model_id,
        parts=synthetic.parts,
        views=tuple(
            replace(view, vectors=_mean_vectors(view.vectors, of_image, len(labels))) for view in synthetic.views
        ),
        channel=synthetic.channel,
        recipe=synthetic.recipe,
    )
    return Identities(means, of_image)


def _digests(digests: Texts, of_image: Ints, n: int) -> Texts:
    """The digest (n,) of each mean: its images determine it, so no stale result of changed images is resumed."""
    rows = np.flatnonzero(of_image >= 0)
    rows = rows[np.argsort(of_image[rows], kind="stable")]
    counts = np.bincount(of_image[rows], minlength=n)
    ordered = iter(digests.take(rows))
    return Texts.joined(
        Texts(
            [
                hashlib.sha256("".join(islice(ordered, count)).encode()).hexdigest()
                for count in counts[start : start + BLOCK].tolist()
            ]
        )
        for start in range(0, n, BLOCK)
    )


def _mean_vectors(vectors: Vectors, of_image: Ints, n: int) -> Vectors:
    """The mean (n, D) of the vectors of each identity, of length 1; the first image where the mean has no direction."""
    total = class_sums(vectors, of_image, n)
    length = np.linalg.norm(total, axis=1, keepdims=True)
    for i in np.flatnonzero(length[:, 0] < 1e-6):
        total[i] = vectors[np.flatnonzero(of_image == i)[0]]
        length[i] = np.linalg.norm(total[i])
    return np.asarray(total / length, np.float32)


@dataclass(frozen=True)
class Cohesion:
    """Whether the images of one identity are alike by one channel, and whether its mean vectors are compared.

    ``figure`` is the share of pairs with one label that are closer than pairs with two, None with too few pairs.
    """

    channel: str
    figure: Estimate | None

    @property
    def holds(self) -> bool:
        """Whether labels hold. It follows from the synthetic set alone, so it favours neither side of a test."""
        return self.figure is not None and self.figure.value >= LABELS_HOLD

    @property
    def handicap(self) -> float:
        """What single images are lowered by: nothing where labels just hold, IMAGE_HANDICAP where they hold fully."""
        if self.figure is None:
            return 0.0
        part = (self.figure.value - LABELS_HOLD) / (LABELS_HOLD_FULLY - LABELS_HOLD)
        return IMAGE_HANDICAP * min(1.0, max(0.0, part))


def measure_cohesion(synthetic: Embedded, identities: Identities) -> Cohesion:
    """The cohesion of identities by the one channel of ``synthetic`` (Q images).

    Each image is paired with the next of its identity and with one of another identity, in source order, so that
    nothing is random.
    """
    rows, _, counts = identities.order
    identity = np.repeat(np.arange(len(counts)), counts)
    same = np.flatnonzero(identity[1:] == identity[:-1])
    # Half of all images further on there is another identity, unless one has more than half of them.
    other = np.roll(np.arange(len(rows)), -(len(rows) // 2))
    different = np.flatnonzero(identity != identity[other])
    same, different = (
        x[np.linspace(0, len(x) - 1, min(len(x), MAX_PAIRS)).astype(np.int64)] for x in (same, different)
    )
    vectors = synthetic.vectors
    figure = label_closeness(
        exact_cosine(vectors, vectors, rows[same], rows[same + 1]),
        exact_cosine(vectors, vectors, rows[different], rows[other[different]]),
    )
    return Cohesion(synthetic.channel, figure)
