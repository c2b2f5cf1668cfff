"""The label link test: whether synthetic class k resembles training class k more than other training classes do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations
from math import factorial

import numpy as np
import numpy.typing as npt

from unveil.native import add_arranged
from unveil.stats.blas import single_blas_thread
from unveil.stats.class_sums import class_sums
from unveil.types import Floats, Ints, Vectors

# Random arrangements: p-values below .001 remain possible after a correction for several correspondences.
N_ARRANGEMENTS = 9_999
# Up to this number of classes every arrangement is tried: 8! = 40,320.
MAX_EXACT = 8
# The most training classes that are exchanged with each other, and the rounds of the iterations that find them.
MAX_GROUP, ROUNDS = 20, 20
# Similarities that are computed at a time: they stay in the cache.
PRODUCTS = 2**22
# Values of points of which two products are made at a time: they stay in the cache of a core.
CACHED = 2**16
# Classes whose copies are in memory at a time.
ROWS = 8192
# Training classes with which every synthetic class is compared, and the rank from which an estimate is enough: it is
# off by 3%.
RANKED_ROWS, RANKED = 4096, 1000
# Similarities that differ by less are equal: more than rounding, less than any difference between two people.
TOLERANCE = 1e-9
# Similarities of one class to all others that spread by less are equal: the square root of rounding, and some more.
SMALL_SPREAD = 1e-7


@dataclass(frozen=True)
class LinkTest:
    """The result for K classes that correspond one to one.

    ``similarity`` (K,) is the cosine between the two centred class means. ``rank`` (K,) is the rank of the own training
    class among all training classes, 1 for the most similar; ties count against the own class. With more than
    RANKED_ROWS classes, ranks above RANKED are estimates. ``p`` (K,) is rank / K.
    """

    p_value: float
    n_arrangements: int
    exact: bool
    similarity: Floats
    rank: Ints
    p: Floats


def class_means(vectors: Vectors, codes: Ints, n_classes: int) -> Floats:
    """The mean vectors (K, D) of classes from image vectors (N, D) and their codes (N,); a negative code is no class.

    Every class needs an image.
    """
    means: Floats = class_sums(vectors, codes, n_classes)
    means /= np.bincount(codes[codes >= 0], minlength=n_classes)[:, None]
    return means


def link_test(synthetic: Floats, training: Floats, rng: np.random.Generator) -> LinkTest:
    """Tests whether class k of one set resembles class k of the other; class means (K, D), row k of both correspond.

    Both arrays are overwritten: of very many classes they are the largest of an audit.

    Means are centred on the mean of their set, which removes what all its classes share, and scaled to unit length.
    From the cosine of every synthetic with every training class the mean of its training class is subtracted; each
    synthetic class is then standardised over all training classes. The statistic is the mean over classes of this
    standardised similarity to the own training class.

    Under the null hypothesis, labels say nothing about which classes are alike, so every arrangement of the training
    classes is equally likely. p = (1 + arrangements at least as high) / (1 + arrangements) is then exact
    (Phipson and Smyth 2010, doi:10.2202/1544-6115.1585). With at most MAX_EXACT classes every arrangement is tried, and
    p is the share of arrangements at least as high. Arrangements exchange only training classes that resemble each
    other (`similar_classes`, from the training set alone). So labels that tell the sex, the origin or the source of a
    class, but not the class, are no link.

    The rank of the own class among all K is uniform under the same hypothesis, so rank / K is a p-value of one class.
    It is exact, and where the rank is an estimate it is valid (`_ranks`). Memory holds one block of the K x K
    similarities at a time. Raises ValueError for fewer than two classes.
    """
    n = len(synthetic)
    if len(training) != n or n < 2:
        raise ValueError(f"{n} synthetic and {len(training)} training classes: at least two that correspond are needed")
    made, real = synthetic, training
    _centre(made)
    _centre(real)
    exact = n <= MAX_EXACT
    with single_blas_thread():
        groups = similar_classes(real)
    similarity = np.einsum("kd,kd->k", made, real)
    # What is standardised is the product of these: the means that are subtracted are those of both factors.
    made -= made.mean(axis=0)
    real -= real.mean(axis=0)
    products = real.T @ real / n
    for start in range(0, n, ROWS):
        block = made[start : start + ROWS]
        spread = np.sqrt(np.maximum(0, np.einsum("kd,kd->k", block @ products, block)))
        block /= np.where(spread > SMALL_SPREAD, spread, np.inf)[:, None]
    own = np.einsum("kd,kd->k", made, real)
    arranged = np.zeros(factorial(n) if exact else N_ARRANGEMENTS)
    for group in groups:
        among = made[group] @ real[group].T
        if exact or not add_arranged(arranged, among, rng):
            places = np.ascontiguousarray(_arrangements(len(group), exact, rng).T)
            arranged += sum(similarities.take(place) for similarities, place in zip(among, places, strict=True))
    as_high = int((arranged >= own.sum() - TOLERANCE * n).sum())
    p_value = as_high / len(arranged) if exact else (1 + as_high) / (1 + len(arranged))
    rank = _ranks(made, real, own, rng)
    return LinkTest(p_value, len(arranged), exact, similarity, rank, rank / n)


def _ranks(queries: Floats, gallery: Floats, own: Floats, rng: np.random.Generator) -> Ints:
    """The rank of each query's product with its own gallery row, ``own`` (K,), among its products with all rows (K, D).

    Of at most RANKED_ROWS rows all are compared. Of more, a random part of so many, then twice as many, and so on. A
    query is done when RANKED others reach its own row: its rank is then that in the part, scaled up. Ranks up to RANKED
    are exact.

    As a p-value, rank / K is valid: P(p <= x) <= x. The parts are nested, and the p of a query that is done is at least
    (1 + RANKED) / (1 + others in the part). For x between two of these bounds, p <= x needs the own row among the best
    x of the part with the lower bound, whatever larger parts say. By exchangeability, the probability is at most x.
    """
    n, (floor, order) = len(queries), (own - TOLERANCE, rng.permutation(len(gallery)))
    place = np.argsort(order)
    rank, reached = np.empty(n, np.int64), np.zeros(n, np.int64)
    waiting, start, stop = np.arange(n), 0, min(n, RANKED_ROWS)
    while stop < n:
        reached[waiting] += _n_reaching(queries, gallery, floor, waiting, order[start:stop])
        compared = stop - (place[waiting] < stop)
        others = reached[waiting] - (place[waiting] < stop)
        done = others >= RANKED
        rank[waiting[done]] = -(-(1 + others[done]) * n // (1 + compared[done]))
        waiting, start, stop = waiting[~done], stop, min(n, 2 * stop)
    rank[waiting] = reached[waiting] + _n_reaching(queries, gallery, floor, waiting, order[start:])
    return rank


def _n_reaching(queries: Floats, gallery: Floats, floor: Floats, some: Ints, rows: Ints) -> Ints:
    """How many products of the queries ``some`` (S,) with the gallery ``rows`` (R,) reach the ``floor`` of the query.

    Products are computed in float32. Those within its error of the floor are computed again (Higham 2002, section 3.1,
    doi:10.1137/1.9780898718027: an inner product is off by at most gamma times that of the absolute values).
    """
    dimension = gallery.shape[1]
    narrow = np.empty((len(rows), dimension), np.float32)
    longest = 0.0
    for start in range(0, len(rows), size := max(1, PRODUCTS // dimension)):
        part = gallery[rows[start : start + size]]
        narrow[start : start + size] = part
        longest = max(longest, float(np.einsum("kd,kd->k", part, part).max()) ** 0.5)
    unit = (dimension + 4) * 2.0**-24
    count = np.empty(len(some), np.int64)
    for start in range(0, len(some), size := max(1, PRODUCTS // max(1, len(rows)))):
        block = some[start : start + size]
        compared, needed = queries[block], floor[block]
        length = np.sqrt(np.einsum("kd,kd->k", compared, compared))
        error = 1.01 * unit / (1 - unit) * length * longest + np.finfo(np.float32).tiny
        low, high = (needed - error).astype(np.float32), (needed + error).astype(np.float32)
        low, high = np.nextafter(low, np.float32(-np.inf)), np.nextafter(high, np.float32(np.inf))
        product = compared.astype(np.float32) @ narrow.T
        certain, possible = product >= high[:, None], product >= low[:, None]
        found = np.count_nonzero(certain, axis=1)
        possible ^= certain
        query, row = np.divmod(np.flatnonzero(possible), len(rows))
        for first in range(0, len(query), n_exact := max(1, PRODUCTS // dimension)):
            q, g = query[first : first + n_exact], rows[row[first : first + n_exact]]
            reaches = np.einsum("kd,kd->k", compared[q], gallery[g]) >= needed[q]
            found += np.bincount(q[reaches], minlength=len(block))
        count[start : start + size] = found
    return count


def similar_classes(means: Floats) -> list[Ints]:
    """Groups of rows of class means (K, D) that resemble each other, MAX_GROUP at most, by bisecting k-means.

    Each group is halved by 2-means, which starts from its halves along a principal direction, so no random number is
    needed (Steinbach et al. 2000, https://hdl.handle.net/11299/215421).
    """
    done, larger = [], [np.arange(len(means))]
    while larger:
        group = larger.pop()
        if len(group) <= MAX_GROUP:
            done.append(group)
            continue
        inside = _halves(means[group])
        larger += [group[inside], group[~inside]]
    return sorted(done, key=lambda group: int(group[0]))


def _halves(points: Floats) -> npt.NDArray[np.bool_]:
    """Which of the points (N, D), which are centred in place, are in one of two clusters, neither of which is empty."""
    points -= points.mean(axis=0)
    direction = points[np.einsum("nd,nd->n", points, points).argmax()]
    for _ in range(ROUNDS):
        direction = _scattered(points, direction)
        direction /= max(float(np.linalg.norm(direction)), TOLERANCE)
    along = points @ direction
    inside, total = np.asarray(along > np.median(along), np.bool_), points.sum(axis=0)
    of_inside = inside.astype(np.float64) @ points  # without copies of points
    for _ in range(ROUNDS):
        if not inside.any() or inside.all():
            break
        n_inside = np.count_nonzero(inside)
        middle, other = of_inside / n_inside, (total - of_inside) / (len(inside) - n_inside)
        moved, of_moved = _beyond(points, middle - other, float(middle @ middle - other @ other) / 2)
        if (moved == inside).all():
            return inside
        inside, of_inside = moved, of_moved
    if not inside.any() or inside.all():  # equal points
        inside = np.arange(len(points)) < len(points) // 2
    return inside


def _in_cache(points: Floats) -> Iterator[slice]:
    """Blocks of points (N, D) that stay in the cache between two products: memory is slower than the products."""
    size = max(1, CACHED // points.shape[1])
    return (slice(start, start + size) for start in range(0, len(points), size))


def _scattered(points: Floats, direction: Floats) -> Floats:
    """The product (D,) of the scatter matrix of centred points (N, D) with a direction (D,)."""
    product = np.zeros(points.shape[1])
    for block in _in_cache(points):
        product += (points[block] @ direction) @ points[block]
    return product


def _beyond(points: Floats, direction: Floats, least: float) -> tuple[npt.NDArray[np.bool_], Floats]:
    """Which points (N, D) lie further than ``least`` along a direction (D,), and their sum (D,)."""
    beyond, total = np.empty(len(points), np.bool_), np.zeros(points.shape[1])
    for block in _in_cache(points):
        beyond[block] = points[block] @ direction > least
        total += beyond[block].astype(np.float64) @ points[block]
    return beyond, total


def _centre(means: Floats) -> None:
    """Takes their mean from class means (K, D), and scales them to unit length; one that is the mean stays zero."""
    means -= means.mean(axis=0)
    for start in range(0, len(means), ROWS):
        block = means[start : start + ROWS]
        length = np.linalg.norm(block, axis=1, keepdims=True)
        block /= np.where(length > TOLERANCE, length, np.inf)


def _arrangements(n: int, exact: bool, rng: np.random.Generator) -> Ints:
    """Every arrangement of n places (n!, n), or N_ARRANGEMENTS random ones (N_ARRANGEMENTS, n)."""
    if exact:
        return np.array(list(permutations(range(n))), np.int64)
    # NumPy exchanges numbers of 64 bits nearly twice as fast as single bytes, in the same way.
    return rng.permuted(np.tile(np.arange(n, dtype=np.int64), (N_ARRANGEMENTS, 1)), axis=1)
