"""A small example with a known leak: training people, control people, and a synthetic dataset that leaks some."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from unveil.demo.faces import Images, face_model
from unveil.io.atomic import replacing, write_bytes

# Noise of the changed training images, in standard deviations of each component.
STRENGTHS = (0.1, 0.2, 0.3, 0.45)


@dataclass(frozen=True)
class World:
    """The folders of the images, and the kind of leak of each planted training person."""

    synthetic: Path
    training: Path
    control: Path
    planted: dict[str, str]

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of leak, from the closest to the subtlest."""
        return tuple(dict.fromkeys(self.planted.values()))


def make_world(
    folder: Path, seed: int = 0, *, training: int = 400, control: int = 400, fresh: int = 400, planted: int = 24
) -> World:
    """Draws the images into ``folder``. Leaks ``planted`` people for each strength, and as many with new images."""
    model, rng = face_model(), np.random.default_rng(seed)
    people = model.sample(training, rng)
    names = [f"person-{i:04d}" for i in range(training)]
    _save(folder / "training", [f"{name}/1.png" for name in names], model.render(people))
    others = model.render(model.sample(control, rng))
    _save(folder / "control", [f"control-{i:04d}/1.png" for i in range(control)], others)

    chosen = rng.permutation(training)[: planted * (len(STRENGTHS) + 1)].reshape(len(STRENGTHS) + 1, planted)
    kinds: dict[str, str] = {}
    weights = [model.sample(fresh, rng)]
    for strength, rows in zip(STRENGTHS, chosen, strict=False):
        weights.append(model.perturb(people[rows], strength, rng))
        kinds |= {names[i]: f"changed image, noise {strength:g}" for i in rows}
    weights.append(model.new_images(people[chosen[-1]], rng))
    kinds |= {names[i]: "new image of the person" for i in chosen[-1]}
    synthetic = model.render(np.concatenate(weights)[rng.permutation(fresh + chosen.size)])
    _save(folder / "synthetic", [f"{i:05d}.png" for i in range(len(synthetic))], synthetic)

    world = World(folder / "synthetic", folder / "training", folder / "control", kinds)
    write_bytes(folder / "planted.json", json.dumps(kinds, indent=1).encode())
    return world


def _save(folder: Path, names: list[str], images: Images) -> None:
    for name, image in zip(names, images, strict=True):
        with replacing(folder / name) as file:
            Image.fromarray(image).save(file, "PNG")
