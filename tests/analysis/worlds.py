"""Tiny worlds for the analysis: scores written by hand, or faces drawn around one common direction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from unveil.analysis.cohort import ChannelContext, Cohort
from unveil.analysis.scores import ChannelMatches, RealSide
from unveil.columns import Labels, Texts
from unveil.stats.score_scale import ScoreScale
from unveil.types import ChannelVectors, Embedded, Matches, Vectors

DIMENSION = 64
SAME_SCALE = ScoreScale(0.0, 1.0)


def embedded(vectors: Vectors, prefix: str, people: Sequence[str | None] | None = None) -> Embedded:
    """Images ``prefix``0, ``prefix``1, ... with these vectors; without ``people`` they have no labels."""
    n = len(vectors)
    ids = Texts([f"{prefix}{i}" for i in range(n)])
    labels = Labels.of(people) if people else Labels.missing(n)
    return Embedded(ids, labels, Texts([f"sha-{i}" for i in ids]), vectors, "model")


def unit(x: np.ndarray) -> Vectors:
    """Rows of length 1."""
    return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True), np.float32)


def crowd(rng: np.random.Generator, n: int, pull: float = 0.5) -> np.ndarray:
    """Faces that share a direction: the closer one is to it, the closer it is to everybody."""
    common = np.eye(1, DIMENSION)
    return np.asarray(pull * common + rng.normal(size=(n, DIMENSION)) / np.sqrt(DIMENSION))


def images(prefix: str, people: Sequence[str | None], channels: Sequence[str] = ("face",)) -> Embedded:
    """Images of people by several channels, with vectors that no test uses."""
    vectors = np.ones((len(people), 1), np.float32)
    made = embedded(vectors, prefix, people)
    views = tuple(ChannelVectors(channel, vectors, channel) for channel in channels[1:])
    return Embedded(made.ids, made.people, made.digests, vectors, "model", views=views)


def matches(score: Sequence[Sequence[float]]) -> Matches:
    """The matches of a comparison with these scores (Q, G); cosines are a tenth of the scores."""
    s = np.array(score, np.float64)
    rows = np.argsort(-s, axis=1, kind="stable")
    order = np.lexsort((np.tile(np.arange(s.shape[1]), len(s)), np.repeat(np.arange(len(s)), s.shape[1]), -s.ravel()))
    top = np.column_stack(np.unravel_index(order, s.shape))
    sorted_scores = np.take_along_axis(s, rows, axis=1)
    return Matches(
        *(rows, sorted_scores / 10, sorted_scores),
        *(s.argmax(0), s.max(0) / 10, s.max(0)),
        *(top, s[tuple(top.T)] / 10, s[tuple(top.T)]),
        pairs=None,
        pairs_score=None,
        tail_counts=np.zeros(0, np.int64),
        mean=0.0,
        variance=0.0,
        n_compared=s.size,
    )


def side(prefix: str, people: Sequence[str], scores: Mapping[str, Sequence[Sequence[float]]]) -> RealSide:
    """Real images whose hub-corrected scores (Q, N) by each channel are given; the first channel's are the raw ones."""
    by_channel = {
        c: ChannelMatches(np.zeros(len(people)), matches(s), SAME_SCALE, np.zeros(len(people)))
        for c, s in scores.items()
    }
    first = next(iter(scores.values()))
    return RealSide(images(prefix, people, list(scores)), matches(first), by_channel)


def contexts(synthetic: Embedded) -> dict[str, ChannelContext]:
    """The contexts of the channels of a synthetic set, without a hub correction."""
    return {
        channel: ChannelContext(
            synthetic.through(channel), Cohort(images("c", ["nobody"]), 0), np.zeros(len(synthetic)), SAME_SCALE
        )
        for channel in synthetic.channels
    }


def generators(purpose: str) -> np.random.Generator:
    """A generator for each purpose."""
    return np.random.default_rng(list(purpose.encode()))
