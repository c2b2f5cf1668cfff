"""Copies: synthetic images that are training images. A fact needs no test and no control set."""

from __future__ import annotations

import hashlib
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import chain
from typing import Literal

import numpy as np

from unveil.columns import Texts
from unveil.embedding.images import ImageReader
from unveil.engine import map_ordered
from unveil.errors import ImageError
from unveil.images import decode_rgb, pixel_digest
from unveil.io.host import cores
from unveil.io.memory import held_memory
from unveil.results import ImageCopy
from unveil.types import Embedded, Ints, Matches, Reject, Role

# Equal pixels have equal vectors, but for the rounding of a model and the reduced decoding of large photographs.
MIN_COSINE = 0.995
# Images decoded at most; only a collapsed model has more candidates.
MAX_DECODED = 20_000

logger = logging.getLogger(__name__)


def exact_copies(
    synthetic: Embedded,
    training: Embedded,
    matches: Matches,
    images: Mapping[Role, ImageReader] | None,
    rejects: Mapping[Role, Sequence[Reject]],
    workers: int = 0,
) -> tuple[ImageCopy, ...]:
    """Every synthetic image that is a training image, with the training images that it is.

    ``synthetic`` holds all embedded synthetic images; ``matches`` are the raw matches of its distinct ones. Files are
    compared by their SHA-256, rejected files too. Pixels are compared among the best matches of each image, since equal
    pixels give equal vectors. Without ``images`` (embeddings were given) only the digests of embedded images are
    compared. ``workers`` 0 means one per core.
    """
    distinct, alike = synthetic, list[tuple[int, int]]()
    rejected: dict[Role, list[tuple[str, str]]] = {"synthetic": [], "training": []}
    if images is not None:
        distinct = synthetic.distinct
        alike = same_pixels(distinct, training, matches, (images["synthetic"], images["training"]), workers)
        for role, of_role in rejected.items():
            of_role += digests_of_rejects(images[role], rejects.get(role, ()))
    # Only images with a digest that both sets have: a list of each of millions would take gigabytes.
    of_synthetic = synthetic.digests + Texts([digest for _, digest in rejected["synthetic"]])
    of_training = training.digests + Texts([digest for _, digest in rejected["training"]])
    both = set(of_synthetic.take(np.flatnonzero(of_synthetic.are_in(of_training))))
    shown = {distinct.digests[q] for q, _ in alike}
    made = _by_digest(synthetic, rejected["synthetic"], both | shown)
    real = _by_digest(training, rejected["training"], both)
    equal = [(id, training.ids[g]) for q, g in alike for id in made[distinct.digests[q]]]
    same_bytes = [(a, b) for digest, ids in made.items() for a in ids for b in real.get(digest, ())]
    kinds: dict[tuple[str, str], Literal["bytes", "pixels"]] = {
        **dict.fromkeys(equal, "pixels"),
        **dict.fromkeys(same_bytes, "bytes"),
    }
    copied = {b for _, b in kinds}
    rows = np.flatnonzero(training.ids.are_in(Texts(list(copied))))
    people = dict(zip(training.ids.take(rows), training.people_or_ids.take(rows), strict=True))
    if images is not None:
        people |= {r.id: images["training"].person(r.id) for r in rejects.get("training", ())}
    return tuple(ImageCopy(a, b, people[b], kind) for (a, b), kind in sorted(kinds.items()))


def with_repeats(copies: Sequence[ImageCopy], synthetic: Embedded, training: Embedded) -> tuple[ImageCopy, ...]:
    """The copies, and behind them the same of every file that repeats one of their files byte for byte.

    ``synthetic`` and ``training`` hold all embedded images. A copy that is found on the distinct images alone would
    otherwise hide how many files of the set must go, and whose they are.
    """
    if not copies:
        return ()
    made = _same_files(synthetic, {copy.synthetic_id for copy in copies})
    real = _same_files(training, {copy.training_id for copy in copies})
    repeats = {(a, b): c.equal for c in copies for a in made[c.synthetic_id] for b in real[c.training_id]}
    new = repeats.keys() - {(copy.synthetic_id, copy.training_id) for copy in copies}
    rows = np.flatnonzero(training.ids.are_in(Texts([b for _, b in new])))
    people = dict(zip(training.ids.take(rows), training.people_or_ids.take(rows), strict=True))
    return (*copies, *(ImageCopy(a, b, people[b], repeats[a, b]) for a, b in sorted(new)))


