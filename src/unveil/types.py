"""The records that pass between packages: small and frozen, with shapes checked when one is made."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Annotated, overload

import numpy as np
import numpy.typing as npt

from unveil.choices import CHANNELS
from unveil.choices import ROLES as ROLES
from unveil.choices import Role as Role
from unveil.columns import Labels, People, Texts
from unveil.errors import Stage
from unveil.io.atomic import gather_rows


class _Channels(Sequence[str]):
    """The names of all channels, with those that were added since."""

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        return tuple(CHANNELS)[index]

    def __len__(self) -> int:
        return len(CHANNELS)


# Bounds and choices that the schema of `audit.json` states.
Probability = Annotated[float, "0 to 1"]
Rate = Annotated[str, re.compile(r"0|0\.\d{1,9}|1|[1-9](\.\d{1,9})?e-\d\d")]
AlignmentKey = Annotated[str, re.compile(r"all|none|[1-9]\d{0,5}(,[1-9]\d{0,5})*")]
Digest = Annotated[str, re.compile("[0-9a-f]{64}")]
ChannelName = Annotated[str, _Channels()]

Vectors = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

# Gives the random generator of a purpose, so that a new purpose never changes the numbers of another.
Generators = Callable[[str], np.random.Generator]


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One image of a source: ``id`` is its path or key in the source, ``key`` is what the reader needs to fetch it."""

    id: str
    person: str | None
    key: str

    @property
    def person_or_id(self) -> str:
        """The label; an image without a label is a person of its own."""
        return self.id if self.person is None else self.person


class Records(Sequence[ImageRecord]):
    """The records (N,) of a source as columns; a record is made when it is asked for."""

    def __init__(self, ids: Texts, people: Labels, keys: Sequence[str]) -> None:
        if not len(ids) == len(people) == len(keys):
            raise ValueError(f"{len(ids)} ids, {len(people)} people, {len(keys)} keys")
        self.ids, self.people, self.keys = ids, people, keys

    @classmethod
    def of(cls, records: Sequence[ImageRecord]) -> Records:
        """The same records as columns."""
        if isinstance(records, Records):
            return records
        return cls(Texts([r.id for r in records]), Labels.of(r.person for r in records), [r.key for r in records])

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, index: int) -> ImageRecord: ...
    @overload
    def __getitem__(self, index: slice) -> Records: ...
    def __getitem__(self, index: int | slice) -> ImageRecord | Records:
        if isinstance(index, slice):
            return Records(self.ids[index], self.people[index], self.keys[index])
        return ImageRecord(self.ids[index], self.people[index], self.keys[index])

    def __iter__(self) -> Iterator[ImageRecord]:
        return map(ImageRecord, self.ids, self.people, self.keys)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Records):
            return self.ids == other.ids and self.people == other.people and list(self.keys) == list(other.keys)
        return isinstance(other, (list, tuple)) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # they are compared by their values

    @cached_property
    def people_or_ids(self) -> People:
        """The person of each image; an image without a label counts as a person of its own, named by its id."""
        return self.people.or_else(self.ids)

    def with_ids(self, ids: Iterable[str]) -> dict[str, ImageRecord]:
        """The records of some images by their ids; those that are no records are left out."""
        records = (self[row] for row in np.flatnonzero(self.ids.are_in(Texts(list(ids)))).tolist())
        return {record.id: record for record in records}


@dataclass(frozen=True, slots=True)
class Reject:
    """A file that was not embedded."""

    id: str
    """The file."""
    stage: Stage
    """The stage at which it was rejected."""
    reason: str
    """The reason, one of a few."""
    detail: str = ""
    """What was found, in detail."""


@dataclass(frozen=True)
class ModelPart:
    """The columns of one model in vectors fused from several; its cosine has ``weight``, and weights sum to 1."""

    name: str
    columns: slice
    weight: float


@dataclass(frozen=True)
class ChannelVectors:
    """The vectors (N, D) of the same images by a further channel: float32 unit rows."""

    channel: str
    vectors: Vectors = field(repr=False)
    model_id: str
    recipe: str = ""  # of the stored shards: also the alignment, the device and the versions of libraries


