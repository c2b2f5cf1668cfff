"""Near-duplicates between the synthetic set and real images, by one rule on both sides, and what they explain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from unveil.analysis.cohort import ChannelContext
from unveil.analysis.leak_kinds import similar_pairs
from unveil.analysis.scores import RealSide
from unveil.compare import Backend, compare_all, exact_cosine
from unveil.embedding.images import ImageReader
from unveil.progress import Progress
from unveil.stats.hubness import best_of_each
from unveil.stats.leak_kinds import is_near_duplicate
from unveil.types import Floats, Ints, Mask, Matches, Role

# A pair is looked at if its score is this many times as far above the 25% quantile of all people as the 5% quantile is
# below it; at most so many pairs.
REACH = 4.0
MAX_PAIRS = 1000


@dataclass(frozen=True)
class Candidates:
    """Pairs (K,) to look at, the closest first: the synthetic row, 1 for a control image, and the row of that image."""

    query: Ints
    of_control: Ints
    row: Ints


@dataclass(frozen=True)
class NearDuplicates:
    """Near-duplicates (K, 2) of each side: synthetic row, real row."""

    training: Ints
    control: Ints

    @property
    def explained(self) -> Ints:
        """The synthetic rows that are near-duplicates, ascending."""
        return np.unique(np.concatenate([self.training[:, 0], self.control[:, 0]]))


NO_PAIRS = np.zeros((0, 2), np.int64)
NO_NEAR_DUPLICATES = NearDuplicates(NO_PAIRS, NO_PAIRS)


def candidates(training: RealSide, control: RealSide) -> Candidates:
    """The best pair of each real person and of each synthetic image, where it is unusually close in any channel.

    What is unusual is set by all real people alike, so the rule favours neither side. The cosine is that of the face
    channel; ``by_channel`` may lack it.
    """
    height: dict[tuple[int, int, int], float] = {}
    codes = (training.people[1], control.people[1])
    compared = [(training.raw, control.raw)]
    compared += [(m.corrected, control.by_channel[channel].corrected) for channel, m in training.by_channel.items()]
    for matches in compared:
        best = [best_of_each(c, m.best_query_score) for c, m in zip(codes, matches, strict=True)]
        exposed = [m.best_query_score[rows] for m, rows in zip(matches, best, strict=True)]
        low, middle = (float(v) for v in np.quantile(np.concatenate(exposed), [0.05, 0.25]))
        unit = max(middle - low, 1e-9)
        for pair, score in _best_pairs(matches, best):
            above = (score - middle) / unit
            if above > REACH:
                height[pair] = max(above, height.get(pair, above))
    chosen = sorted(height, key=lambda pair: (-height[pair], pair))[:MAX_PAIRS]
    query, of_control, row = np.array(chosen, np.int64).reshape(-1, 3).T
    return Candidates(query, of_control, row)


def _best_pairs(matches: tuple[Matches, Matches], best: Sequence[Ints]) -> Iterator[tuple[tuple[int, int, int], float]]:
    """Synthetic row, side and row of the best pair of each person (rows ``best``) and of each synthetic image."""
    for of_control, (m, rows) in enumerate(zip(matches, best, strict=True)):
        for row in rows:
            yield (int(m.best_query[row]), of_control, int(row)), float(m.best_query_score[row])
    scores = np.stack([m.score[:, 0] for m in matches])
    for query, of_control in enumerate(scores.argmax(axis=0)):
        row = int(matches[of_control].rows[query, 0])
        yield (query, int(of_control), row), float(scores[of_control, query])


def find_near_duplicates(
    training: RealSide, control: RealSide, images: Mapping[Role, ImageReader], progress: Progress, workers: int = 0
) -> NearDuplicates:
    """The candidates whose two images are near-duplicates; an image that cannot be read is none.

    ``workers`` 0 means one per core.
    """
    found = candidates(training, control)
    synthetic, ids = images["synthetic"], (training.images.ids, control.images.ids)
    readers = (images["training"], images["control"])
    pairs = [
        ((synthetic, synthetic.embedded.ids[q]), (readers[side], ids[side][row]))
        for q, side, row in zip(found.query, found.of_control, found.row, strict=True)
    ]
    progress.start("looking for near-duplicates", len(pairs), "image pairs")
    measured = similar_pairs(pairs, progress, workers)
    near = np.array([s is not None and is_near_duplicate(s) for s in measured], np.bool_)
    rows = np.column_stack([found.query, found.row])
    return NearDuplicates(rows[near & (found.of_control == 0)], rows[near & (found.of_control == 1)])


def explain_away(
    near: NearDuplicates,
    contexts: Mapping[str, ChannelContext],
    training: RealSide,
    control: RealSide,
    backend: str | Backend,
) -> tuple[RealSide, RealSide]:
    """Both sides without evidence that a near-duplicate explains.

    A synthetic image that is a near-duplicate of one person's image is no evidence against other people. Real images of
    other people whose best match it was get their best match among the synthetic images that nobody explains and those
    that their own person explains. Real images with a near-duplicate are marked.
    """
    explained = np.zeros(len(next(iter(contexts.values())).synthetic), np.bool_)
    explained[near.explained] = True
    sides = []
    for side, pairs in ((training, near.training), (control, near.control)):
        marked = np.zeros(len(side.images), np.bool_)
        marked[pairs[:, 1]] = True
        by_channel = {
            channel: replace(m, corrected=_recomputed(side, channel, contexts[channel], pairs, explained, backend))
            for channel, m in side.by_channel.items()
        }
        sides.append(replace(side, by_channel=by_channel, near_duplicate=marked))
    return sides[0], sides[1]


def _recomputed(
    side: RealSide, channel: str, context: ChannelContext, pairs: Ints, explained: Mask, backend: str | Backend
) -> Matches:
    """The matches of a side with the best queries of the images whose best query another person explains."""
    matches = side.by_channel[channel].corrected
    codes = side.people[1]
    own: dict[int, list[int]] = {}
    for query, row in pairs:
        own.setdefault(int(codes[row]), []).append(int(query))
    rows = np.flatnonzero(explained[matches.best_query] & (matches.best_query >= 0))
    rows = np.array([i for i in rows if matches.best_query[i] not in own.get(int(codes[i]), ())], np.int64)
    rest = np.flatnonzero(~explained)
    if not len(rows) or not len(rest):
        return matches
    real = side.images.through(channel).vectors
    offset, own_offset = context.synthetic_correction, side.by_channel[channel].correction
    again = compare_all(
        *(context.synthetic.vectors[rest], np.ascontiguousarray(real[rows])),
        top_k=0,
        query_offset=offset[rest],
        gallery_offset=own_offset[rows],
        backend=backend,
        moments=False,
    )
    best, cosine, score = rest[again.best_query], again.best_query_cosine.copy(), again.best_query_score.copy()
    for k, row in enumerate(rows):
        queries = np.array(own.get(int(codes[row]), ()), np.int64)
        if len(queries):
            cosines = exact_cosine(context.synthetic.vectors, real, queries, np.full(len(queries), row))
            scores = cosines + offset[queries] + own_offset[row]
            i = int(scores.argmax())
            if scores[i] > score[k]:
                best[k], cosine[k], score[k] = queries[i], cosines[i], scores[i]
    return _with_best_queries(matches, rows, best, cosine, score)


def _with_best_queries(matches: Matches, rows: Ints, query: Ints, cosine: Floats, score: Floats) -> Matches:
    best, best_cosine, best_score = (
        matches.best_query.copy(),
        matches.best_query_cosine.copy(),
        matches.best_query_score.copy(),
    )
    best[rows], best_cosine[rows], best_score[rows] = query, cosine, score
    return replace(matches, best_query=best, best_query_cosine=best_cosine, best_query_score=best_score)
