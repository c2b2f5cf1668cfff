"""Searches the synthetic and the training set for one person, given photographs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from unveil.channels import open_detector
from unveil.compare import compare_all, exact_cosine
from unveil.errors import InputError
from unveil.mitigation.inputs import ImageArray, face_images, file_bytes
from unveil.progress import Progress, Silent
from unveil.runs.finished import ChannelState, FinishedRun
from unveil.stats.conformal import conformal_p
from unveil.stats.generators import generator
from unveil.stats.hubness import person_codes
from unveil.types import Embedded, Floats, Ints, Role, Vectors

# Control people who represent people in neither set; more would resolve a smaller p and take longer.
MAX_PEOPLE = 2000
# At least this many control people must have as many images as there are photographs to be tested together.
MIN_PEOPLE = 100
BEST_PAIRS = 5
SURE, HINT = 0.01, 0.05
FACE = "face"

LookupAnswer = Literal["unusually close", "rather close", "not close", "not known"]


@dataclass(frozen=True)
class LookupMatch:
    """An image of the set that is close to one of the photographs (counted from 0) in some channel.

    ``cosine`` and ``score`` are those of the face channel; ``scores`` has the score of each channel.
    """

    photo: int
    id: str
    person: str
    cosine: float
    score: float
    scores: Mapping[str, float]


@dataclass(frozen=True)
class IdenticalFile:
    """A photograph (counted from 0) that is an image of a set, byte for byte: a fact, not a comparison."""

    photo: int
    role: Role
    id: str
    person: str


@dataclass(frozen=True)
class Search:
    """The search of one set: its closest images, and the p-value against control people (None without them)."""

    role: Role
    matches: tuple[LookupMatch, ...]
    p: float | None
    n_people: int
    n_searched: int

    @property
    def answer(self) -> LookupAnswer:
        """The answer in one or two words."""
        if self.p is None:
            return "not known"
        return "unusually close" if self.p <= SURE else "rather close" if self.p <= HINT else "not close"


@dataclass(frozen=True)
class Answer:
    """The answer for one person: a search of each set, the photographs that were not usable, with reasons, and the
    files that are in a set."""

    n_photos: int
    unusable: tuple[tuple[int, str], ...]
    synthetic: Search
    training: Search
    identical: tuple[IdenticalFile, ...] = ()


def identical_files(run: FinishedRun, photos: Sequence[ImageArray]) -> tuple[IdenticalFile, ...]:
    """The photographs that are images of the synthetic or the training set, byte for byte. No model is needed."""
    files = map(file_bytes, photos)
    sought = {i: hashlib.sha256(data).hexdigest() for i, data in enumerate(files) if data is not None}
    found = []
    roles: tuple[Role, ...] = ("synthetic", "training")
    for role in roles if sought else ():
        images = run.embedded(role)
        for row, digest in enumerate(images.digests):
            found += [
                IdenticalFile(i, role, images.ids[row], images.people_or_ids[row])
                for i, own in sought.items()
                if own == digest
            ]
    return tuple(found)


def lookup(run: FinishedRun, photos: Sequence[ImageArray], *, progress: Progress | None = None) -> Answer:
    """Searches the sets of an audit for one person, given photographs; nothing is written.

    Every channel gives its closest images, by face first. The answer and its conformal p-value (doi:10.1007/b106715)
    use the face alone: they compare the person with control people, and assume that these are exchangeable with
    somebody who is in neither set. Raises InputError if no photograph has a detectable face.
    """
    if not photos:
        raise InputError("expected at least one photograph of the person, found none. Name one or more files")
    channels = run.channels(progress or Silent())
    embedded, rows = channels.embed_images(face_images(photos, None, open_detector(run.detector)))
    unusable = tuple(
        (i, f"{row.reason} ({row.detail})" if row.detail else row.reason) for i, row in enumerate(rows) if row.stage
    )
    used = np.array([i for i, row in enumerate(rows) if row.stage is None], np.int64)
    if not len(used):
        reasons = "; ".join(why for _, why in unusable)
        raise InputError(f"expected a photograph with a face, found none in {len(photos)} ({reasons}). Use others")
    audit, state = run.state, run.state.by_channel[FACE]
    photographs = {
        channel: (embedded[channel], of_channel.correction(embedded[channel]))
        for channel, of_channel in audit.by_channel.items()
    }
    rng = generator(run.seed, "lookup")
    control = run.embedded("control").through(FACE).take(audit.control_rows) if len(audit.control_rows) else None
    null = None if control is None else _Null(control, len(used), rng)

    synthetic = run.embedded("synthetic").take(audit.synthetic_rows)
    training = run.embedded("training")

    def search(role: Role, images: Embedded, of_control: Floats | None) -> Search:
        closest: dict[tuple[int, int], None] = {}
        best = np.zeros(0)
        for channel, of_channel in audit.by_channel.items():
            queries, query_offset = photographs[channel]
            found = compare_all(
                *(queries, images.through(channel).vectors),
                top_k=BEST_PAIRS,
                query_offset=query_offset,
                gallery_offset=of_channel.on(role),
                moments=False,
            )
            if channel == FACE:
                best = state.scale.of(found.score)[:, 0]
            order = np.lexsort((found.rows.ravel(), -found.score.ravel()))[:BEST_PAIRS]
            closest |= {(int(i // found.rows.shape[1]), int(found.rows.ravel()[i])): None for i in order}
        p = None if null is None or of_control is None else null.p(best, of_control)
        n_people = 0 if null is None else null.n_people
        return Search(role, _matches(role, images, list(closest)), p, n_people, len(images))

    def _matches(role: Role, images: Embedded, closest: Sequence[tuple[int, int]]) -> tuple[LookupMatch, ...]:
        photo, row = np.array(closest, np.int64).reshape(-1, 2).T
        cosine, scores = {}, {}
        for channel, of_channel in audit.by_channel.items():
            queries, offset = photographs[channel]
            cosine[channel] = exact_cosine(queries, images.through(channel).vectors, photo, row)
            scores[channel] = of_channel.scale.of(cosine[channel] + offset[photo] + of_channel.on(role)[row])
        people = images.people_or_ids
        return tuple(
            LookupMatch(
                *(int(used[i]), images.ids[r], people[r]),
                *(float(cosine[FACE][k]), float(scores[FACE][k])),
                {channel: float(of[k]) for channel, of in scores.items()},
            )
            for k, (i, r) in enumerate(closest)
        )

    of_synthetic, of_training = (
        None if null is None else null.scores(control, images.through(FACE).vectors, offset, state)
        for images, offset in ((synthetic, state.on_synthetic), (training, state.on_training))
    )
    return Answer(
        n_photos=len(used),
        unusable=unusable,
        synthetic=search("synthetic", synthetic, of_synthetic),
        training=search("training", training, of_training),
        identical=identical_files(run, photos),
    )


class _Null:
    """The null distribution: control people with as many images each as the photographs tested together.

    If too few control people have that many images, photographs are tested in smaller groups, and the smallest p is
    multiplied by the number of groups (Bonferroni).
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

    def scores(self, control: Embedded | None, gallery: Vectors, offset: Floats, state: ChannelState) -> Floats:
        """The best score (N,) of each control image with a gallery (G, D) and its corrections (G,), computed as for
        photographs; -inf for images not used."""
        if control is None:
            return np.zeros(0)
        rows = np.unique(self._rows)
        found = compare_all(
            *(control.vectors[rows], gallery),
            top_k=1,
            best_queries=False,
            query_offset=state.on_control[rows],
            gallery_offset=offset,
            moments=False,
        )
        best = np.full(len(control), -np.inf)
        best[rows] = state.scale.of(found.score[:, 0])
        return best

    def p(self, photos: Floats, of_control: Floats) -> float:
        """The p-value of the best scores of the photographs (n,), given the best scores of all control images (N,)."""
        null = of_control[self._rows].max(axis=1)
        groups = [photos[i : i + self._group].max() for i in range(0, len(photos), self._group)]
        return float(min(1.0, len(groups) * conformal_p(np.array(groups), null).min()))
