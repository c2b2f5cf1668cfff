"""The hygiene checks of an audit, in the order a reader wants them."""

from __future__ import annotations

import numpy as np

from unveil.compare import exact_cosine
from unveil.result import Likeness
from unveil.stats import hygiene
from unveil.stats.hubs import person_codes
from unveil.stats.hygiene import Check
from unveil.steps.embed import EmbeddedSource
from unveil.steps.likeness import CLOSENESS
from unveil.steps.prepare import Overlap, mated_pairs, one_picture_each
from unveil.types import Embedded, Floats, Role

SAMPLE = 1000


def check_inputs(sets: dict[Role, EmbeddedSource], rng: np.random.Generator) -> list[Check]:
    """Rejects, collapse, duplicates, shipped pictures and labels, for every role that was given."""
    checks = [hygiene.check_rejects(role, len(s.rejects), s.n_images) for role, s in sets.items()]
    samples = {
        role: s.embedded.vectors[one_picture_each(s.embedded.people_or_ids, rng, SAMPLE)] for role, s in sets.items()
    }
    training = hygiene.spread(samples["training"])
    checks += [
        hygiene.check_spread(role, hygiene.spread(sample), hygiene.spread_estimate(sample, training, rng))
        for role, sample in samples.items()
    ]
    checks += [hygiene.check_duplicates(role, s.embedded.digests) for role, s in sets.items()]
    checks += [
        hygiene.check_shipped(role, sets["synthetic"].embedded.digests, sets[role].embedded.digests)
        for role in sets
        if role != "synthetic"
    ]
    for role, s in sets.items():
        found = hygiene.check_labels(role, *_mated_and_others(s.embedded, rng))
        if found is not None:
            checks.append(found)
    return checks


def _mated_and_others(embedded: Embedded, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Cosines of two random pictures of one label, and of two labels, for up to SAMPLE labels."""
    _, codes = person_codes(embedded.people_or_ids)
    vectors = embedded.vectors
    mated = exact_cosine(vectors, vectors, *mated_pairs(embedded.people_or_ids, rng, SAMPLE))
    a, b = rng.integers(len(codes), size=(2, SAMPLE))
    different = codes[a] != codes[b]
    return mated, exact_cosine(vectors, vectors, a[different], b[different])


def check_control(overlap: Overlap, n_decoy_people: int, likeness: Likeness | None) -> list[Check]:
    """Whether the control people can stand for what chance does."""
    checks = [
        hygiene.check_overlap(overlap.n_pictures, overlap.n_people, overlap.n_people_before, overlap.line),
        hygiene.check_control_size(n_decoy_people),
    ]
    if likeness is not None and likeness.shift is not None and likeness.blind_area is not None:
        checks += [
            hygiene.check_mismatch(likeness.traits[CLOSENESS]),
            hygiene.check_shift(
                likeness.shift, likeness.shift_before, likeness.training_set_aside, likeness.control_left_out
            ),
            hygiene.check_likes(likeness.training_set_aside, likeness.training_people),
            hygiene.check_blind(likeness.blind_area, likeness.traits),
        ]
    return checks
