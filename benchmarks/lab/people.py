"""Real people split into those a generator learns and those it never sees."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from unveil.images import Source, decode_rgb, open_source

Pictures = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Faces:
    """Aligned faces (N, S, S, 3) RGB, their ids, and the code (N,) of each one's person."""

    source: Source
    ids: tuple[str, ...]
    images: Pictures
    person: npt.NDArray[np.int64]
    names: tuple[str, ...]

    def learnt(self, n_people: int, seed: int) -> npt.NDArray[np.bool_]:
        """The pictures (N,) of the people that a generator of this size and seed is trained on."""
        chosen = np.random.default_rng([seed, n_people]).permutation(len(self.names))[:n_people]
        return np.isin(self.person, chosen)


def load(path: Path, side: int) -> Faces:
    """Every face of a source of aligned crops, scaled to ``side`` pixels."""
    source = open_source(path)
    records = [r for r in source.records if r.person is not None]
    images = [cv2.resize(decode_rgb(source.read(r)), (side, side), interpolation=cv2.INTER_AREA) for r in records]
    names, person = np.unique([str(r.person) for r in records], return_inverse=True)
    return Faces(
        source, tuple(r.id for r in records), np.stack(images), person.astype(np.int64), tuple(str(n) for n in names)
    )
