"""Control people who are also in the training set: only the same image shows it, never a likeness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from unveil.analysis.comparisons import FIRST_CHANNEL, Comparison, Comparisons
from unveil.analysis.leak_kinds import similar_pairs
from unveil.embedding.images import ImageReader
from unveil.progress import Progress
from unveil.results import OverlapFinding, SameImage
from unveil.stats.hubness import person_codes
from unveil.stats.leak_kinds import is_near_duplicate
from unveil.types import Embedded, Ints, Role

# Pairs that are looked at together, the closest first; the next are looked at while a tenth of them are one image.
BATCH = 200
CONTINUE = 0.1


@dataclass(frozen=True)
class Overlap:
    """Control people who are also in the training set.

    ``rows`` are the control images without them; ``removed`` names each of them once, with the pair that shows it.
    """

    rows: Ints
    removed: tuple[OverlapFinding, ...]
    n_images: int
    n_people_before: int


def find_overlap(
    training: Embedded,
    control: Embedded,
    images: Mapping[Role, ImageReader] | None,
    compare: Comparisons,
    workers: int = 0,
) -> Overlap:
    """Finds control people with an image that is a training image: the same bytes, pixels, or a near-duplicate.

    People who only look alike stay on both sides: to remove them from one side alone would make their counterparts on
    the other significant. Without ``images`` (embeddings were given) only digests are compared. ``workers`` 0 means one
    per core.
    """
    pairs = _same_bytes(training, control)
    if images is not None:
        pairs += _same_image(training, control, images, compare, workers)
    names, codes = person_codes(control.people_or_ids)
    found: dict[str, OverlapFinding] = {}
    for pair in pairs:
        found.setdefault(pair.control_person, pair)
    gone = np.array([name in found for name in names], np.bool_)[codes] if len(names) else np.zeros(0, np.bool_)
    return Overlap(np.flatnonzero(~gone), tuple(found.values()), int(gone.sum()), len(names))


def _same_bytes(training: Embedded, control: Embedded) -> list[OverlapFinding]:
    row = control.digests.find(training.digests)
    people = (control.people_or_ids, training.people_or_ids)
    return [
        OverlapFinding(people[0][i], control.ids[i], people[1][row[i]], training.ids[row[i]], "bytes")
        for i in np.flatnonzero(row >= 0)
    ]


def _same_image(
    training: Embedded,
    control: Embedded,
    images: Mapping[Role, ImageReader],
    compare: Comparisons,
    workers: int,
) -> list[OverlapFinding]:
    """Control images whose closest training image has the same pixels or is a near-duplicate, the closest first."""
    matches = compare.matches(Comparison("overlap", FIRST_CHANNEL, "control"), control, training)
    order = np.argsort(-matches.cosine[:, 0], kind="stable")
    people = (control.people_or_ids, training.people_or_ids)
    same = same_image_pairs(
        [(int(i), int(matches.rows[i, 0])) for i in order],
        (images["control"], control.ids),
        (images["training"], training.ids),
        "looking for control images in the training set",
        compare.progress,
        workers,
    )
    return [OverlapFinding(people[0][i], control.ids[i], people[1][g], training.ids[g], how) for (i, g), how in same]


def same_image_pairs(
    pairs: Sequence[tuple[int, int]],
    first: tuple[ImageReader, Sequence[str]],
    second: tuple[ImageReader, Sequence[str]],
    stage: str,
    progress: Progress,
    workers: int = 0,
    *,
    always: int = 0,
) -> list[tuple[tuple[int, int], SameImage]]:
    """Those of the pairs whose two images have the same pixels or are near-duplicates, and which of it.

    ``pairs`` are rows of two sets, the closest first; a set is its reader and its ids. They are looked at in batches,
    while a tenth of a batch are one image; the ``always`` first are looked at in any case. ``stage`` is shown.
    """
    found: list[tuple[tuple[int, int], SameImage]] = []
    for start in range(0, len(pairs), BATCH):
        batch = pairs[start : start + BATCH]
        progress.start(stage, len(batch), "image pairs")
        images = [((first[0], first[1][i]), (second[0], second[1][g])) for i, g in batch]
        measured = similar_pairs(images, progress, workers)
        same = [(pair, s) for pair, s in zip(batch, measured, strict=True) if s is not None and is_near_duplicate(s)]
        found += [(pair, "pixels" if s.identical else "near-duplicate") for pair, s in same]
        if start + len(batch) >= always and len(same) < CONTINUE * len(batch):
            break
    return found
