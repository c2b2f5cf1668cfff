"""The verification performance of the face model on the labelled real people of an audit."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from unveil.embedding.embed import EmbeddedSource
from unveil.results import VerificationPerformance
from unveil.stats.hubness import person_codes
from unveil.stats.verification import Verification, verification_performance
from unveil.types import Embedded, Generators, Ints, Role

# At most so many random images are used, since all pairs are compared, and so many of each person.
MAX_IMAGES, MAX_IMAGES_PER_PERSON = 10_000, 10


def measure_verification(
    sets: Mapping[Role, EmbeddedSource], generators: Generators
) -> tuple[VerificationPerformance, ...]:
    """The performance on each labelled real role, control people first."""
    found = []
    for role in ("control", "training"):
        if role in sets:
            measured = _measure(sets[role].embedded.distinct, generators(f"separation {role}"))
            if measured is not None:
                found.append(VerificationPerformance(**vars(measured), role=role))
    return tuple(found)


def _measure(embedded: Embedded, rng: np.random.Generator) -> Verification | None:
    rows = choose_images(embedded, rng)
    vectors = np.asarray(embedded.vectors[rows], np.float32)
    people = embedded.people_or_ids.take(rows)
    return verification_performance(vectors, person_codes(people)[1], rng) if len(rows) else None


def choose_images(
    embedded: Embedded,
    rng: np.random.Generator,
    max_per_person: int = MAX_IMAGES_PER_PERSON,
    max_images: int = MAX_IMAGES,
) -> Ints:
    """Rows of at most ``max_per_person`` random labelled images per person, of random people up to ``max_images``."""
    labelled = np.flatnonzero(embedded.people.known)
    if not len(labelled):
        return labelled
    _, codes = person_codes(embedded.people_or_ids.take(labelled))
    rank_of_person = rng.permutation(codes.max() + 1)[codes]
    order = np.lexsort((rng.random(len(codes)), rank_of_person))
    ranked = rank_of_person[order]
    rank_in_person = np.arange(len(order)) - np.searchsorted(ranked, ranked)
    return np.sort(labelled[order[rank_in_person < max_per_person][:max_images]])
