"""Two small sets of drawn faces that share people and images."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from tests.builders import encoded, write
from unveil.demo.faces import face_model

# Names that break a shell, a spreadsheet, a page and a terminal.
HOSTILE = ("=1+1", "a'b\"c", "-rf $HOME", "ünï\u202ecode", "<b>x</b>", "line\x1b[31m")


@dataclass(frozen=True)
class TwoSets:
    """Folders A and B, the people of A by the person of B whom they are, and the shared images by how."""

    a: Path
    b: Path
    people: dict[str, str]
    images: dict[str, str]


def draw_sets(folder: Path, *, people: int = 60, seed: int = 3) -> TwoSets:
    """A and B with ``people`` each and two images of each.

    The first 4 share a file, the next 4 a re-encoded image, and the next 12 other photographs.
    """
    model, rng = face_model(), np.random.default_rng(seed)
    weights = model.sample(people, rng)
    others = model.sample(people, rng)
    names_a = [HOSTILE[i] if i < len(HOSTILE) else f"a{i:03d}" for i in range(people)]
    names_b = [f"b{i:03d}" for i in range(people)]
    images: dict[str, str] = {}
    drawn = [model.render(w) for w in (weights, model.perturb(weights, 0.35, rng))]
    same = np.concatenate([weights[:20], others[20:]])
    again = [model.render(w) for w in (model.perturb(same, 0.35, rng), model.perturb(same, 0.35, rng))]
    for i in range(people):
        for k in range(2):
            write(folder / "a" / names_a[i] / f"{k}.png", encoded(drawn[k][i]))
            write(folder / "b" / names_b[i] / f"{k}.png", encoded(again[k][i]))
        if i < 4:
            write(folder / "b" / names_b[i] / "1.png", encoded(drawn[0][i]))
            images[f"{names_a[i]}/0.png"] = "bytes"
        elif i < 8:
            (folder / "b" / names_b[i] / "1.png").unlink()
            write(folder / "b" / names_b[i] / "1.jpg", jpeg(drawn[0][i]))
            images[f"{names_a[i]}/0.png"] = "near-duplicate"
    return TwoSets(folder / "a", folder / "b", dict(zip(names_a[:20], names_b[:20], strict=True)), images)


def jpeg(image: npt.NDArray[np.uint8], quality: int = 60) -> bytes:
    """An image, re-encoded."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
