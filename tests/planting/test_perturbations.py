"""Planted changes: each kind does what it says, weaker before stronger, the same at each reading."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from tests.builders import drawn_faces, encoded
from unveil.images import decode_rgb
from unveil.planting import PERTURBATIONS, QUICK, Perturbation, PlantedImage, PlantedSource, perturb

FACES = [np.array(Image.fromarray(f).resize((112, 112))) for f in drawn_faces(6, 3)]
WHOLE = slice(0, 112)


def changed(how: Perturbation, image: np.ndarray = FACES[0], face: slice = WHOLE) -> np.ndarray:
    return perturb(image, how, face, FACES[1], np.random.default_rng(0))


def apart(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(float) - b).mean())


@pytest.mark.parametrize("how", PERTURBATIONS, ids=lambda c: f"{c.kind} {c.strength}")
def test_changes_keep_the_size_and_change_something(how: Perturbation) -> None:
    image = FACES[0].copy()
    out = changed(how, image)
    assert out.shape == image.shape and out.dtype == np.uint8 and apart(out, image) > 0
    assert np.array_equal(image, FACES[0]), "the original stays as it is"
    framed = np.pad(image, ((56, 56), (56, 56), (0, 0)), mode="edge")
    assert changed(how, framed, slice(56, 168)).shape == (224, 224, 3)


def test_each_kind_goes_from_weak_to_strong() -> None:
    for kind in dict.fromkeys(c.kind for c in PERTURBATIONS):
        steps = [np.mean([apart(changed(c, f), f) for f in FACES]) for c in PERTURBATIONS if c.kind == kind]
        assert steps == sorted(steps), kind
    assert set(QUICK) <= set(PERTURBATIONS) and len(QUICK) == 7


def test_what_each_kind_does() -> None:
    face = FACES[0]
    by = {(c.kind, c.amount): changed(c) for c in PERTURBATIONS}
    assert np.array_equal(by["flip", 1], face[:, ::-1])
    blend = np.round(0.7 * face + 0.3 * FACES[1]).astype(np.uint8)
    assert np.abs(by["blend", 0.7].astype(int) - blend).max() <= 1
    hidden = (by["occlude", 0.25] == 128).all(-1)
    assert hidden.mean() == pytest.approx(0.25, abs=0.02)
    assert by["colour", 0.9].std(-1).mean() < face.std(-1).mean()
    reference = decode_rgb(encoded(face, "JPEG", quality=30))
    assert apart(by["re-encode", 30], reference) < 4
    framed = np.pad(face, ((56, 56), (56, 56), (0, 0)), mode="edge")
    mixed = changed(Perturbation("blend", 0.5, ""), framed, slice(56, 168))
    assert np.array_equal(mixed[:56], framed[:56]), "only the face is blended"


@pytest.mark.parametrize("margin", [0, 56])
def test_another_alignment_moves_the_face_by_so_many_pixels(margin: int) -> None:
    """An image whose colours are coordinates shows where each of its pixels comes from."""
    y, x = np.mgrid[: 112 + 2 * margin, : 112 + 2 * margin].astype(np.uint8)
    image, face = np.stack([x, y, np.zeros_like(x)], axis=-1), slice(margin, margin + 112)
    for amount in (2, 4, 6):
        moved = []
        for seed in range(20):
            how = Perturbation("realign", amount, "")
            out = perturb(image, how, face, FACES[1], np.random.default_rng(seed)).astype(float)
            # At the edge of a crop without a margin, pixels repeat.
            inner = slice(face.start + 12, face.stop - 12)
            moved.append(((out - image)[inner, inner, :2] ** 2).sum(-1).mean() ** 0.5)
        assert 0.7 * amount < np.mean(moved) < 1.1 * amount
        assert np.std(moved) > 0, "shift, zoom and rotation differ"


def test_planted_images_are_the_same_at_each_reading() -> None:
    plants = [PlantedImage(f"p{i}", FACES[i], 0, FACES[i + 1]) for i in range(2)]
    source = PlantedSource(plants, PERTURBATIONS, [1, 2])
    assert len(source.records) == 2 * len(PERTURBATIONS)
    for record in source.records[:: len(PERTURBATIONS) // 2]:
        data = source.read(record)
        assert data == source.read(record) == PlantedSource(plants, PERTURBATIONS, [1, 2]).read(record)
        i, k = PlantedSource.indices(record.id)
        rng = np.random.default_rng([1, 2, i, k])
        with Image.open(io.BytesIO(data)) as image:
            assert np.array_equal(np.array(image), perturb(FACES[i], PERTURBATIONS[k], WHOLE, FACES[i + 1], rng))
    occluded = next(r for r in source.records if PERTURBATIONS[PlantedSource.indices(r.id)[1]].kind == "occlude")
    assert source.read(occluded) != PlantedSource(plants, PERTURBATIONS, [1, 3]).read(occluded)
