"""Without a control set: how close real people come to *other* people, and tests of the synthetic set against it.

The null is the search of each training person, with one image, among the other training people. A synthetic image that
copies nobody behaves like the image of one more person of the same source. Everything here needs that assumption,
and `fit_shift` and `below_median` measure where it fails.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from unveil.stats.hubness import best_of_each
from unveil.stats.intervals import LEVEL, NORMAL, share
from unveil.stats.person_tests import benjamini_hochberg
from unveil.stats.score_scale import MIN_PEOPLE
from unveil.stats.tail import Tail, fit_tail
from unveil.types import Estimate, Floats, Ints, Mask, Probability

# With fewer searches chance is not known well enough to say anything.
MIN_SEARCHES = 100
# Two people who are each other's closest match give one high score twice: searches count half.
CLUMP = 2
# The location of the synthetic scores is corrected by its estimate and this many standard errors.
MARGIN = 1.0


def search_p(scores: Floats, searches: Floats) -> Floats:
    """p (N,) of the best scores (N,) of synthetic images, against the searches (P,) of real people among the others.

    With k = 1 + the number of searches that reach a score, p = (k + s) / (P + 1), where s is the largest integer with
    s (s - 1) / 2 <= k - 1. A real person is searched without the synthetic image, so plain counting is not exact: with
    P + 1 exchangeable people, two can exceed all others' searches among themselves. At most k + s of P + 1 people have
    k or fewer others that reach their score without them: each of the s surplus people needs others who point at nobody
    else, and a person points at one. This is the argument of the jackknife+ (Barber et al. 2021,
    doi:10.1214/20-AOS1965), sharper because the score is a nearest neighbour.
    """
    ascending = np.sort(searches)
    k = 1 + len(ascending) - np.searchsorted(ascending, scores, side="left")
    return np.asarray(np.minimum(1.0, _with_surplus(np.asarray(k, np.int64)) / (len(ascending) + 1)), np.float64)


def far_beyond(cosine: Floats, searches: Floats) -> Mask:
    """Which cosines (N,) lie further above all searches (P,) than the closest search lies above the median one.

    A tail that were heavy enough to reach them would have left searches in between.
    """
    highest = float(searches.max())
    return np.asarray(cosine - highest > highest - float(np.median(searches)), np.bool_)


def _with_surplus(k: Ints) -> Floats:
    """k + s (N,); see `search_p`."""
    return np.asarray(k + np.floor((1 + np.sqrt(8.0 * k - 7)) / 2), np.float64)


def identity_p(p: Floats, codes: Ints) -> Floats:
    """p (I,) of synthetic identities, from the p (N,) of their images; ``codes`` (N,) are their identities.

    Simes 1986 (doi:10.1093/biomet/73.3.751): the smallest n p_(k) / k. Assumes, as Benjamini-Hochberg does, that the
    images of an identity are positively dependent.
    """
    order = np.lexsort((p, codes))
    n = np.bincount(codes)
    rank = 1 + np.arange(len(codes)) - np.repeat(np.cumsum(n) - n, n)
    combined = np.full(len(n), np.inf)
    np.minimum.at(combined, codes[order], n[codes[order]] * p[order] / rank)
    return np.asarray(np.minimum(1.0, combined), np.float64)


def expected_people(p: Floats, person: Ints, n_people: int) -> Floats:
    """How many people (P,) are expected to be chosen as strongly as each training person if nothing leaked.

    It follows from the p (N,) of the synthetic images and the person (N,) that each is closest to: the smallest
    N p_(k) / k over the images that are closest to a person. This is Simes' test of all images with those of other
    people left out. Its probabilities over all people add up to those of Simes' test, so at a level u there are u false
    people on average. It is infinite for people whom no image is closest to.
    """
    order = np.lexsort((p, person))
    n = np.bincount(person, minlength=n_people)
    rank = 1 + np.arange(len(person)) - np.repeat(np.cumsum(n) - n, n)
    combined = np.full(n_people, np.inf)
    np.minimum.at(combined, person[order], len(p) * p[order] / rank)
    return combined


def people_q(expected: Floats) -> Floats:
    """q (P,) of training people: `expected_people` of the r-th person divided by r, made monotone.

    The Benjamini-Hochberg ratio (1995, doi:10.1111/j.2517-6161.1995.tb02031.x): false people expected up to a level,
    divided by the people found up to it. So it is the share of false people, not of false images.
    """
    order = np.argsort(expected, kind="stable")
    ratio = np.minimum(1.0, expected[order] / (1 + np.arange(len(expected))))
    q = np.empty(len(expected))
    q[order] = np.minimum.accumulate(ratio[::-1])[::-1]
    return q


@dataclass(frozen=True)
class CrowdTest:
    """Test of whether synthetic identities are close to more training people than real people are to other people."""

    p_value: Probability
    """Probability of so many close training people if nothing leaked. It names nobody."""
    people: int
    """Number of training people whom identities are closest to, above the threshold with the strongest evidence."""
    expected: float
    """Number of identities expected above this threshold, from the searches of real people."""
    share: Probability
    """Share of real people whose search exceeds this threshold."""
    method: str = "beta-binomial at the top 2, 4, 8, ... searches, each training person once, Bonferroni"
    """How the p-value is made."""


def crowd_test(p: Floats, person: Ints, n_searches: int) -> CrowdTest:
    """Tests whether synthetic identities are closest to more people at small p (I,) than chance allows.

    ``person`` (I,) is the training person that each is closest to. At the level of the 2j-th closest of ``n_searches``
    searches, j = 1, 2, 4, ..., each person counts once, however many identities are closest to them: identities of one
    face repeat a single event of chance. Under the null a new search exceeds the j-th of n independent ones with a
    probability that is beta (j, n - j + 1), so the count is beta-binomial. Searches count half, since two people who
    are each other's closest match are one event. Assumes that different identities are independent.
    """
    n, halved = len(p), n_searches // CLUMP
    cutoffs = 2 ** np.arange(int(np.log2(max(1, halved // 4))) + 1)
    best = CrowdTest(1.0, 0, 0.0, 0.0)
    if not n or halved < 4:
        return best
    first = best_of_each(person, -p)
    levels = _with_surplus(CLUMP * cutoffs) / (n_searches + 1)
    for j, level in zip(cutoffs.tolist(), levels.tolist(), strict=True):
        count = int((p[first] <= level + 1e-12).sum())
        p_value = float(scipy.stats.betabinom.sf(count - 1, n, j, halved - j + 1)) if count else 1.0
        p_value = min(1.0, p_value * len(cutoffs))
        if p_value < best.p_value:
            part = CLUMP * j / n_searches
            best = CrowdTest(p_value, count, part * n, part)
    return best


@dataclass(frozen=True)
class SearchTests:
    """The tests of synthetic images (N,), identities (I,) and training people (P,) against searches of real people.

    The arrays ending in ``_gpd`` are None without a fitted tail.
    """

    p: Floats
    identity_p: Floats
    identity_q: Floats
    people_p: Floats
    people_q: Floats
    people_p_gpd: Floats | None
    people_q_gpd: Floats | None
    identity_q_gpd: Floats | None
    tail: Tail | None
    crowd: CrowdTest

    def conformal(self, fdr: float) -> Mask:
        """Which people (P,) are significant by conformal q."""
        return np.asarray(self.people_q <= fdr, np.bool_)

    def gpd(self, fdr: float) -> Mask:
        """Which people (P,) are significant by the GPD tail; nobody without a tail."""
        if self.people_q_gpd is None:
            return np.zeros(len(self.people_q), np.bool_)
        return np.asarray(self.people_q_gpd <= fdr, np.bool_)


def search_tests(scores: Floats, person: Ints, identity: Ints, searches: Floats, n_people: int) -> SearchTests:
    """Tests the best scores (N,) of synthetic images against the searches (S,) of real people.

    ``person`` (N,) is the training person that each image is closest to, ``identity`` (N,) its synthetic identity; both
    are codes from 0. The GPD tail is used beyond the closest search only.
    """
    p = search_p(scores, searches)
    tail = fit_tail(searches, CLUMP)
    of_identity = identity_p(p, identity)
    chosen = person[best_of_each(identity, scores)]
    of_people = expected_people(p, person, n_people)
    # Where real people reach a score, however rarely, counting them decides: labels with errors and look-alikes make
    # the far tail another distribution than the one that is fitted.
    p_gpd = None if tail is None else np.where(scores > searches.max(), tail.p_values(scores), p)
    people_gpd = None if p_gpd is None else expected_people(p_gpd, person, n_people)
    return SearchTests(
        p=p,
        identity_p=of_identity,
        identity_q=benjamini_hochberg(of_identity),
        people_p=np.minimum(1.0, of_people),
        people_q=people_q(of_people),
        people_p_gpd=None if people_gpd is None else np.minimum(1.0, people_gpd),
        people_q_gpd=None if people_gpd is None else people_q(people_gpd),
        identity_q_gpd=None if p_gpd is None else benjamini_hochberg(identity_p(p_gpd, identity)),
        tail=tail,
        crowd=crowd_test(of_identity, chosen, len(searches)),
    )


@dataclass(frozen=True)
class Shift:
    """How the scores of synthetic images differ from those of real people away from the top, and what is corrected."""

    location: Estimate
    """Median score of synthetic images with people other than their closest, minus that of real people."""
    spread_ratio: float
    """Spread (median minus 15% quantile) of these scores of synthetic images, divided by that of real people."""
    middle: float
    """Median of the real people."""
    correction: float
    """What is subtracted from scores of synthetic images: the shift plus a standard error, if they are too high."""
    factor: float
    """By what the distance of these scores from the median is then divided, at least 1."""

    def of(self, scores: Floats) -> Floats:
        """Corrected scores (N,) of synthetic images."""
        if not self.correction and self.factor == 1:
            return scores
        return self.middle + (scores - self.correction - self.middle) / self.factor


def fit_shift(synthetic: Floats, real: Floats, n_identities: int) -> Shift:
    """The shift between synthetic (N,) and real images (R,), by their mean scores with people other than the closest.

    A leak raises the score with one person; a difference between synthetic and real images raises all of them. So this
    shift does not hide leaks, however many images leak. It is corrected only where it would make the tests reject too
    often. Standard errors are those of a median of ``n_identities`` independent values.
    """
    middle = float(np.median(real))
    value = float(np.median(synthetic)) - middle
    high, above = (_median_limit(synthetic, n_identities, sign) for sign in (NORMAL, MARGIN))
    low, below = (_median_limit(real, len(real), -sign) for sign in (NORMAL, MARGIN))
    lowest, highest = _median_limit(synthetic, n_identities, -NORMAL), _median_limit(real, len(real), NORMAL)
    errors = [
        np.hypot(a, b) for a, b in ((lowest - value - middle, highest - middle), (high - value - middle, low - middle))
    ]
    margin = float(np.hypot(above - value - middle, below - middle))
    ratio = 1.0
    if min(len(synthetic), len(real)) >= MIN_PEOPLE:
        ratio = _spread(synthetic) / _spread(real)
    return Shift(
        location=Estimate(
            value,
            value - float(errors[0]),
            value + float(errors[1]),
            LEVEL,
            len(synthetic) + len(real),
            "difference of medians, order statistics",
        ),
        spread_ratio=ratio,
        middle=middle,
        correction=max(0.0, value + margin),
        factor=max(1.0, ratio),
    )


def _spread(values: Floats) -> float:
    """The distance from the 15% quantile to the median, which closer people do not change."""
    low, middle = (float(v) for v in np.quantile(values, [0.15, 0.5]))
    return max(middle - low, 1e-6)


def _median_limit(values: Floats, n: int, z: float) -> float:
    """A limit of the median by order statistics: the quantile z standard errors from one half, of n values."""
    return float(np.quantile(values, np.clip(0.5 + z / (2 * np.sqrt(max(1, n))), 0, 1)))


def below_median(scores: Floats, identity: Ints, searches: Floats) -> Estimate:
    """The share of synthetic identities whose median score is below the median of the searches.

    It is one half under the null, more if synthetic images are less like anybody than real people are (the tests are
    then conservative), and less if many of them are close to one training person each.
    """
    order = np.lexsort((scores, identity))
    n = np.bincount(identity)
    start = np.cumsum(n) - n
    median = (scores[order][start + (n - 1) // 2] + scores[order][start + n // 2]) / 2
    return share(int((median < np.median(searches)).sum()), len(median), "share of synthetic identities")
