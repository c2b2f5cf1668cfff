"""People and images that two sets share: facts first, then matches by face with the number that chance expects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from unveil.analysis.facts import digests_of_rejects, same_pixels
from unveil.analysis.overlap import same_image_pairs
from unveil.analysis.verification import MAX_IMAGES, choose_images
from unveil.choices import SET_NAMES, SetName
from unveil.compare import exact_cosine
from unveil.embedding.images import ImageReader
from unveil.progress import Progress
from unveil.results import OverlapEvidence, PeoplePair, SameImage, SharedImage
from unveil.stats.false_match_tail import FalseMatchTail, closest_people, false_match_tail, list_q
from unveil.stats.hubness import best_of_each, person_codes
from unveil.types import Embedded, Floats, Generators, Ints, Mask, Matches, Reject

T = TypeVar("T")
Images = tuple[ImageReader, ImageReader]


@dataclass(frozen=True)
class ClosestPeople:
    """Pairs (N,) of a person of A and a person of B of whom one is the closest to the other, the closest first.

    ``a`` and ``b`` are codes of the people, ``row_a`` and ``row_b`` the rows of their closest images. ``mutual`` says
    that each is the closest to the other.
    """

    a: Ints
    b: Ints
    row_a: Ints
    row_b: Ints
    cosine: Floats
    mutual: Mask

    def __len__(self) -> int:
        return len(self.a)


def closest_of_both(matches: Matches, codes_a: Ints, codes_b: Ints) -> ClosestPeople:
    """The closest person of B to each person of A, and the other way round, from the best matches of all images.

    ``codes_a`` (Q,) and ``codes_b`` (G,) are the people of the images. The closest images of two people, one of whom
    is the closest to the other, are always among these matches.
    """
    of_a = best_of_each(codes_a, matches.cosine[:, 0])
    of_b = best_of_each(codes_b, matches.best_query_cosine)
    row_a = np.concatenate([of_a, matches.best_query[of_b]])
    row_b = np.concatenate([matches.rows[of_a, 0], of_b])
    cosine = np.concatenate([matches.cosine[of_a, 0], matches.best_query_cosine[of_b]])
    a, b = codes_a[row_a], codes_b[row_b]
    order = np.lexsort((row_b, row_a, b, a, -cosine))
    key = a[order] * (int(codes_b.max()) + 1) + b[order]
    _, first, times = np.unique(key, return_index=True, return_counts=True)
    falling = np.argsort(first, kind="stable")
    chosen = order[first[falling]]
    return ClosestPeople(
        a[chosen], b[chosen], row_a[chosen], row_b[chosen], cosine[chosen], np.asarray(times[falling] > 1, np.bool_)
    )


def is_labelled(embedded: Embedded) -> bool:
    """Whether at least half of the images of a set have a label."""
    return (len(embedded) - embedded.people.n_missing) * 2 >= len(embedded) > 0


def measure_false_matches(
    sets: Mapping[SetName, Embedded], generators: Generators, progress: Progress
) -> tuple[FalseMatchTail | None, tuple[SetName, ...]]:
    """How often different people match, from the people inside each set with labels; without labels, from its images.

    Also which sets were measured. At most MAX_IMAGES random images of each are compared with each other.
    """
    labelled = [name for name in SET_NAMES if is_labelled(sets[name])]
    found = {}
    progress.start("comparing different people of one set", len(labelled or SET_NAMES), "sets")
    for name in labelled or SET_NAMES:
        # A file that a set holds under two names shows nothing about different people.
        images, rng = sets[name].distinct, generators(f"false matches of {name}")
        rows = choose_images(images, rng) if labelled else np.sort(rng.permutation(len(images))[:MAX_IMAGES])
        people = images.people_or_ids.take(rows)
        pairs = closest_people(np.asarray(images.vectors[rows], np.float32), person_codes(people)[1], rng)
        if pairs is not None:
            found[name] = pairs
        progress.advance(1)
    tail = false_match_tail(
        tuple(found.values()), len(sets["A"]) * len(sets["B"]), generators("false matches, resampled")
    )
    return tail, tuple(found)


def shared_images(
    a: Embedded,
    b: Embedded,
    matches: Matches,
    likely: Sequence[tuple[int, int]],
    images: Images | None,
    rejects: Mapping[SetName, Sequence[Reject]],
    progress: Progress,
    workers: int = 0,
) -> tuple[SharedImage, ...]:
    """Images of A that are images of B: the same bytes, the same pixels, or near-duplicates. One partner of each.

    Files are compared by their SHA-256, rejected files too. Pixels are compared among the best matches of each image.
    Near-duplicates are looked for in the ``likely`` pairs of rows, then among the best matches of all images while
    there are any. Without ``images`` (embeddings were given) only digests are compared. ``workers`` 0 means one for
    each core.
    """
    same: dict[tuple[int, int], SameImage] = dict.fromkeys(_same_bytes(a.digests, b.digests), "bytes")
    of_rejects: list[SharedImage] = []
    if images is not None:
        for pair in same_pixels(a, b, matches, images, workers):
            same.setdefault(pair, "pixels")
        known = {i for i, _ in same}, {j for _, j in same}

        def is_new(pair: tuple[int, int]) -> bool:
            return pair[0] not in known[0] or pair[1] not in known[1]

        first = [pair for pair in likely if is_new(pair)]
        rest = [pair for pair in _best_pairs(matches) if is_new(pair)]
        for pair, how in same_image_pairs(
            list(dict.fromkeys([*first, *rest])),
            (images[0], a.ids),
            (images[1], b.ids),
            "looking for near-duplicates",
            progress,
            workers,
            always=len(first),
        ):
            same.setdefault(pair, how)
        of_rejects = _shared_rejects(a, b, images, rejects)
    rows = np.array(list(same), np.int64).reshape(-1, 2)
    cosines = exact_cosine(a.vectors, b.vectors, rows[:, 0], rows[:, 1])
    found = [
        SharedImage(a.ids[i], a.people[i], b.ids[j], b.people[j], how, float(cosine))
        for ((i, j), how), cosine in zip(same.items(), cosines, strict=True)
    ]
    return tuple(sorted([*found, *of_rejects], key=lambda image: (image.a_id, image.b_id)))


def _best_pairs(matches: Matches) -> list[tuple[int, int]]:
    """Rows of the best match of every image of either set, the closest first."""
    n = len(matches.rows)
    row_a = np.concatenate([np.arange(n), matches.best_query])
    row_b = np.concatenate([matches.rows[:, 0], np.arange(len(matches.best_query))])
    cosine = np.concatenate([matches.cosine[:, 0], matches.best_query_cosine])
    order = np.lexsort((row_b, row_a, -cosine))
    return list(dict.fromkeys(zip(row_a[order].tolist(), row_b[order].tolist(), strict=True)))


def _paired(first: Sequence[T], second: Sequence[T]) -> Iterator[tuple[T, T]]:
    """Pairs in which each of the first and of the second occurs, as few as possible."""
    yield from ((one, second[0]) for one in first)
    yield from ((first[0], other) for other in second[1:])


def _same_bytes(first: Sequence[str], second: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Rows of images with one digest, in which every such image of either set occurs."""
    rows_of: dict[str, list[int]] = {}
    for row, digest in enumerate(second):
        rows_of.setdefault(digest, []).append(row)
    own: dict[str, list[int]] = {}
    for row, digest in enumerate(first):
        if digest in rows_of:
            own.setdefault(digest, []).append(row)
    for digest, rows in own.items():
        yield from _paired(rows, rows_of[digest])


