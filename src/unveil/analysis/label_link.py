"""The label link: whether synthetic classes resemble the training classes of the same label. Needs no control set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from unveil.columns import Texts
from unveil.images import Source
from unveil.results import LabelLink, LinkedClass, TriedCorrespondence
from unveil.stats.correspondence import MIN_CLASSES, Correspondence, Pairs, correspondences
from unveil.stats.intervals import share
from unveil.stats.label_link import LinkTest, class_means, link_test
from unveil.stats.person_tests import benjamini_hochberg
from unveil.types import Embedded, Floats, Generators, Ints, Role, Vectors

# Rules that give no label which several images can share.
NO_CLASSES = ("none", "one-per-image")
PURPOSE = "label link"


def class_labels(sources: Mapping[Role, Source]) -> dict[Role, Texts]:
    """The labels of the synthetic and the training set, with those of rejected images: they keep the others' places.

    Empty for a set without labels, or with a label for each image.
    """
    roles: tuple[Role, ...] = ("synthetic", "training")
    return {
        role: sources[role].records.people.coded()[0] if sources[role].rule.kind not in NO_CLASSES else Texts()
        for role in roles
    }


def measure_label_link(
    synthetic: Embedded,
    training: Embedded,
    labels: Mapping[Role, Sequence[str]],
    label_map: Pairs | None,
    generators: Generators,
    *,
    level: float,
    fdr: float,
) -> LabelLink | None:
    """The test by the vectors of the first channel; None where one of the sets has no labels.

    ``synthetic`` holds distinct images. ``labels`` are those of `class_labels`. The p-value is the smallest over the
    correspondences of the labels, times their number (Bonferroni). ``level`` is that of the link, ``fdr`` the false
    discovery rate of its classes.
    """
    if not len(labels["synthetic"]) or not len(labels["training"]):
        return None
    made, real = _Classes.of(synthetic), _Classes.of(training)
    tried: list[TriedCorrespondence] = []
    best: tuple[LinkTest, Pairs, tuple[Ints, Ints], int] | None = None
    for found in correspondences(labels["synthetic"], labels["training"], label_map):
        codes = made.codes_of([a for a, _ in found.pairs]), real.codes_of([b for _, b in found.pairs])
        embedded = np.flatnonzero((codes[0] >= 0) & (codes[1] >= 0))
        pairs = tuple(found.pairs[i] for i in embedded.tolist())
        if len(pairs) < MIN_CLASSES:
            tried.append(TriedCorrespondence(found.name, 0, None, _why_not(found, len(pairs)), found.ambiguous))
            continue
        rows = codes[0][embedded], codes[1][embedded]
        test = link_test(made.means(rows[0]), real.means(rows[1]), generators(PURPOSE))
        if best is None or test.p_value < best[0].p_value:
            best = test, pairs, (made.n_images[rows[0]], real.n_images[rows[1]]), len(tried)
        tried.append(TriedCorrespondence(found.name, len(pairs), test.p_value))
    if best is None:
        return LabelLink(significant=False, tried=tuple(tried))
    test, pairs, n_images, which = best
    p_value = min(1.0, test.p_value * sum(one.p_value is not None for one in tried))
    classes = _classes(test, pairs, n_images, fdr if p_value <= level else None)
    return LabelLink(
        significant=p_value <= level,
        p_value=p_value,
        correspondence=tried[which].name,
        n_classes=len(pairs),
        n_arrangements=test.n_arrangements,
        own_first=share(int((test.rank == 1).sum()), len(pairs), "share of synthetic classes whose own class is first"),
        n_significant=sum(c.significant for c in classes),
        tried=tuple(tried),
        classes=classes,
    )


def unreliable_link(link: LabelLink) -> LabelLink:
    """The same without findings, where a failed input check makes them unreliable."""
    classes = tuple(replace(c, significant=False) for c in link.classes)
    return replace(link, significant=False, n_significant=0, classes=classes)


@dataclass(frozen=True)
class _Classes:
    """The labelled classes of a set: vectors (N, D), their codes (N,), and the label and images of each code (K,)."""

    vectors: Vectors
    codes: Ints
    names: Texts
    n_images: Ints

    @classmethod
    def of(cls, embedded: Embedded) -> _Classes:
        names, codes = embedded.people.coded()
        return cls(embedded.vectors, codes, names, np.bincount(codes[codes >= 0]))

    def codes_of(self, labels: Sequence[str]) -> Ints:
        """The code of each of some different labels, -1 where no embedded image has it."""
        place = self.names.find(Texts(labels))  # a hash table of these labels alone
        found = np.flatnonzero(place >= 0)
        codes = np.full(len(labels), -1, np.int64)
        codes[place[found]] = found
        return codes

    def means(self, classes: Ints) -> Floats:
        """The mean vectors of some classes; only these take memory, and the caller may overwrite them."""
        place = np.full(len(self.names), -1, np.int64)
        place[classes] = np.arange(len(classes))
        return class_means(self.vectors, np.where(self.codes >= 0, place[self.codes], -1), len(classes))


def _why_not(found: Correspondence, n_embedded: int) -> str:
    """The reason why a correspondence is not tested."""
    if found.reason:
        return found.reason
    return f"only {n_embedded} classes that correspond have embedded images; at least {MIN_CLASSES} are needed"


def _classes(test: LinkTest, pairs: Pairs, n_images: tuple[Ints, Ints], fdr: float | None) -> tuple[LinkedClass, ...]:
    """Every class, the smallest p first; none is significant without an ``fdr``.

    ``n_images`` are those of the synthetic and the training class of each pair (K,).
    """
    q = benjamini_hochberg(test.p)
    return tuple(
        LinkedClass(
            synthetic_label=pairs[i][0],
            training_label=pairs[i][1],
            n_synthetic=int(n_images[0][i]),
            n_training=int(n_images[1][i]),
            similarity=float(test.similarity[i]),
            rank=int(test.rank[i]),
            p=float(test.p[i]),
            q=float(q[i]),
            significant=fdr is not None and bool(q[i] <= fdr),
        )
        for i in np.lexsort((-test.similarity, test.rank))
    )