@dataclass(frozen=True)
class Embedded:
    """All embedded images of one role, in source order.

    ``vectors`` (N, D) are float32 unit rows of the first channel, often memory-mapped; ``views`` hold further channels.
    """

    ids: Texts = field(repr=False)
    people: Labels = field(repr=False)
    digests: Texts = field(repr=False)
    vectors: Vectors = field(repr=False)
    model_id: str
    quality: Floats | None = field(default=None, repr=False)  # (N, K) image quality features
    parts: tuple[ModelPart, ...] = ()  # the models that the vectors are fused from, when there are several
    views: tuple[ChannelVectors, ...] = ()
    channel: str = "face"
    recipe: str = ""  # as in ChannelVectors

    def __post_init__(self) -> None:
        if self.vectors.ndim != 2:
            raise ValueError(f"vectors should be (N, D), got {self.vectors.shape}")
        if self.quality is not None and len(self.quality) != len(self.vectors):
            raise ValueError(f"{len(self.vectors)} vectors, quality {self.quality.shape}")
        if not len(self.ids) == len(self.people) == len(self.digests) == len(self.vectors):
            raise ValueError(
                f"{len(self.ids)} ids, {len(self.people)} people, {len(self.digests)} digests, "
                f"{len(self.vectors)} vectors"
            )
        for view in self.views:
            if len(view.vectors) != len(self.vectors):
                raise ValueError(f"{len(self.vectors)} vectors, {len(view.vectors)} of {view.channel}")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def channels(self) -> tuple[str, ...]:
        """The names of all channels, in order."""
        return (self.channel, *(view.channel for view in self.views))

    def through(self, channel: str) -> Embedded:
        """The same images with the vectors of one channel alone."""
        if channel == self.channel:
            return replace(self, views=())
        (view,) = (view for view in self.views if view.channel == channel)
        return replace(
            self,
            vectors=view.vectors,
            model_id=view.model_id,
            parts=(),
            views=(),
            channel=channel,
            quality=None,
            recipe=view.recipe,
        )

    @cached_property
    def people_or_ids(self) -> People:
        """The person of each image; an image without a label counts as a person of its own, named by its id."""
        return self.people.or_else(self.ids)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the images and of everything that determines their vectors."""
        sha256 = hashlib.sha256(f"{self.model_id}\n{self.recipe}".encode())
        for block in self.digests.blocks():
            sha256.update("".join(f"\n{digest}" for digest in block).encode())
        return sha256.hexdigest()

    @property
    def distinct(self) -> Embedded:
        """The images without those that repeat an earlier one byte for byte."""
        repeats = self.digests.repeats()
        return self if not len(repeats) else self.take(np.delete(np.arange(len(self)), repeats))

    def joined(self, other: Embedded) -> Embedded:
        """These images and then the other ones, by the same channels, without image quality."""
        return replace(
            self,
            ids=self.ids + other.ids,
            people=self.people + other.people,
            digests=self.digests + other.digests,
            vectors=np.concatenate([self.vectors, other.vectors]),
            quality=None,
            views=tuple(
                replace(view, vectors=np.concatenate([view.vectors, other.through(view.channel).vectors]))
                for view in self.views
            ),
        )

    def take(self, rows: Ints) -> Embedded:
        """The images of ``rows`` alone, in that order."""
        if len(rows) == len(self) and np.array_equal(rows, np.arange(len(self))):
            return self
        return replace(
            self,
            ids=self.ids.take(rows),
            people=self.people.take(rows),
            digests=self.digests.take(rows),
            vectors=gather_rows(self.vectors, rows),
            quality=None if self.quality is None else self.quality[rows],
            views=tuple(replace(view, vectors=gather_rows(view.vectors, rows)) for view in self.views),
        )


@dataclass(frozen=True)
class Matches:
    """The results of comparing all Q x G pairs.

    The ``score`` of a pair is its cosine plus the offsets of its query and its gallery row. Without offsets the two are
    equal. Ties go to the lower row.
    """

    rows: Ints  # (Q, k) best gallery rows of each query, best first
    cosine: Floats  # (Q, k)
    score: Floats  # (Q, k) descending
    best_query: Ints  # (G,) best query of each gallery row, -1 where there is none or it was not requested
    best_query_cosine: Floats  # (G,)
    best_query_score: Floats  # (G,)
    top_pairs: Ints  # (K, 2) the highest of all pairs: query, gallery row
    top_pairs_cosine: Floats  # (K,)
    top_pairs_score: Floats  # (K,) descending, ties by query then gallery row
    pairs: Ints | None  # (M, 2) all pairs at or above the threshold, by query then gallery row
    pairs_score: Floats | None  # (M,)
    tail_counts: Ints  # (L,) pairs that reach each requested level of the tail
    mean: float  # over the cosines of all pairs
    variance: float
    n_compared: int

    def __post_init__(self) -> None:
        q, k = self.rows.shape
        if self.cosine.shape != (q, k) or self.score.shape != (q, k):
            raise ValueError(f"rows {self.rows.shape}, cosine {self.cosine.shape}, score {self.score.shape}")
        if self.n_compared != q * len(self.best_query):
            raise ValueError(f"{self.n_compared} pairs compared of {q} x {len(self.best_query)}")


@dataclass(frozen=True)
class Exposure:
    """How close the synthetic set comes to each real person: the best pair over the images of the person."""

    people: Texts  # (P,)
    score: Floats  # (P,)
    cosine: Floats  # (P,) of the same pair
    n_images: Ints  # (P,) images that were tested
    best_pair: Ints  # (P, 2) synthetic row, gallery row
    channel: Ints  # (P,) index of the channel that gives the score
    identity: Ints  # (P,) row of the synthetic identity whose mean vector gives the score, -1 where an image does

    def __post_init__(self) -> None:
        p = len(self.people)
        if not (
            self.score.shape == self.cosine.shape == self.n_images.shape == (p,)
            and self.channel.shape == self.identity.shape == (p,)
            and self.best_pair.shape == (p, 2)
        ):
            raise ValueError(f"{p} people, score {self.score.shape}, best_pair {self.best_pair.shape}")

    def __len__(self) -> int:
        return len(self.people)


@dataclass(frozen=True)
class Estimate:
    """A number with its interval."""

    value: float
    """The value."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end of the interval."""
    level: Probability
    """Confidence level of the interval. 1 for a number that was counted in full."""
    n: int
    """Number of observations."""
    method: str
    """How the value and its interval were made."""

    def __post_init__(self) -> None:
        if not self.low <= self.value <= self.high:
            raise ValueError(f"{self.low} <= {self.value} <= {self.high} does not hold ({self.method})")
