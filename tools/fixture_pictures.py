"""Twelve small pictures of people who do not exist, for the container fixtures. `python tools/fixture_pictures.py`."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from unveil.demo.faces import face_model

FOLDER = Path(__file__).parents[1] / "tests/fixtures/pictures"
PEOPLE, EACH = 4, 3


def main() -> None:
    model, rng = face_model(), np.random.default_rng(6)
    people = model.sample(PEOPLE, rng)
    for each in range(EACH):
        for person, face in enumerate(model.render(model.perturb(people, 0.2, rng))):
            buffer = io.BytesIO()
            Image.fromarray(face).save(buffer, "JPEG", quality=80)
            file = FOLDER / f"{person}/{person * EACH + each}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(buffer.getvalue())


if __name__ == "__main__":
    main()
