"""What flows between the rooms: small frozen records whose shapes are checked when they are made."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from unveil.errors import Stage
from unveil.io.atomic import gather_rows

Role = Literal["synthetic", "training", "control"]
ROLES: tuple[Role, ...] = ("synthetic", "training", "control")

Vectors = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One picture of a source: ``id`` is its path or key there, ``key`` what its reader needs to fetch it."""

    id: str
    person: str | None
    key: str


@dataclass(frozen=True, slots=True)
class Reject:
    """A picture that was not embedded: where it fell out, why, and what was seen."""

    id: str
    stage: Stage
    reason: str
    detail: str = ""


@dataclass(frozen=True)
class ModelPart:
    """The columns of one network in vectors made of several; its cosine counts with ``weight``, weights sum to 1."""

    name: str
    columns: slice
    weight: float


@dataclass(frozen=True)
class ChannelVectors:
    """What a further channel makes of the same pictures: ``vectors`` (N, D) float32 unit rows."""

    channel: str
    vectors: Vectors = field(repr=False)
    model_id: str


@dataclass(frozen=True)
class Embedded:
    """All embedded pictures of one role, in source order; ``vectors`` (N, D) float32 unit rows, often memory-mapped.

    They are those of the first channel; ``views`` hold the further ones.
    """

    ids: tuple[str, ...] = field(repr=False)
    people: tuple[str | None, ...] = field(repr=False)
    digests: tuple[str, ...] = field(repr=False)
    vectors: Vectors = field(repr=False)
    model_id: str
    quality: Floats | None = field(default=None, repr=False)  # (N, K) of the pictures' quality
    parts: tuple[ModelPart, ...] = ()  # of which networks the vectors are made, when they are several
    views: tuple[ChannelVectors, ...] = ()
    channel: str = "face"

    def __post_init__(self) -> None:
        if self.vectors.ndim != 2:
            raise ValueError(f"vectors should be (N, D), got {self.vectors.shape}")
        if self.quality is not None and len(self.quality) != len(self.vectors):
            raise ValueError(f"{len(self.vectors)} vectors, traits {self.quality.shape}")
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
        """The names of all channels, the first first."""
        return (self.channel, *(view.channel for view in self.views))

    def through(self, channel: str) -> Embedded:
        """The same pictures as one channel alone sees them."""
        if channel == self.channel:
            return replace(self, views=())
        (view,) = (view for view in self.views if view.channel == channel)
        return replace(
            self, vectors=view.vectors, model_id=view.model_id, parts=(), views=(), channel=channel, quality=None
        )

    @cached_property
    def people_or_ids(self) -> tuple[str, ...]:
        """Each picture's person; a picture without a label stands for a person of its own."""
        return tuple(id if person is None else person for id, person in zip(self.ids, self.people, strict=True))

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the pictures and of everything that decided their vectors."""
        return hashlib.sha256("\n".join([self.model_id, *self.digests]).encode()).hexdigest()

    @property
    def distinct(self) -> Embedded:
        """The pictures without those that repeat an earlier one byte for byte."""
        first: dict[str, int] = {}
        for row, digest in enumerate(self.digests):
            first.setdefault(digest, row)
        return self if len(first) == len(self) else self.take(np.array(list(first.values()), np.int64))

    def take(self, rows: Ints) -> Embedded:
        """The same role with only ``rows``, in the order given."""
        return replace(
            self,
            ids=tuple(self.ids[i] for i in rows),
            people=tuple(self.people[i] for i in rows),
            digests=tuple(self.digests[i] for i in rows),
            vectors=gather_rows(self.vectors, rows),
            quality=None if self.quality is None else self.quality[rows],
            views=tuple(replace(view, vectors=gather_rows(view.vectors, rows)) for view in self.views),
        )


@dataclass(frozen=True)
class Matches:
    """What a comparison of all Q x G pairs leaves behind.

    A pair's ``score`` is its cosine plus the offsets of its query and its gallery row; without offsets the two are the
    same. Better means: higher score, then lower row.
    """

    rows: Ints  # (Q, k) best gallery rows of each query, best first
    cosine: Floats  # (Q, k)
    score: Floats  # (Q, k) descending
    best_query: Ints  # (G,) best query of each gallery row, -1 when there is none or it was not asked for
    best_query_cosine: Floats  # (G,)
    best_query_score: Floats  # (G,)
    top_pairs: Ints  # (K, 2) the best pairs of all: query, gallery row
    top_pairs_cosine: Floats  # (K,)
    top_pairs_score: Floats  # (K,) descending, ties by query then gallery row
    pairs: Ints | None  # (M, 2) all pairs at or above the threshold, by query then gallery row
    pairs_score: Floats | None  # (M,)
    tail_counts: Ints  # (L,) pairs that score at least each level of the tail asked for
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
    """How close the synthetic set comes to each real person: the best pair over the person's pictures."""

    people: tuple[str, ...]  # (P,)
    score: Floats  # (P,)
    cosine: Floats  # (P,) of the same pair
    n_images: Ints  # (P,) pictures that took part
    best_pair: Ints  # (P, 2) synthetic row, gallery row
    channel: Ints  # (P,) which of the channels compared sees that pair

    def __post_init__(self) -> None:
        p = len(self.people)
        if not (
            self.score.shape == self.cosine.shape == self.n_images.shape == self.channel.shape == (p,)
            and self.best_pair.shape == (p, 2)
        ):
            raise ValueError(f"{p} people, score {self.score.shape}, best_pair {self.best_pair.shape}")

    def __len__(self) -> int:
        return len(self.people)


@dataclass(frozen=True)
class Estimate:
    """A number with its interval: never one without the other."""

    value: float
    low: float
    high: float
    level: float
    n: int
    method: str

    def __post_init__(self) -> None:
        if not self.low <= self.value <= self.high:
            raise ValueError(f"{self.low} <= {self.value} <= {self.high} does not hold ({self.method})")
