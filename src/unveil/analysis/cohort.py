"""Who stands for what: control people cleaned of overlap and split into cohort and decoys, and the hub correction."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from unveil.analysis.comparisons import FIRST_CHANNEL, Comparison, Comparisons
from unveil.compare import Backend, best_of_others, compare_all
from unveil.stats.exposure import subsample_images
from unveil.stats.hubness import NEIGHBOURS, closeness, person_codes
from unveil.stats.open_set import same_person_threshold
from unveil.stats.score_scale import ScoreScale, fit_score_scale
from unveil.types import Embedded, Floats, Ints

# Real people searched for among other real people; enough for a line at an FPIR of 1 in 1000.
MAX_PROBES = 2000
MIN_PROBES = 100
# A larger cohort would cost comparisons and change nothing: ten neighbours are looked at.
MAX_COHORT_PEOPLE = 5000


def one_image_each(people: tuple[str, ...], rng: np.random.Generator, most: int | None = None) -> Ints:
    """Rows of one random picture of each person, or of ``most`` random people, ascending."""
    names, codes = person_codes(people)
    counts = np.ones(len(names), np.int64)
    if most is not None and len(names) > most:
        counts[rng.permutation(len(names))[most:]] = 0
    return subsample_images(codes, counts, rng)


def mated_pairs(people: tuple[str, ...], rng: np.random.Generator, most: int) -> tuple[Ints, Ints]:
    """Rows of two random pictures of each of up to ``most`` random people who have two."""
    _, codes = person_codes(people)
    order = np.lexsort((rng.random(len(codes)), codes))
    same = np.flatnonzero(codes[order][1:] == codes[order][:-1])
    first = same[np.unique(codes[order][same], return_index=True)[1]]
    first = rng.permutation(first)[:most]
    return order[first], order[first + 1]


@dataclass(frozen=True)
class Overlap:
    """Control people who are also in the training set: rows to keep, how many were taken out, and the line used."""

    keep: Ints
    n_images: int
    n_people: int
    n_people_before: int
    line: float | None


def find_overlap(training: Embedded, control: Embedded, compare: Comparisons, rng: np.random.Generator) -> Overlap:
    """Finds control people who are in the training set, by identical bytes or by a cosine strangers do not reach."""
    names, codes = person_codes(control.people_or_ids)
    known = set(training.digests)
    same = np.array([digest in known for digest in control.digests], np.bool_)
    probes = one_image_each(training.people_or_ids, rng, MAX_PROBES)
    line = None
    if len(probes) >= MIN_PROBES:
        probe = training.take(probes)
        _, others = best_of_others(
            probe.vectors,
            probe.people_or_ids,
            training.vectors,
            training.people_or_ids,
            np.zeros(len(probe)),
            np.zeros(len(training)),
            compare.backend,
        )
        line = same_person_threshold(others, len(control))
        same |= compare.matches(Comparison("overlap", FIRST_CHANNEL, "control"), control, training).cosine[:, 0] > line
    taken = np.unique(codes[same])
    out = np.isin(codes, taken)
    return Overlap(np.flatnonzero(~out), int(out.sum()), len(taken), len(names), line)


@dataclass(frozen=True)
class Cohort:
    """Real people, one picture each, against whom every picture's closeness to everybody is measured."""

    images: Embedded
    backend: str | Backend = "auto"

    def through(self, channel: str) -> Cohort:
        """The same people as one channel sees them."""
        return replace(self, images=self.images.through(channel))

    def correction(self, embedded: Embedded, *, skip_best: bool = False) -> Floats:
        """What the hub correction adds to the scores of each picture (N,): minus half its closeness to the cohort.

        A picture's own person never counts. ``skip_best`` also leaves out the best match: a cohort of training people
        must not normalise a leak away.
        """
        if not len(embedded):
            return np.zeros(0)
        skip = int(skip_best)
        found = compare_all(
            *(embedded.vectors, self.images.vectors),
            top_k=NEIGHBOURS + 1 + skip,
            best_queries=False,
            backend=self.backend,
            moments=False,
        )
        people = {person: i for i, person in enumerate(self.images.people_or_ids)}
        own = np.array([people.get(p, -1) for p in embedded.people_or_ids], np.int64)
        order = np.argsort(found.rows == own[:, None], axis=1, kind="stable")
        cosine = np.take_along_axis(found.cosine, order, axis=1)
        n_others = found.rows.shape[1] - (found.rows == own[:, None]).any(axis=1).max()
        return -closeness(cosine[:, skip : min(n_others, NEIGHBOURS + skip)]) / 2


@dataclass(frozen=True)
class ChannelContext:
    """One channel as an audit looks through it: the synthetic pictures, what the cohort says of them, and the scale on
    which scores of several channels meet."""

    synthetic: Embedded
    cohort: Cohort
    on_synthetic: Floats
    standard: ScoreScale


def channel_context(synthetic: Embedded, cohort: Cohort, *, skip_best: bool = False) -> ChannelContext:
    """The lens of a channel, whose scale is that of the cohort's own exposures: of people who are in no test.

    ``skip_best`` as for `Cohort.correction` of the synthetic pictures.
    """
    on_synthetic = cohort.correction(synthetic, skip_best=skip_best)
    on_cohort = cohort.correction(cohort.images)
    found = compare_all(
        *(synthetic.vectors, cohort.images.vectors),
        top_k=1,
        query_offset=on_synthetic,
        gallery_offset=on_cohort,
        backend=cohort.backend,
        moments=False,
    )
    return ChannelContext(synthetic, cohort, on_synthetic, fit_score_scale(found.best_query_score))


def split_off_cohort(
    real: Embedded, share: float, rng: np.random.Generator, backend: str | Backend = "auto"
) -> tuple[Embedded, Cohort]:
    """Real people split at random: those left, and a ``share`` whose pictures (one each) are the cohort.

    Nobody may be both: someone who is compared must not take part in the correction of the other side's scores.
    """
    names, codes = person_codes(real.people_or_ids)
    n_cohort = min(MAX_COHORT_PEOPLE, max(1, round(share * len(names))))
    in_cohort = np.zeros(len(names), np.bool_)
    in_cohort[rng.permutation(len(names))[:n_cohort]] = True
    images = real.take(np.flatnonzero(in_cohort[codes]))
    return (
        real.take(np.flatnonzero(~in_cohort[codes])),
        Cohort(images.take(one_image_each(images.people_or_ids, rng)), backend),
    )
