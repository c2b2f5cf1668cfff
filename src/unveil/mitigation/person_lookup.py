"""Is this person in the synthetic set, or in the training set?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from unveil.channels import open_detector
from unveil.compare import compare_all
from unveil.errors import InputError
from unveil.mitigation.inputs import ImageArray, face_images
from unveil.progress import Progress, Silent
from unveil.runs.finished import ChannelState, FinishedRun
from unveil.stats.conformal import conformal_p
from unveil.stats.hubness import person_codes
from unveil.types import Embedded, Floats, Ints, Role, Vectors

# Control people who stand for everybody else; more would resolve a smaller p and take longer.
MAX_PEOPLE = 2000
# With so many control people who bring as many pictures, several photographs count together.
MIN_PEOPLE = 100
BEST_PAIRS = 5
SURE, HINT = 0.01, 0.05
FACE = "face"

LookupAnswer = Literal["found", "perhaps", "not found", "not known"]


@dataclass(frozen=True)
class LookupMatch:
    """A picture of the set that is close to one of the photographs (counted from 0)."""

    photo: int
    id: str
    person: str
    cosine: float
    score: float


@dataclass(frozen=True)
class Search:
    """A search through one set: its closest pictures, and how often strangers come as close (None without a control
    set)."""

    role: Role
    matches: tuple[LookupMatch, ...]
    p: float | None
    n_people: int
    n_searched: int

    @property
    def word(self) -> LookupAnswer:
        """The answer in a word."""
        if self.p is None:
            return "not known"
        return "found" if self.p <= SURE else "perhaps" if self.p <= HINT else "not found"


@dataclass(frozen=True)
class Answer:
    """What can be told a person: a search through each set, the photographs that were used, and those that were not,
    each with why."""

    n_photos: int
    unusable: tuple[tuple[int, str], ...]
    synthetic: Search
    training: Search


def lookup(run: FinishedRun, photos: Sequence[ImageArray], *, progress: Progress | None = None) -> Answer:
    """Searches the sets of an audit for the person on some photographs; nothing is written.

    By the face channel alone. p is the share of control people who come as close (conformal, doi:10.1007/b106715),
    taken to be exchangeable with somebody who is in neither set. Raises InputError when no photograph gives a face.
    """
    if not photos:
        raise InputError("a lookup needs at least one photograph of the person")
    channels = run.channels(progress or Silent())
    seen, rows = channels.embed_images(face_images(photos, None, open_detector(run.settings.detector)), face_only=True)
    unusable = tuple(
        (i, f"{row.reason} ({row.detail})" if row.detail else row.reason) for i, row in enumerate(rows) if row.stage
    )
    used = np.array([i for i, row in enumerate(rows) if row.stage is None], np.int64)
    if not len(used):
        raise InputError(f"none of the {len(photos)} photographs can be used: " + "; ".join(why for _, why in unusable))
    ground, sight = run.ground, run.ground.by_channel[FACE]
    vectors = seen[FACE]
    own = sight.correction(vectors)
    rng = run.settings.random("lookup")
    control = run.embedded("control").through(FACE).take(ground.control_rows) if len(ground.control_rows) else None
    null = None if control is None else _Null(control, len(used), rng)

    synthetic = run.embedded("synthetic").through(FACE).take(ground.synthetic_rows)
    training = run.embedded("training").through(FACE)

    def search(role: Role, images: Embedded, offset: Floats, of_control: Floats | None) -> Search:
        found = compare_all(
            *(vectors, images.vectors), top_k=BEST_PAIRS, query_offset=own, gallery_offset=offset, moments=False
        )
        score = sight.standard.of(found.score)
        order = np.lexsort((found.rows.ravel(), -score.ravel()))[:BEST_PAIRS]
        people = images.people_or_ids
        matches = tuple(
            LookupMatch(
                int(used[at // score.shape[1]]),
                *(images.ids[row], people[row]),
                *(float(found.cosine.ravel()[at]), float(score.ravel()[at])),
            )
            for at in order
            for row in (found.rows.ravel()[at],)
        )
        p = None if null is None or of_control is None else null.p(score[:, 0], of_control)
        return Search(role, matches, p, 0 if null is None else null.n_people, len(images))

    with_training = None if null is None else null.scores(control, training.vectors, sight)
    return Answer(
        n_photos=len(used),
        unusable=unusable,
        synthetic=search("synthetic", synthetic, sight.on_synthetic, None if null is None else sight.control_score),
        training=search("training", training, sight.on_training, with_training),
    )


class _Null:
    """Control people with as many pictures each as count together, who stand for strangers.

    Where too few bring that many, photographs are judged in groups of as many as enough people bring, and the smallest
    p of a group is multiplied by the number of groups (Bonferroni).
    """

    def __init__(self, control: Embedded, n_photos: int, rng: np.random.Generator) -> None:
        _, codes = person_codes(control.people_or_ids)
        counts = np.bincount(codes)
        self._group = max((k for k in range(1, n_photos + 1) if (counts >= k).sum() >= MIN_PEOPLE), default=1)
        people = rng.permutation(np.flatnonzero(counts >= self._group))[:MAX_PEOPLE]
        order = np.lexsort((rng.random(len(codes)), codes))
        starts = np.searchsorted(codes[order], people)
        self._rows: Ints = order[starts[:, None] + np.arange(self._group)]
        self.n_people = len(people)

    def scores(self, control: Embedded | None, gallery: Vectors, sight: ChannelState) -> Floats:
        """The best score of each control picture with a gallery of training pictures; -inf for those that stand for
        nobody."""
        if control is None:
            return np.zeros(0)
        rows = np.unique(self._rows)
        found = compare_all(
            *(control.vectors[rows], gallery),
            top_k=1,
            best_queries=False,
            query_offset=sight.on_control[rows],
            gallery_offset=sight.on_training,
            moments=False,
        )
        best = np.full(len(control), -np.inf)
        best[rows] = sight.standard.of(found.score[:, 0])
        return best

    def p(self, photos: Floats, of_control: Floats) -> float:
        """p of photographs' best scores (n,), against those of all control pictures."""
        strangers = of_control[self._rows].max(axis=1)
        groups = [photos[i : i + self._group].max() for i in range(0, len(photos), self._group)]
        return float(min(1.0, len(groups) * conformal_p(np.array(groups), strangers).min()))
