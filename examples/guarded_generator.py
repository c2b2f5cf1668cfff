"""A generator in a loop with a guard: images that show somebody of its training set are drawn again.

Run `unveil demo` and `unveil guard build unveil-demo/run -o demo-guard` first, then
`python examples/guarded_generator.py demo-guard`.
"""

from __future__ import annotations

import sys

import numpy as np

import unveil
from unveil.demo.faces import face_model

WANTED, BATCH, TRAINING_PEOPLE = 64, 32, 400


def generator(rng: np.random.Generator) -> np.ndarray:
    """A batch (N, S, S, 3) uint8 RGB of a generator that has memorised: every fourth image is one of the demo's
    training images, hardly changed."""
    model = face_model()
    memorised = model.sample(TRAINING_PEOPLE, np.random.default_rng(0))
    weights = model.sample(BATCH, rng)
    copies = rng.random(BATCH) < 0.25
    of = rng.integers(TRAINING_PEOPLE, size=BATCH)
    weights[copies] = model.perturb(memorised[of], 0.1, rng)[copies]
    return model.render(weights)


def main(folder: str) -> None:
    """Draws until enough images pass."""
    guard, rng = unveil.Guard.open(folder), np.random.default_rng(1)
    passed: list[np.ndarray] = []
    refused = 0
    while len(passed) < WANTED:
        batch = generator(rng)
        decisions = guard.check(list(batch))
        passed += [image for image, decision in zip(batch, decisions, strict=True) if decision.passes]
        refused += sum(decision.answer == "refuse" for decision in decisions)
    print(f"{len(passed[:WANTED])} images passed, {refused} refused at a score of {guard.threshold.score:.2f}")


if __name__ == "__main__":
    main(sys.argv[1])
