"""Exact copies: synthetic images that are training images. A fact needs no test and no control set."""

from __future__ import annotations

import hashlib
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from unveil.embedding.images import ImageReader
from unveil.engine import map_ordered
from unveil.errors import ImageError
from unveil.images import decode_rgb
from unveil.io.host import cores
from unveil.results import ExactCopy
from unveil.types import Embedded, Ints, Matches, Role

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
    workers: int = 0,
) -> tuple[ExactCopy, ...]:
    """Every synthetic image that is a training image, with the training images that it is.

    ``matches`` are the raw matches of the two. Files are compared by their SHA-256. Pixels are compared among the best
    matches of each image, since equal pixels give equal vectors. Without ``images`` (embeddings were given) only the
    digests are compared. ``workers`` 0 means one per core.
    """
    by_bytes = dict.fromkeys(_same_digest(synthetic, training), True)
    pairs = dict(by_bytes)
    if images is not None:
        candidates = [pair for pair in _close_pairs(matches) if pair not in by_bytes]
        ids = ((images["synthetic"], synthetic.ids), (images["training"], training.ids))
        pairs |= dict.fromkeys(_same_pixels(candidates, *ids, workers), False)
    people = training.people_or_ids
    return tuple(
        ExactCopy(synthetic.ids[q], training.ids[g], people[g], "bytes" if same_bytes else "pixels")
        for (q, g), same_bytes in sorted(pairs.items())
    )


def _same_digest(synthetic: Embedded, training: Embedded) -> Iterable[tuple[int, int]]:
    rows = defaultdict(list)
    for g, digest in enumerate(training.digests):
        rows[digest].append(g)
    return [(q, g) for q, digest in enumerate(synthetic.digests) for g in rows.get(digest, ())]


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


def _pixel_digest(image: _Image) -> str | None:
    try:
        pixels = decode_rgb(image.reader.data(image.id))
    except ImageError:
        return None
    return hashlib.sha256(f"{pixels.shape}".encode() + pixels.tobytes()).hexdigest()
