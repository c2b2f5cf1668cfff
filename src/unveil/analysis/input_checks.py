"""The input_checks checks of an audit, in the order a reader wants them."""

from __future__ import annotations

import numpy as np

from unveil.analysis.cohort import Overlap, mated_pairs, one_image_each
from unveil.analysis.matching import CLOSENESS
from unveil.compare import exact_cosine
from unveil.embedding.embed import EmbeddedSource
from unveil.results.audit import Balance
from unveil.stats import input_checks as input_checks
from unveil.stats.hubness import person_codes
from unveil.stats.input_checks import Check
from unveil.types import Embedded, Floats, Role

SAMPLE = 1000


def check_inputs(sets: dict[Role, EmbeddedSource], rng: np.random.Generator) -> list[Check]:
    """Rejects, collapse, duplicates, shipped pictures and labels, for every role that was given."""
    checks = [input_checks.check_rejects(role, len(s.rejects), s.n_images) for role, s in sets.items()]
    samples = {
        role: s.embedded.vectors[one_image_each(s.embedded.people_or_ids, rng, SAMPLE)] for role, s in sets.items()
    }
    training = input_checks.spread(samples["training"])
    checks += [
        input_checks.check_spread(
            role, input_checks.spread(sample), input_checks.spread_estimate(sample, training, rng)
        )
        for role, sample in samples.items()
    ]
    checks += [input_checks.check_duplicates(role, s.embedded.digests) for role, s in sets.items()]
    checks += [
        input_checks.check_shipped(role, sets["synthetic"].embedded.digests, sets[role].embedded.digests)
        for role in sets
        if role != "synthetic"
    ]
    for role, s in sets.items():
        found = input_checks.check_labels(role, *_mated_and_others(s.embedded, rng))
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


def check_control(overlap: Overlap, n_decoy_people: int, balance: Balance | None) -> list[Check]:
    """Whether the control people can stand for what chance does."""
    checks = [
        input_checks.check_overlap(overlap.n_images, overlap.n_people, overlap.n_people_before, overlap.line),
        input_checks.check_control_size(n_decoy_people),
    ]
    if balance is not None and balance.prognostic_shift is not None and balance.classifier_auc is not None:
        checks += [
            input_checks.check_mismatch(balance.image_quality[CLOSENESS]),
            input_checks.check_shift(
                balance.prognostic_shift,
                balance.prognostic_shift_before,
                balance.training_not_tested,
                balance.control_not_used,
            ),
            input_checks.check_comparable_people(balance.training_not_tested, balance.training_people),
            input_checks.check_classifier(balance.classifier_auc, balance.image_quality),
        ]
    return checks
