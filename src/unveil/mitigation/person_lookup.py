"""Searches the synthetic and the training set for one person, given photographs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from unveil.channels import Detector, FaceImage, open_detector
from unveil.channels.alignment import ImageAlignment
from unveil.compare import compare_all, exact_cosine
from unveil.errors import ImageError, InputError
from unveil.images import decode_rgb
from unveil.mitigation.inputs import ImageArray, face_images, file_bytes
from unveil.progress import Progress, Silent
from unveil.results import AuditResult, PersonFinding
from unveil.runs.finished import ChannelState, FinishedRun
from unveil.stats.conformal import conformal_p
from unveil.stats.generators import generator
from unveil.stats.hubness import person_codes
from unveil.types import Embedded, Floats, Ints, Role

# Control people who represent people in neither set; more would resolve a smaller p and take longer.
MAX_PEOPLE = 2000
# At least this many control people must have as many images as there are photographs to be tested together.
MIN_PEOPLE = 100
BEST_PAIRS = 5
SURE, HINT = 0.01, 0.05
# Face cosine from which a photograph counts as the image of a set that it is compared with.
SAME_IMAGE = 0.99
FACE = "face"
SEVERAL = "several faces; cut out that of the person who asks"

LookupAnswer = Literal["unusually close", "closer than all control people", "rather close", "not close", "not known"]


@dataclass(frozen=True)
class LookupMatch:
    """An image of the set that is close to one of the photographs (counted from 0) in some channel.

    ``cosine`` and ``score`` are those of the face channel; ``scores`` has the score of each channel, and ``highest`` is
    the highest of them.
    """

    photo: int
    id: str
    person: str
    cosine: float
    score: float
    scores: Mapping[str, float]

    @property
    def highest(self) -> float:
        """The highest score over the channels."""
        return max(self.scores.values())


@dataclass(frozen=True)
class IdenticalFile:
    """A photograph (counted from 0) that is an image of a set, byte for byte: a fact, not a comparison."""

    photo: int
    role: Role
    id: str
    person: str


@dataclass(frozen=True)
class Comparison:
    """How close control people come to a set, beside the photographs.

    ``p`` is multiplied by ``n_groups``, the number of groups in which photographs were tested. ``n_as_close`` control
    people come as close as the closest group does. ``hint`` is the score above which one group has p of HINT at most.
    """

    p: float
    n_as_close: int
    n_people: int
    n_groups: int
    hint: float


@dataclass(frozen=True)
class Search:
    """The search of one set: its closest images, and the comparison with control people (None without them)."""

    role: Role
    matches: tuple[LookupMatch, ...]
    compared: Comparison | None
    n_searched: int

    @property
    def answer(self) -> LookupAnswer:
        """The answer in one or two words."""
        if self.compared is None:
            return "not known"
        if self.compared.p <= SURE:
            return "unusually close"
        # Few control people or many photographs make p large even where nobody comes as close.
        if not self.compared.n_as_close:
            return "closer than all control people"
        return "rather close" if self.compared.p <= HINT else "not close"

    def close(self, otherwise: float) -> list[LookupMatch]:
        """The matches whose score only HINT of control people reach; without these, from the score ``otherwise``."""
        hint = None if self.compared is None else self.compared.hint
        return [
            m
            for m in self.matches
            if m.cosine >= SAME_IMAGE or (m.highest >= otherwise if hint is None else m.highest > hint)
        ]


@dataclass(frozen=True)
class Answer:
    """The answer for one person: a search of each set, the photographs that were not usable, with reasons, and the
    files that are in a set."""

    n_photos: int
    unusable: tuple[tuple[int, str], ...]
    synthetic: Search
    training: Search
    identical: tuple[IdenticalFile, ...] = ()


@dataclass(frozen=True)
class AuditedPerson:
    """A significant person of the audit whom the photographs lead to.

    ``by`` says how: a photograph is an image of the person byte for byte, a training image that is rather close is one
    of the person, or a generated image that is rather close is the one that exposes the person. One photograph
    suffices: others never make it less.
    """

    finding: PersonFinding
    by: Literal["file", "training image", "generated image"]


def audited_person(answer: Answer, result: AuditResult) -> AuditedPerson | None:
    """The significant person of the audit whom a search leads to, by the surest of its ways; None if to nobody."""
    by_person = {p.person: p for p in result.significant_people}
    for file in answer.identical:
        if file.role == "training" and file.person in by_person:
            return AuditedPerson(by_person[file.person], "file")
    # Without control people: a photograph is further from an image than the generated copy of that image.
    lowest = min((p.score for p in result.significant_people), default=np.inf) / 2
    for match in answer.training.close(lowest):
        if match.person in by_person:
            return AuditedPerson(by_person[match.person], "training image")
    near = {file.id for file in answer.identical if file.role == "synthetic"}
    near.update(match.id for match in answer.synthetic.close(lowest))
    exposed = next((p for p in result.significant_people if p.synthetic_id in near), None)
    return None if exposed is None else AuditedPerson(exposed, "generated image")


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

    Every channel gives its closest images; the highest score over the channels comes first. The answer and its
    conformal p-value (doi:10.1007/b106715) use this score, as the audit does. They compare the person with control
    people, and assume that these are exchangeable with somebody who is in neither set. Raises InputError for a file
    that does not exist, and if no photograph shows one detectable face alone.
    """
    if not photos:
        raise InputError("expected at least one photograph of the person, found none. Name one or more files")
    for photo in photos:
        if isinstance(photo, (str, Path)) and not Path(photo).exists():
            raise InputError(f"{photo}: no such file. Name a photograph of the person")
    channels = run.channels(progress or Silent())
    identical = identical_files(run, photos)
    embedded, rows = channels.embed_images(_faces(run, photos, {file.photo: file.role for file in identical}))
    good = np.array([i for i, row in enumerate(rows) if row.stage is None], np.int64)
    # The face that is compared might be somebody else's.
    alone = np.array([rows[i].n_faces == 1 for i in good], np.bool_)
    used = good[alone]
    why = {
        **{i: f"{row.reason} ({row.detail})" if row.detail else row.reason for i, row in enumerate(rows) if row.stage},
        **{int(i): SEVERAL for i in good[~alone]},
    }
    unusable = tuple(sorted(why.items()))
    if not len(used):
        reasons = "; ".join(why for _, why in unusable)
        raise InputError(f"expected a photograph with one face, found none in {len(photos)} ({reasons}). Use others")
    audit = run.state
    photographs = {
        channel: (vectors, of_channel.correction(vectors))
        for channel, of_channel in audit.by_channel.items()
        for vectors in (embedded[channel][alone],)
    }
    rng = generator(run.seed, "lookup")
    control = run.embedded("control").take(audit.control_rows) if len(audit.control_rows) else None
    null = None if control is None else _Null(control, len(used), rng)

    synthetic = run.embedded("synthetic").take(audit.synthetic_rows)
    training = run.embedded("training")

    def search(role: Role, images: Embedded, of_control: Floats | None) -> Search:
        closest: dict[tuple[int, int], None] = {}
        best = np.full(len(used), -np.inf)
        for channel, of_channel in audit.by_channel.items():
            queries, query_offset = photographs[channel]
            found = compare_all(
                *(queries, images.through(channel).vectors),
                top_k=BEST_PAIRS,
                query_offset=query_offset,
                gallery_offset=of_channel.on(role),
                moments=False,
            )
            best = np.maximum(best, of_channel.scale.of(found.score)[:, 0])
            width = found.rows.shape[1]
            order = np.lexsort((found.rows.ravel(), -found.score.ravel()))[:BEST_PAIRS]
            # The closest image of every photograph as well: one that leads to somebody must not give way to others.
            of_each = [*order, *range(0, found.rows.size, width)]
            closest |= {(int(i // width), int(found.rows.ravel()[i])): None for i in of_each}
        compared = None if null is None or of_control is None else null.compare(best, of_control)
        return Search(role, _matches(role, images, list(closest)), compared, len(images))

    def _matches(role: Role, images: Embedded, closest: Sequence[tuple[int, int]]) -> tuple[LookupMatch, ...]:
        photo, row = np.array(closest, np.int64).reshape(-1, 2).T
        cosine, scores = {}, {}
        for channel, of_channel in audit.by_channel.items():
            queries, offset = photographs[channel]
            cosine[channel] = exact_cosine(queries, images.through(channel).vectors, photo, row)
            scores[channel] = of_channel.scale.of(cosine[channel] + offset[photo] + of_channel.on(role)[row])
        people = images.people_or_ids
        highest = np.max(list(scores.values()), axis=0)
        return tuple(
            LookupMatch(
                *(int(used[i]), images.ids[r], people[r]),
                *(float(cosine[FACE][k]), float(scores[FACE][k])),
                {channel: float(of[k]) for channel, of in scores.items()},
            )
            for k in np.argsort(-highest, kind="stable")
            for i, r in (closest[k],)
        )

    sides: tuple[tuple[Role, Embedded], ...] = (("synthetic", synthetic), ("training", training))
    of_synthetic, of_training = (
        None if null is None or control is None else null.scores(control, images, role, audit.by_channel)
        for role, images in sides
    )
    return Answer(
        n_photos=len(used),
        unusable=unusable,
        synthetic=search("synthetic", synthetic, of_synthetic),
        training=search("training", training, of_training),
        identical=identical,
    )


def _faces(run: FinishedRun, photos: Sequence[ImageArray], of_set: Mapping[int, Role]) -> list[Callable[[], FaceImage]]:
    """What finds the face of each photograph. A file ``of_set`` is read as the audit read it there, so that the same
    pair has the same vectors: a crop of a set that was taken as it is, is no photograph in which to find a face."""
    detector = open_detector(run.detector)
    faces = face_images(photos, None, detector)
    for i, role in of_set.items():
        faces[i] = partial(_as_in_set, photos[i], run.alignment(role), detector)
    return faces


def _as_in_set(photo: ImageArray, alignment: ImageAlignment, detector: Detector) -> FaceImage:
    data = file_bytes(photo)
    if data is None:
        raise ImageError("read", "the file is no longer there", "")
    pixels = decode_rgb(data)
    return FaceImage(pixels, alignment.covers(pixels.shape[1], pixels.shape[0]), detector)


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

    def scores(
        self, control: Embedded, gallery: Embedded, role: Role, by_channel: Mapping[str, ChannelState]
    ) -> Floats:
        """The best score (N,) of each control image with the gallery of a role over all channels, computed as for
        photographs; -inf for images not used."""
        rows = np.unique(self._rows)
        best = np.full(len(control), -np.inf)
        for channel, state in by_channel.items():
            found = compare_all(
                *(control.through(channel).vectors[rows], gallery.through(channel).vectors),
                top_k=1,
                best_queries=False,
                query_offset=state.on_control[rows],
                gallery_offset=state.on(role),
                moments=False,
            )
            best[rows] = np.maximum(best[rows], state.scale.of(found.score[:, 0]))
        return best

    def compare(self, photos: Floats, of_control: Floats) -> Comparison:
        """The best scores of the photographs (n,) beside the best scores of all control images (N,)."""
        null = of_control[self._rows].max(axis=1)
        groups = np.array([photos[i : i + self._group].max() for i in range(0, len(photos), self._group)])
        return Comparison(
            p=float(min(1.0, len(groups) * conformal_p(groups, null).min())),
            n_as_close=int((null >= groups.max()).sum()),
            n_people=len(null),
            n_groups=len(groups),
            hint=float(np.sort(null)[-max(1, int(HINT * (len(null) + 1)))]),
        )
