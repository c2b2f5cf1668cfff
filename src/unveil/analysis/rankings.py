"""What an audit reports beside its findings: counts, the closest pairs, and hubness."""

from __future__ import annotations

from unveil.analysis.scores import RealSide
from unveil.embedding.embed import EmbeddedSource
from unveil.results import HubnessFinding, PairFinding, RoleCounts
from unveil.stats.hubness import count_hubness
from unveil.types import Embedded, Matches


def count_images(source: EmbeddedSource) -> RoleCounts:
    """The numbers of files, images and people of one role."""
    images = source.embedded
    return RoleCounts(
        images=source.n_images,
        embedded=len(images),
        rejected=len(source.rejects),
        people=len(images.people_or_ids.coded()[0]),
        unlabelled=images.people.n_missing,
        repeats=len(images) - images.digests.n_distinct(),
        several_faces=source.n_multiple_faces,
        left_out=source.left_out,
    )


def top_pairs(matches: Matches, synthetic: Embedded, training: Embedded, n: int) -> tuple[PairFinding, ...]:
    """The ``n`` pairs with the highest raw cosine: the published attack."""
    people = training.people_or_ids
    return tuple(
        PairFinding(rank, synthetic.ids[q], training.ids[g], people[g], float(cosine), float(score), training.channel)
        for rank, ((q, g), cosine, score) in enumerate(
            zip(
                matches.top_pairs[:n],
                matches.top_pairs_cosine[:n],
                matches.top_pairs_score[:n],
                strict=True,
            ),
            start=1,
        )
    )


def top_pairs_corrected(training: RealSide, synthetic: Embedded, n: int) -> tuple[PairFinding, ...]:
    """The ``n`` pairs with the highest hub-corrected score over all channels."""
    best: dict[tuple[int, int], tuple[float, float, str]] = {}
    for channel, matches in training.by_channel.items():
        corrected = matches.corrected
        pairs = zip(
            corrected.top_pairs[:n],
            corrected.top_pairs_cosine[:n],
            matches.scale.of(corrected.top_pairs_score[:n]),
            strict=True,
        )
        for (q, g), cosine, score in pairs:
            pair = (int(q), int(g))
            if pair not in best or score > best[pair][0]:
                best[pair] = (float(score), float(cosine), channel)
    ranked = sorted(best.items(), key=lambda item: (-item[1][0], item[0]))[:n]
    images, people = training.images, training.images.people_or_ids
    return tuple(
        PairFinding(rank, synthetic.ids[q], images.ids[g], people[g], cosine, score, channel)
        for rank, ((q, g), (score, cosine, channel)) in enumerate(ranked, start=1)
    )


def hubness_ranking(matches: Matches, training: Embedded, n_top_pairs: int) -> tuple[HubnessFinding, ...]:
    """Training images that are the closest match of several synthetic images."""
    people = training.people_or_ids
    return tuple(
        HubnessFinding(training.ids[h.row], people[h.row], h.n_best_match_of, h.in_top_pairs)
        for h in count_hubness(matches.rows[:, 0], matches.top_pairs[:n_top_pairs, 1], len(training))
    )