def _shared_rejects(
    a: Embedded, b: Embedded, images: Images, rejects: Mapping[SetName, Sequence[Reject]]
) -> list[SharedImage]:
    """Rejected files of either set that are files of the other, byte for byte."""
    embedded = [{digest: [id] for id, digest in zip(one.ids, one.digests, strict=True)} for one in (a, b)]
    rejected: tuple[dict[str, list[str]], dict[str, list[str]]] = ({}, {})
    for side, name in enumerate(SET_NAMES):
        for id, digest in digests_of_rejects(images[side], rejects[name]):
            rejected[side].setdefault(digest, []).append(id)
    pairs = [
        pair
        for of_a, of_b in ((rejected[0], embedded[1]), (embedded[0], rejected[1]), (rejected[0], rejected[1]))
        for digest in of_a.keys() & of_b.keys()
        for pair in _paired(of_a[digest], of_b[digest])
    ]
    return [SharedImage(i, images[0].label(i), j, images[1].label(j), "bytes", None) for i, j in pairs]


@dataclass(frozen=True)
class FaceMatches:
    """The closest people (N,), the false matches expected at each pair, and its q-value.

    ``expected`` is NaN below the tail, ``q`` for people who share an image: they are no part of the
    list whose false share it limits.
    """

    people: ClosestPeople
    expected: Floats
    q: Floats

    def significant_from(self, fdr: float) -> float | None:
        """The lowest cosine of a pair with a q-value of at most ``fdr``; None if there is none."""
        listed = np.flatnonzero(self.q <= fdr)
        return float(self.people.cosine[listed[-1]]) if len(listed) else None


