"""Small worlds and slow references for the tests."""

from __future__ import annotations

import io
import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

import unveil
from unveil.columns import Labels, People, Texts
from unveil.demo.faces import drawn_faces as drawn_faces
from unveil.progress import Silent
from unveil.results import IdentityFinding, IdentityFindings

SHARED = Path(__file__).parents[2] / "shared" / "data"

needs_real_data = pytest.mark.skipif(
    not SHARED.is_dir(), reason="real faces and networks (../shared/data) are not here; the drawn ones are tested"
)


# How many examples a property test tries: few in CI and on a developer's machine, many at night.
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "ci")
MAX_CI_EXAMPLES, NIGHTLY_FACTOR = 25, 20


def examples(n: int) -> hypothesis.settings:
    """Settings of a property test that tries about ``n`` examples; fewer in CI, more at night."""
    count = min(n, MAX_CI_EXAMPLES) if PROFILE == "ci" else n * NIGHTLY_FACTOR
    return hypothesis.settings(max_examples=count, deadline=None)


def audit(*sources: Path, **settings: Any) -> unveil.AuditResult:
    """`unveil.audit` of drawn faces, which are aligned, with the cheap setting of planted leaks."""
    made: unveil.Audit = unveil.audit(*sources, **{"planted_leaks": "quick", "aligned": "yes", **settings})
    return made


class StartedComparisons(Silent):
    """Records the pairs of each comparison that an audit starts."""

    def __init__(self) -> None:
        self.pairs: dict[str, int] = {}

    def start(self, stage: str, total: int, unit: str) -> None:
        if stage.startswith("comparing "):
            self.pairs[stage.removeprefix("comparing ")] = total


def unit_rows(rng: np.random.Generator, n: int, d: int) -> npt.NDArray[np.float32]:
    """Random unit vectors (n, d)."""
    x = rng.normal(size=(n, d))
    if d == 1:
        x = np.sign(x) + (x == 0)
    return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True), np.float32)


def save_embeddings(file: Path, vectors: npt.NDArray[np.float32], ids: list[str], people: list[str]) -> Path:
    """A file of unit vectors (N, D), with their ids and people, that an audit takes in place of images."""
    np.savez(file, vectors=vectors, ids=np.array(ids), people=np.array(people), model_id=np.array("drawn"))
    return file


def encoded(image: npt.NDArray[np.uint8], form: str = "PNG", **options: object) -> bytes:
    """An image as the bytes of a file."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, form, **options)
    return buffer.getvalue()


def write(path: Path, data: bytes | str) -> Path:
    """A file with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def identity_findings(*records: IdentityFinding) -> IdentityFindings:
    """Findings about identities in columns, as the analysis makes them."""
    columns: dict[str, list[Any]] = {f.name: [getattr(r, f.name) for r in records] for f in fields(IdentityFinding)}
    channels = list(dict.fromkeys(columns["channel"]))
    numbers = {name: np.array(columns[name], np.float64) for name in ("score", "q", "q_gpd")}
    return IdentityFindings(
        identity=Texts(columns["identity"]),
        score=numbers["score"],
        q=None if None in columns["q"] else numbers["q"],
        n_images=np.array(columns["n_images"], np.int64),
        n_agreeing=np.array(columns["n_agreeing"], np.int64),
        synthetic_id=Texts(columns["synthetic_id"]),
        training_id=Labels.of(columns["training_id"]),
        channel=People(Texts(channels), np.array([channels.index(name) for name in columns["channel"]], np.int32)),
        significant=np.array(columns["significant"], np.bool_),
        duplicate_of=Labels.of(columns["duplicate_of"]),
        q_gpd=None if None in columns["q_gpd"] else numbers["q_gpd"],
    )
