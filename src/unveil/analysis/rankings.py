"""What an audit lists beside its findings: counts, the ranking of the closest pairs, hubs."""

from __future__ import annotations

from unveil.analysis.scores import RealSide
from unveil.embedding.embed import EmbeddedSource
from unveil.results.audit import HubnessFinding, PairFinding, RoleCounts
from unveil.stats.hubness import count_hubness
from unveil.types import Embedded, Matches


def count_images(source: EmbeddedSource) -> RoleCounts:
    """What became of one role's files."""
    images = source.embedded
    return RoleCounts(
        images=source.n_images,
        embedded=len(images),
        rejected=len(source.rejects),
        people=len(set(images.people_or_ids)),
        unlabelled=sum(person is None for person in images.people),
        repeats=len(images) - len(set(images.digests)),
        several_faces=source.n_multiple_faces,
    )


def top_pairs(matches: Matches, synthetic: Embedded, training: Embedded, most: int) -> tuple[PairFinding, ...]:
    """The ranking of the closest pairs."""
    people = training.people_or_ids
    return tuple(
        PairFinding(rank, synthetic.ids[q], training.ids[g], people[g], float(cosine), float(score), training.channel)
        for rank, ((q, g), cosine, score) in enumerate(
            zip(
                matches.top_pairs[:most],
                matches.top_pairs_cosine[:most],
                matches.top_pairs_score[:most],
                strict=True,
            ),
            start=1,
        )
    )


def top_pairs_corrected(training: RealSide, synthetic: Embedded, most: int) -> tuple[PairFinding, ...]:
    """The ranking of the closest pairs over all channels: by each pair's highest score on the common scale."""
    best: dict[tuple[int, int], tuple[float, float, str]] = {}
    for channel, sight in training.by_channel.items():
        seen = sight.corrected
        scores = sight.standard.of(seen.top_pairs_score[:most])
        for (q, g), cosine, score in zip(seen.top_pairs[:most], seen.top_pairs_cosine[:most], scores, strict=True):
            pair = (int(q), int(g))
            if pair not in best or score > best[pair][0]:
                best[pair] = (float(score), float(cosine), channel)
    ranked = sorted(best.items(), key=lambda item: (-item[1][0], item[0]))[:most]
    images, people = training.images, training.images.people_or_ids
    return tuple(
        PairFinding(rank, synthetic.ids[q], images.ids[g], people[g], cosine, score, channel)
        for rank, ((q, g), (score, cosine, channel)) in enumerate(ranked, start=1)
    )


def hubness_ranking(matches: Matches, training: Embedded, most_pairs: int) -> tuple[HubnessFinding, ...]:
    """Training pictures that are the closest of several synthetic ones."""
    people = training.people_or_ids
    return tuple(
        HubnessFinding(training.ids[h.row], people[h.row], h.n_best_match_of, h.in_top_pairs)
        for h in count_hubness(matches.rows[:, 0], matches.top_pairs[:most_pairs, 1], len(training))
    )