def face_matches(people: ClosestPeople, tail: FalseMatchTail | None, by_image: Mask | None = None) -> FaceMatches:
    """The false matches and the q-value of each pair; NaN without a tail. ``by_image`` (N,) pairs share an image."""
    unknown = np.full(len(people), np.nan)
    if tail is None:
        return FaceMatches(people, unknown, unknown)
    expected, q = tail.expected(people.cosine), unknown
    listed = np.arange(len(people)) if by_image is None else np.flatnonzero(~by_image)
    # Below the tail there are more false matches than it can say.
    below = people.cosine < tail.threshold
    q[listed] = np.where(below[listed], 1.0, list_q(expected[listed]))
    return FaceMatches(people, np.where(below, np.nan, expected), q)


def likely_pairs(found: FaceMatches, fdr: float) -> list[tuple[int, int]]:
    """Rows of the closest images of the people who may match by face, the closest first."""
    at = np.flatnonzero(found.q <= fdr)
    return list(zip(found.people.row_a[at].tolist(), found.people.row_b[at].tolist(), strict=True))


def share_an_image(people: ClosestPeople, a: Embedded, b: Embedded, images: Sequence[SharedImage]) -> Mask:
    """Which pairs (N,) of the closest people share an image."""
    shared = {_people_of(image) for image in images}
    return np.array([pair in shared for pair in _names(people, a, b)], np.bool_)


def _people_of(image: SharedImage) -> tuple[str, str]:
    """The people of a shared image; without a label, the image itself."""
    a = image.a_id if image.a_person is None else image.a_person
    return a, image.b_id if image.b_person is None else image.b_person


def _names(people: ClosestPeople, a: Embedded, b: Embedded) -> list[tuple[str, str]]:
    names_a, names_b = a.people_or_ids, b.people_or_ids
    return [(names_a[i], names_b[j]) for i, j in zip(people.row_a, people.row_b, strict=True)]


def people_pairs(
    found: FaceMatches,
    cosine: float | None,
    a: Embedded,
    b: Embedded,
    images: Sequence[SharedImage],
    n_candidates: int,
) -> tuple[tuple[PeoplePair, ...], tuple[PeoplePair, ...]]:
    """The people whom two sets share, those with a shared image first, and the closest pairs that do not match.

    People match by face from ``cosine`` on; None: nobody does.
    """
    shared = Counter(_people_of(image) for image in images)
    by_image: list[PeoplePair] = []
    by_face: list[PeoplePair] = []
    candidates: list[PeoplePair] = []
    people = found.people
    for k, pair in enumerate(_names(people, a, b)):
        n = shared.pop(pair, 0)
        matches = cosine is not None and bool(people.cosine[k] >= cosine)
        if not n and not matches and len(candidates) == n_candidates:
            continue
        evidence: tuple[OverlapEvidence, ...] = (*(("same image",) if n else ()), *(("face",) if matches else ()))
        made = PeoplePair(
            *(*pair, evidence, float(people.cosine[k]), a.ids[people.row_a[k]], b.ids[people.row_b[k]]),
            *(bool(people.mutual[k]), n, _known(found.expected[k]), _known(found.q[k])),
        )
        (by_image if n else by_face if matches else candidates).append(made)
    # People who share an image though both are closer to somebody else, or whose shared files were rejected.
    for image in images:
        pair = _people_of(image)
        if pair in shared:
            n = shared.pop(pair)
            made = PeoplePair(*pair, ("same image",), image.cosine, image.a_id, image.b_id, False, n, None, None)
            by_image.append(made)
    by_image.sort(key=lambda p: (-p.shared_images, p.a_person, p.b_person))
    return (*by_image, *by_face), tuple(candidates)


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
