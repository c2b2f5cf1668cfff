"""The cohort and the hub correction; control people who are also in the training set."""

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

# Real people who are searched among other real people. The maximum suffices for an FPIR of 1 in 1,000.
MAX_PROBES = 2000
MIN_PROBES = 100
# A larger cohort costs comparisons and changes nothing: ten neighbours are used.
MAX_COHORT_PEOPLE = 5000


def one_image_per_person(people: tuple[str, ...], rng: np.random.Generator, max_people: int | None = None) -> Ints:
    """Rows, ascending, of one random image of each person, or of ``max_people`` random people."""
    names, codes = person_codes(people)
    counts = np.ones(len(names), np.int64)
    if max_people is not None and len(names) > max_people:
        counts[rng.permutation(len(names))[max_people:]] = 0
    return subsample_images(codes, counts, rng)


def mated_pairs(people: tuple[str, ...], rng: np.random.Generator, max_people: int) -> tuple[Ints, Ints]:
    """Rows of two random images of each of at most ``max_people`` random people who have two."""
    _, codes = person_codes(people)
    order = np.lexsort((rng.random(len(codes)), codes))
    same = np.flatnonzero(codes[order][1:] == codes[order][:-1])
    first = same[np.unique(codes[order][same], return_index=True)[1]]
    first = rng.permutation(first)[:max_people]
    return order[first], order[first + 1]


@dataclass(frozen=True)
class Overlap:
    """Control people who are also in the training set.

    ``rows`` are the control images without them; the counts are of what was removed. ``threshold`` is the cosine used,
    None where there were too few training people to set one.
    """

    rows: Ints
    n_images: int
    n_people: int
    n_people_before: int
    threshold: float | None


def find_overlap(training: Embedded, control: Embedded, compare: Comparisons, rng: np.random.Generator) -> Overlap:
    """Finds control people who are in the training set: by identical bytes, or by a cosine that strangers do not
    reach."""
    names, codes = person_codes(control.people_or_ids)
    known = set(training.digests)
    same = np.array([digest in known for digest in control.digests], np.bool_)
    probes = one_image_per_person(training.people_or_ids, rng, MAX_PROBES)
    threshold = None
    if len(probes) >= MIN_PROBES:
        probe = training.take(probes)
        _, other_scores = best_of_others(
            probe.vectors,
            probe.people_or_ids,
            training.vectors,
            training.people_or_ids,
            np.zeros(len(probe)),
            np.zeros(len(training)),
            compare.backend,
        )
        threshold = same_person_threshold(other_scores, len(control))
        matches = compare.matches(Comparison("overlap", FIRST_CHANNEL, "control"), control, training)
        same |= matches.cosine[:, 0] > threshold
    people = np.unique(codes[same])
    removed = np.isin(codes, people)
    return Overlap(np.flatnonzero(~removed), int(removed.sum()), len(people), len(names), threshold)


@dataclass(frozen=True)
class Cohort:
    """Real people, one image each, that measure how close an image is to everybody."""

    images: Embedded
    backend: str | Backend = "auto"

    def through(self, channel: str) -> Cohort:
        """The same people with the vectors of one channel."""
        return replace(self, images=self.images.through(channel))

    def correction(self, embedded: Embedded, *, skip_best: bool = False) -> Floats:
        """The hub correction (N,): minus half the closeness of each image to the cohort, added to its scores.

        The image's own person never counts. ``skip_best`` leaves out the best match too: a cohort of training people
        must not normalise a leak away. See `unveil.stats.hubness.closeness` for the source.
        """
        if not len(embedded):
            return np.zeros(0)
        n_skipped = int(skip_best)
        found = compare_all(
            *(embedded.vectors, self.images.vectors),
            top_k=NEIGHBOURS + 1 + n_skipped,
            best_queries=False,
            backend=self.backend,
            moments=False,
        )
        people = {person: i for i, person in enumerate(self.images.people_or_ids)}
        own = np.array([people.get(p, -1) for p in embedded.people_or_ids], np.int64)
        order = np.argsort(found.rows == own[:, None], axis=1, kind="stable")
        cosine = np.take_along_axis(found.cosine, order, axis=1)
        n_others = found.rows.shape[1] - (found.rows == own[:, None]).any(axis=1).max()
        return -closeness(cosine[:, n_skipped : min(n_others, NEIGHBOURS + n_skipped)]) / 2


@dataclass(frozen=True)
class ChannelContext:
    """What one channel needs to score real images.

    ``synthetic_correction`` (Q,) is the hub correction of the synthetic images. ``scale`` makes the scores of several
    channels comparable.
    """

    synthetic: Embedded
    cohort: Cohort
    synthetic_correction: Floats
    scale: ScoreScale


def channel_context(synthetic: Embedded, cohort: Cohort, *, skip_best: bool = False) -> ChannelContext:
    """The context of a channel. Its scale is fitted to the exposures of the cohort, whose people are in no test.

    ``skip_best`` is that of `Cohort.correction` for the synthetic images.
    """
    synthetic_correction = cohort.correction(synthetic, skip_best=skip_best)
    cohort_correction = cohort.correction(cohort.images)
    found = compare_all(
        *(synthetic.vectors, cohort.images.vectors),
        top_k=1,
        query_offset=synthetic_correction,
        gallery_offset=cohort_correction,
        backend=cohort.backend,
        moments=False,
    )
    return ChannelContext(synthetic, cohort, synthetic_correction, fit_score_scale(found.best_query_score))


def split_off_cohort(
    real: Embedded, share: float, rng: np.random.Generator, backend: str | Backend = "auto"
) -> tuple[Embedded, Cohort]:
    """Splits real people at random: a ``share`` of them are the cohort, with one image each; the others are returned.

    Nobody is in both: a person who is tested must not correct the scores of the other side.
    """
    names, codes = person_codes(real.people_or_ids)
    n_cohort = min(MAX_COHORT_PEOPLE, max(1, round(share * len(names))))
    in_cohort = np.zeros(len(names), np.bool_)
    in_cohort[rng.permutation(len(names))[:n_cohort]] = True
    images = real.take(np.flatnonzero(in_cohort[codes]))
    return (
        real.take(np.flatnonzero(~in_cohort[codes])),
        Cohort(images.take(one_image_per_person(images.people_or_ids, rng)), backend),
    )
