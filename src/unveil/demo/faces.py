"""Faces of people who do not exist, drawn from a mean face and 192 principal components."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
import numpy.typing as npt

Weights = npt.NDArray[np.float64]
Images = npt.NDArray[np.uint8]

# A new image of a person. As on real photographs, an ArcFace model recognises most people and dlib's model few: of 60
# people among 220 others, w600k_mbf 87% and dlib_resnet_v1 38%.
NEW_IMAGE_COMPONENTS, NEW_IMAGE_NOISE = 40, 0.6
# Selects the half of the people of LFW from which the shipped face model was built.
HALF_SEED = 0


def people_in_face_model(names: Iterable[str]) -> set[str]:
    """The half of these people (of LFW) from whose images the shipped face model was built."""
    people = sorted(set(names))
    return set(np.random.default_rng(HALF_SEED).permutation(people)[: len(people) // 2].tolist())


@dataclass(frozen=True)
class FaceModel:
    """A linear model of faces: ``mean`` (S, S, 3), ``components`` (K, S, S, 3) scaled to one standard deviation, and
    for each component the share of its variance that is between people (K,)."""

    mean: npt.NDArray[np.float32]
    components: npt.NDArray[np.float32]
    share_of_person: npt.NDArray[np.float32]

    def sample(self, n: int, rng: np.random.Generator) -> Weights:
        """The weights (n, K) of one image for each of n new people."""
        return rng.normal(size=(n, len(self.components)))

    def perturb(self, weights: Weights, noise: float, rng: np.random.Generator) -> Weights:
        """The same images with noise of ``noise`` standard deviations in each component, rescaled to unit variance."""
        perturbed: Weights = (weights + noise * rng.normal(size=weights.shape)) / np.sqrt(1 + noise**2)
        return perturbed

    def new_images(self, weights: Weights, rng: np.random.Generator) -> Weights:
        """New images of the same people: components that vary least between people are sampled again, and the others
        get noise of NEW_IMAGE_NOISE standard deviations."""
        changed = self.perturb(weights, NEW_IMAGE_NOISE, rng)
        least = np.argsort(self.share_of_person, kind="stable")[:NEW_IMAGE_COMPONENTS]
        changed[:, least] = rng.normal(size=(len(weights), len(least)))
        return changed

    def render(self, weights: Weights) -> Images:
        """The images (n, S, S, 3) uint8 RGB of these weights."""
        flat = self.components.reshape(len(self.components), -1)
        pixels = self.mean.reshape(1, -1) + weights.astype(np.float32) @ flat
        return np.clip(np.round(pixels), 0, 255).astype(np.uint8).reshape(len(weights), *self.mean.shape)


@cache
def face_model() -> FaceModel:
    """The face model that ships with unveil; tools/build_face_model.py builds it."""
    path = resources.files("unveil.demo") / "face_model.npz"
    with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        return FaceModel(
            mean=stored["mean"].astype(np.float32),
            components=stored["components"].astype(np.float32) * stored["step"],
            share_of_person=stored["share_of_person"],
        )


def drawn_faces(n: int, seed: int = 0) -> Images:
    """Faces (n, S, S, 3) uint8 RGB of ``n`` people who do not exist."""
    model = face_model()
    return model.render(model.sample(n, np.random.default_rng(seed)))
