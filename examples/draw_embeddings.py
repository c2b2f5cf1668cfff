"""Draws embeddings of people who do not exist: a training set, a control set, and a synthetic set with a known leak.

Run `python examples/draw_embeddings.py FOLDER`. `--scale 0.01` draws a hundredth of the people.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

DIMENSION, IMAGES_EACH, MODEL = 512, 50, "drawn"
TRAINING_PEOPLE, CONTROL_PEOPLE, SYNTHETIC_IMAGES, COPIES, NEW_IMAGES = 10_000, 3_000, 50_000, 40, 40
# Embeddings of faces vary most along few directions, so that two people can be closer than chance in 512 directions.
SPREAD = (np.arange(1, DIMENSION + 1) ** -0.4).astype(np.float32)
BLOCK = 50_000  # rows that are drawn at once, to save memory
# Cosine of two images of one person, and of an image with its near-duplicate.
SAME_PERSON, SAME_IMAGE = 0.6, 0.93


def unit(vectors: np.ndarray) -> np.ndarray:
    """The vectors (N, D) at length one."""
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def people(n: int, rng: np.random.Generator) -> np.ndarray:
    """The mean directions (n, D) float32 of n people."""
    return unit(rng.standard_normal((n, DIMENSION), np.float32) * SPREAD)


def near(vectors: np.ndarray, cosine: float, rng: np.random.Generator) -> np.ndarray:
    """Vectors (N, D) that have about this cosine with the given ones."""
    found = np.empty_like(vectors)
    for start in range(0, len(vectors), BLOCK):
        block = vectors[start : start + BLOCK]
        found[start : start + BLOCK] = unit(cosine * block + (1 - cosine**2) ** 0.5 * people(len(block), rng))
    return found


def save(file: Path, vectors: np.ndarray, names: list[str], of: list[str] | None) -> None:
    """An .npz file that unveil audits: vectors, names of images, names of people, and the model."""
    people = {} if of is None else {"people": np.array(of)}
    np.savez(file, allow_pickle=False, vectors=vectors, ids=np.array(names), model_id=np.array(MODEL), **people)


def draw(folder: Path, scale: float, seed: int = 0) -> None:
    """Writes training.npz, control.npz and synthetic.npz, and planted.txt with the people who are leaked."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    faces = {}
    for role, n in (("training", round(TRAINING_PEOPLE * scale)), ("control", round(CONTROL_PEOPLE * scale))):
        who = np.repeat(np.arange(n), IMAGES_EACH)
        faces[role] = near(people(n, rng)[who], SAME_PERSON**0.5, rng)
        names = [f"{role}-{i:05d}" for i in who]
        save(folder / f"{role}.npz", faces[role], [f"{p}/{i % IMAGES_EACH}.jpg" for i, p in enumerate(names)], names)

    leaked = rng.choice(len(faces["training"]) // IMAGES_EACH, COPIES + NEW_IMAGES, replace=False)
    originals = faces["training"][leaked * IMAGES_EACH]
    copies = near(originals[:COPIES], SAME_IMAGE, rng)
    new_images = near(originals[COPIES:], SAME_PERSON, rng)
    others = people(round(SYNTHETIC_IMAGES * scale) - len(leaked), rng)
    synthetic = rng.permutation(np.concatenate([copies, new_images, others]))
    save(folder / "synthetic.npz", synthetic, [f"{i:05d}.jpg" for i in range(len(synthetic))], None)
    (folder / "planted.txt").write_text("".join(f"training-{i:05d}\n" for i in leaked), "utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scale", type=float, default=1.0)
    arguments = parser.parse_args()
    draw(arguments.folder, arguments.scale)
