"""The label link: whether synthetic classes resemble the training classes of the same label. Needs no control set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

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


def class_labels(sources: Mapping[Role, Source]) -> dict[Role, tuple[str, ...]]:
    """The labels of the synthetic and the training set, with those of rejected images: they keep the others' places.

    Empty for a set without labels, or with a label for each image.
    """
    roles: tuple[Role, ...] = ("synthetic", "training")
    return {
        role: tuple(sources[role].records.people.coded()[0]) if sources[role].rule.kind not in NO_CLASSES else ()
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
    if not labels["synthetic"] or not labels["training"]:
        return None
    made, real = _Classes.of(synthetic), _Classes.of(training)
    tried: list[TriedCorrespondence] = []
    best: tuple[LinkTest, Pairs, int] | None = None
    for found in correspondences(labels["synthetic"], labels["training"], label_map):
        pairs = tuple(pair for pair in found.pairs if pair[0] in made.code and pair[1] in real.code)
        if len(pairs) < MIN_CLASSES:
            tried.append(TriedCorrespondence(found.name, 0, None, _why_not(found, len(pairs)), found.ambiguous))
            continue
        rows = [made.code[a] for a, _ in pairs], [real.code[b] for _, b in pairs]
        test = link_test(made.means(rows[0]), real.means(rows[1]), generators(PURPOSE))
        if best is None or test.p_value < best[0].p_value:
            best = test, pairs, len(tried)
        tried.append(TriedCorrespondence(found.name, len(pairs), test.p_value))
    if best is None:
        return LabelLink(significant=False, tried=tuple(tried))
    test, pairs, which = best
    p_value = min(1.0, test.p_value * sum(one.p_value is not None for one in tried))
    classes = _classes(test, pairs, made, real, fdr if p_value <= level else None)
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
    """The labelled classes of a set: the vectors (N, D) and their codes (N,), the code of each label, and the numbers
    of images (K,)."""

    vectors: Vectors
    codes: Ints
    code: Mapping[str, int]
    n_images: Ints

    @classmethod
    def of(cls, embedded: Embedded) -> _Classes:
        names, codes = embedded.people.coded()
        code = {name: i for i, name in enumerate(names)}
        return cls(embedded.vectors, codes, code, np.bincount(codes[codes >= 0]))

    def means(self, classes: Sequence[int]) -> Floats:
        """The mean vectors of some classes; only these take memory, and the caller may overwrite them."""
        place = np.full(len(self.code), -1, np.int64)
        place[classes] = np.arange(len(classes))
        return class_means(self.vectors, np.where(self.codes >= 0, place[self.codes], -1), len(classes))


def _why_not(found: Correspondence, n_embedded: int) -> str:
    """The reason why a correspondence is not tested."""
    if found.reason:
        return found.reason
    return f"only {n_embedded} classes that correspond have embedded images; at least {MIN_CLASSES} are needed"


def _classes(
    test: LinkTest, pairs: Pairs, made: _Classes, real: _Classes, fdr: float | None
) -> tuple[LinkedClass, ...]:
    """Every class, the smallest p first; none is significant without an ``fdr``."""
    q = benjamini_hochberg(test.p)
    return tuple(
        LinkedClass(
            synthetic_label=pairs[i][0],
            training_label=pairs[i][1],
            n_synthetic=int(made.n_images[made.code[pairs[i][0]]]),
            n_training=int(real.n_images[real.code[pairs[i][1]]]),
            similarity=float(test.similarity[i]),
            rank=int(test.rank[i]),
            p=float(test.p[i]),
            q=float(q[i]),
            significant=fdr is not None and bool(q[i] <= fdr),
        )
        for i in np.lexsort((-test.similarity, test.rank))
    )
