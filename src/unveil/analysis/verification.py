"""What the face network can tell apart on the pictures of this audit, measured on its labelled real people."""

from __future__ import annotations

import numpy as np

from unveil.config.settings import Settings
from unveil.embedding.embed import EmbeddedSource
from unveil.results.audit import VerificationPerformance
from unveil.stats.hubness import person_codes
from unveil.stats.verification import Verification, verification_performance
from unveil.types import Embedded, Ints, Role

# Random pictures that take part: all pairs of them are compared, and nobody weighs more than his share.
MAX_IMAGES, MAX_IMAGES_EACH = 10_000, 10


def measure_verification(sets: dict[Role, EmbeddedSource], settings: Settings) -> tuple[VerificationPerformance, ...]:
    """Mated and non-mated scores of each labelled real role, the control people first."""
    found = []
    for role in ("control", "training"):
        if role in sets:
            measured = _measure(sets[role].embedded.distinct, settings.random(f"separation {role}"))
            if measured is not None:
                found.append(VerificationPerformance(role, measured))
    return tuple(found)


def _measure(embedded: Embedded, rng: np.random.Generator) -> Verification | None:
    rows = choose_images(embedded, rng)
    vectors = np.asarray(embedded.vectors[rows], np.float32)
    people = [embedded.people_or_ids[i] for i in rows]
    return verification_performance(vectors, person_codes(people)[1], rng) if len(rows) else None


def choose_images(
    embedded: Embedded, rng: np.random.Generator, each: int = MAX_IMAGES_EACH, most: int = MAX_IMAGES
) -> Ints:
    """Rows of at most ``each`` random labelled pictures a person, of random people until ``most`` are reached."""
    labelled = np.array([i for i, person in enumerate(embedded.people) if person is not None], np.int64)
    if not len(labelled):
        return labelled
    _, codes = person_codes([embedded.people_or_ids[i] for i in labelled])
    rank_of_person = rng.permutation(codes.max() + 1)[codes]
    order = np.lexsort((rng.random(len(codes)), rank_of_person))
    ranked = rank_of_person[order]
    place = np.arange(len(order)) - np.searchsorted(ranked, ranked)
    return np.sort(labelled[order[place < each][:most]])
