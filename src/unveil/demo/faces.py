"""Faces of people who do not exist, drawn from a mean and 192 components of colour pictures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
import numpy.typing as npt

Weights = npt.NDArray[np.float64]
Pictures = npt.NDArray[np.uint8]


# A new picture of a person, so that an ArcFace network finds most and dlib's few, as on real photographs. Measured in
# 60 people against 220 others: w600k_mbf 87%, dlib_resnet_v1 38%.
MOMENT_COMPONENTS, MOMENT_NOISE = 40, 0.6


# Which half of the people of LFW the shipped model was built from.
HALF_SEED = 0


def people_behind(names: Iterable[str]) -> set[str]:
    """The half of these people (of LFW) whose pictures went into the shipped model; the others it never saw."""
    people = sorted(set(names))
    return set(np.random.default_rng(HALF_SEED).permutation(people)[: len(people) // 2].tolist())


@dataclass(frozen=True)
class FaceModel:
    """mean (S, S, 3), components (K, S, S, 3) one standard deviation tall, and each one's share that is the person."""

    mean: npt.NDArray[np.float32]
    components: npt.NDArray[np.float32]
    share_of_person: npt.NDArray[np.float32]

    def images(self, n: int, rng: np.random.Generator) -> Weights:
        """Weights (n, K) of pictures of n new people."""
        return rng.normal(size=(n, len(self.components)))

    def redraw(self, images: Weights, noise: float, rng: np.random.Generator) -> Weights:
        """The same pictures with ``noise`` standard deviations of change in each component, as spread out as before."""
        redrawn: Weights = (images + noise * rng.normal(size=images.shape)) / np.sqrt(1 + noise**2)
        return redrawn

    def another_moment(self, images: Weights, rng: np.random.Generator) -> Weights:
        """New pictures of the same people: what is least the person is drawn anew, the rest changes by MOMENT_NOISE."""
        changed = self.redraw(images, MOMENT_NOISE, rng)
        least = np.argsort(self.share_of_person, kind="stable")[:MOMENT_COMPONENTS]
        changed[:, least] = rng.normal(size=(len(images), len(least)))
        return changed

    def draw(self, weights: Weights) -> Pictures:
        """Pictures (n, S, S, 3) uint8 RGB."""
        flat = self.components.reshape(len(self.components), -1)
        pixels = self.mean.reshape(1, -1) + weights.astype(np.float32) @ flat
        return np.clip(np.round(pixels), 0, 255).astype(np.uint8).reshape(len(weights), *self.mean.shape)


@cache
def face_model() -> FaceModel:
    """The model that ships with unveil; tools/build_face_model.py made it."""
    path = resources.files("unveil.demo") / "face_model.npz"
    with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        return FaceModel(
            mean=stored["mean"].astype(np.float32),
            components=stored["components"].astype(np.float32) * stored["step"],
            share_of_person=stored["share_of_person"],
        )


def drawn_faces(n: int, seed: int = 0) -> Pictures:
    """Faces (n, S, S, 3) of ``n`` people who do not exist."""
    model = face_model()
    return model.draw(model.images(n, np.random.default_rng(seed)))
