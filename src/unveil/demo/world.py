"""A small world with a known leak: training people, control people, and a synthetic set that reproduces some."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from unveil.demo.faces import Pictures, face_model
from unveil.io.atomic import replacing, write_bytes

# Copies of training pictures, redrawn with this much noise in every component.
STRENGTHS = (0.1, 0.2, 0.3, 0.45)


@dataclass(frozen=True)
class World:
    """Where the pictures are, and which training people were planted how: person -> kind."""

    synthetic: Path
    training: Path
    control: Path
    planted: dict[str, str]

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of leak, from the plainest to the subtlest."""
        return tuple(dict.fromkeys(self.planted.values()))


def make_world(
    folder: Path, seed: int = 0, *, training: int = 400, control: int = 400, fresh: int = 400, planted: int = 24
) -> World:
    """Draws the pictures into ``folder``, with ``planted`` training people for each strength and for new pictures."""
    model, rng = face_model(), np.random.default_rng(seed)
    images = model.images(training, rng)
    names = [f"person-{i:04d}" for i in range(training)]
    _save(folder / "training", [f"{name}/1.png" for name in names], model.draw(images))
    others = model.draw(model.images(control, rng))
    _save(folder / "control", [f"control-{i:04d}/1.png" for i in range(control)], others)

    chosen = rng.permutation(training)[: planted * (len(STRENGTHS) + 1)].reshape(len(STRENGTHS) + 1, planted)
    kinds: dict[str, str] = {}
    weights = [model.images(fresh, rng)]
    for strength, rows in zip(STRENGTHS, chosen, strict=False):
        weights.append(model.redraw(images[rows], strength, rng))
        kinds |= {names[i]: f"picture redrawn, noise {strength:g}" for i in rows}
    weights.append(model.another_moment(images[chosen[-1]], rng))
    kinds |= {names[i]: "new picture of the person" for i in chosen[-1]}
    synthetic = model.draw(np.concatenate(weights)[rng.permutation(fresh + chosen.size)])
    _save(folder / "synthetic", [f"{i:05d}.png" for i in range(len(synthetic))], synthetic)

    world = World(folder / "synthetic", folder / "training", folder / "control", kinds)
    write_bytes(folder / "planted.json", json.dumps(kinds, indent=1).encode())
    return world


def _save(folder: Path, names: list[str], images: Pictures) -> None:
    for name, image in zip(names, images, strict=True):
        with replacing(folder / name) as file:
            Image.fromarray(image).save(file, "PNG")