def _same_files(embedded: Embedded, ids: AbstractSet[str]) -> dict[str, list[str]]:
    """The ids of all images that are the same file as each of ``ids``, itself included."""
    rows = np.flatnonzero(embedded.ids.are_in(Texts(list(ids))))
    digest_of = dict(zip(embedded.ids.take(rows), embedded.digests.take(rows), strict=True))
    same = _by_digest(embedded, (), set(digest_of.values()))
    return {id: same[digest] for id, digest in digest_of.items()}


def same_pixels(
    first: Embedded, second: Embedded, matches: Matches, images: tuple[ImageReader, ImageReader], workers: int = 0
) -> list[tuple[int, int]]:
    """Rows of the images of two sets that have the same pixels in different files, the closest first.

    ``matches`` compare ``first`` with ``second``; pixels are compared among the best matches of each image.
    """
    # Equal files have equal pixels, so only pairs of different files are decoded.
    pairs = [(q, g) for q, g in _close_pairs(matches) if first.digests[q] != second.digests[g]]
    return _same_pixels(pairs, (images[0], first.ids), (images[1], second.ids), workers)


def _by_digest(
    embedded: Embedded, rejected: Iterable[tuple[str, str]], needed: AbstractSet[str]
) -> dict[str, list[str]]:
    """The ids of the images with each of the ``needed`` digests, embedded and then ``rejected`` (id, digest)."""
    ids = defaultdict(list)
    rows = np.flatnonzero(embedded.digests.are_in(Texts(list(needed))))
    of_embedded = zip(embedded.ids.take(rows), embedded.digests.take(rows), strict=True)
    for id, digest in chain(of_embedded, rejected):
        if digest in needed:
            ids[digest].append(id)
    return ids


def digests_of_rejects(images: ImageReader, rejects: Sequence[Reject]) -> Iterable[tuple[str, str]]:
    """The SHA-256 of each rejected file that can be read."""
    for reject in rejects:
        try:
            yield reject.id, hashlib.sha256(images.data(reject.id)).hexdigest()
        except ImageError:
            continue


def _close_pairs(matches: Matches) -> list[tuple[int, int]]:
    """Pairs at or above MIN_COSINE among the best matches of synthetic and of training images, the closest first."""
    queries, depth = np.nonzero(matches.cosine >= MIN_COSINE)
    gallery = np.flatnonzero((matches.best_query >= 0) & (matches.best_query_cosine >= MIN_COSINE))
    q: Ints = np.concatenate([queries, matches.best_query[gallery]])
    g: Ints = np.concatenate([matches.rows[queries, depth], gallery])
    cosine = np.concatenate([matches.cosine[queries, depth], matches.best_query_cosine[gallery]])
    order = np.lexsort((g, q, -cosine))
    return list(dict.fromkeys(zip(q[order].tolist(), g[order].tolist(), strict=True)))


@dataclass(frozen=True)
class _Image:
    """An image to decode."""

    reader: ImageReader
    id: str


def _same_pixels(
    pairs: list[tuple[int, int]],
    synthetic: tuple[ImageReader, Sequence[str]],
    training: tuple[ImageReader, Sequence[str]],
    workers: int,
) -> list[tuple[int, int]]:
    """Those of the pairs whose decoded images are equal; an image that cannot be read any more equals nothing."""
    queries, gallery = list(dict.fromkeys(q for q, _ in pairs)), list(dict.fromkeys(g for _, g in pairs))
    if len(queries) + len(gallery) > MAX_DECODED:
        logger.warning(
            "%d images have nearly equal vectors; the pixels of the %d closest are compared",
            *(len(queries) + len(gallery), MAX_DECODED),
        )
        queries, gallery = queries[: MAX_DECODED // 2], gallery[: MAX_DECODED // 2]
    to_decode = [
        *(_Image(synthetic[0], synthetic[1][q]) for q in queries),
        *(_Image(training[0], training[1][g]) for g in gallery),
    ]
    digests = list(map_ordered(_pixel_digest, to_decode, workers or cores()))
    of_query = dict(zip(queries, digests[: len(queries)], strict=True))
    of_gallery = dict(zip(gallery, digests[len(queries) :], strict=True))
    return [(q, g) for q, g in pairs if of_query.get(q) is not None and of_query[q] == of_gallery.get(g)]


def _pixel_digest(image: _Image) -> bytes | None:
    try:
        with held_memory():
            return pixel_digest(decode_rgb(image.reader.data(image.id)))
    except ImageError:
        return None
