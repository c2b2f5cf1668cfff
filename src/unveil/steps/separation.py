"""What the face network can tell apart on the pictures of this audit, measured on its labelled real people."""

from __future__ import annotations

import numpy as np

from unveil.config import Settings
from unveil.result import Separation
from unveil.stats.hubs import person_codes
from unveil.stats.verification import Verification, verify
from unveil.steps.embed import EmbeddedSource
from unveil.types import Embedded, Ints, Role

# Random pictures that take part: all pairs of them are compared, and nobody weighs more than his share.
MOST_PICTURES, MOST_EACH = 10_000, 10


def measure_separation(sets: dict[Role, EmbeddedSource], settings: Settings) -> tuple[Separation, ...]:
    """Mated and non-mated scores of each labelled real role, the control people first."""
    found = []
    for role in ("control", "training"):
        if role in sets:
            measured = _measure(sets[role].embedded.distinct, settings.random(f"separation {role}"))
            if measured is not None:
                found.append(Separation(role, measured))
    return tuple(found)


def _measure(embedded: Embedded, rng: np.random.Generator) -> Verification | None:
    rows = chosen(embedded, rng)
    vectors = np.asarray(embedded.vectors[rows], np.float32)
    people = [embedded.people_or_ids[i] for i in rows]
    return verify(vectors, person_codes(people)[1], rng) if len(rows) else None


def chosen(embedded: Embedded, rng: np.random.Generator, each: int = MOST_EACH, most: int = MOST_PICTURES) -> Ints:
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
