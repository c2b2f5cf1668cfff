"""The compiled code for faces against dlib and NumPy, to the last bit, on drawn, random and hostile input."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import drawn_faces
from unveil import native
from unveil.faces.align import ImageArray
from unveil.faces.detectors import dlib_kernel, faces_in_crops
from unveil.faces.detectors.base import Box
from unveil.faces.detectors.dlib_kernel import (
    LANDMARKS,
    DlibKernel,
    crop_by_dlib,
    cut_face,
    equals_dlib,
    landmarks_by_dlib,
    locate_landmarks,
    open_kernel,
)
from unveil.faces.dlib_onnx import package_file
from unveil.faces.planes import normalised_planes, planes_by_numpy

pytestmark = pytest.mark.skipif(native.load_faces() is None, reason="no compiled kernel")

LANDMARK_FILE = package_file(LANDMARKS).read_bytes()


@pytest.fixture(scope="module", params=[False, True], ids=["vector", "plain"])
def kernel(request: pytest.FixtureRequest) -> DlibKernel:
    opened = open_kernel(plain=request.param)
    assert opened is not None
    return opened


def hostile_image(rng: np.random.Generator) -> ImageArray:
    """Noise, flat squares, a gradient or one value, of any shape down to one pixel."""
    height, width = rng.integers(1, 200, 2)
    kind = rng.integers(4)
    if kind == 0:
        return rng.integers(0, 256, (height, width, 3), np.uint8)
    if kind == 1:
        coarse = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
        return np.ascontiguousarray(coarse.repeat(8, axis=0).repeat(8, axis=1))
    if kind == 2:
        ramp = np.add.outer(np.arange(height), np.arange(width)) % 256
        return np.repeat(ramp[:, :, None], 3, axis=2).astype(np.uint8)
    return np.full((height, width, 3), rng.integers(256), np.uint8)


def hostile_box(rng: np.random.Generator, image: ImageArray) -> Box:
    """A box inside, across or outside an image, at times turned over or without area."""
    scale = (0.5, 1.0, 30.0)[rng.integers(3)] * max(image.shape)
    left, top, width, height = (rng.normal(size=4) * scale).tolist()
    return (left, top, left + width, top + height) if rng.random() < 0.9 else (left, top, left, top)


def assert_dlibs_landmarks(kernel: DlibKernel, images: list[ImageArray], boxes: list[Box]) -> None:
    found = kernel.landmarks(images, boxes)
    assert found is not None and found.shape == (len(images), 5, 2)
    assert np.array_equal(found, landmarks_by_dlib(images, boxes))


def test_drawn_faces_give_dlibs_landmarks_and_crops(kernel: DlibKernel) -> None:
    for side in (64, 96, 112, 224):
        for face in drawn_faces(6, seed=side):
            image = np.ascontiguousarray(np.resize(face, (side, side, 3))) if side < 96 else face
            landmarks = faces_in_crops([image])[0].landmarks
            box = (0.13 * side, 0.24 * side, 0.9 * side, 1.01 * side)
            assert_dlibs_landmarks(kernel, [image], [box])
            crop = kernel.crop(image, landmarks, 150)
            assert crop is not None and np.array_equal(crop, crop_by_dlib(image, landmarks, 150))


@given(st.integers(0, 2**32))
def test_landmarks_are_dlibs_on_hostile_images_and_boxes(kernel: DlibKernel, seed: int) -> None:
    rng = np.random.default_rng(seed)
    images = [hostile_image(rng) for _ in range(rng.integers(0, 20))]
    assert_dlibs_landmarks(kernel, images, [hostile_box(rng, image) for image in images])


@given(st.integers(0, 2**32))
def test_crops_are_dlibs_on_hostile_images_and_landmarks(kernel: DlibKernel, seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = hostile_image(rng)
    size = int(rng.integers(2, 300))
    face = np.array([[0.7, 0.3], [0.6, 0.3], [0.25, 0.3], [0.4, 0.3], [0.5, 0.55]])
    scale = (0.05, 0.5, 1.0, 3.0)[rng.integers(4)] * max(image.shape)
    noise = (0.0, 0.03, 1.0)[rng.integers(3)]
    landmarks = np.rint((face + rng.normal(size=(5, 2)) * noise) * scale + rng.normal(size=2) * 20)
    found = kernel.crop(image, landmarks, size)
    if found is not None:
        assert np.array_equal(found, crop_by_dlib(image, landmarks, size))


def test_most_crops_are_cut_and_reduced_ones_are_left_to_dlib(kernel: DlibKernel) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (400, 400, 3), np.uint8)
    face = np.array([[300, 101], [240, 100], [100, 100], [160, 103], [200, 220]], np.float64)
    assert kernel.crop(image, face, 150) is None and kernel.crop(image, face, 350) is not None
    assert kernel.crop(image, np.full((5, 2), 40.0), 150) is None
    for far in (1e12, np.inf, np.nan):
        assert kernel.crop(image, np.array([*face[:4], [far, 3]]), 350) is None
    assert kernel.landmarks([image], [(0, 0, 1e12, 9)]) is None
    # Whoever calls gets dlib's crop all the same.
    assert np.array_equal(cut_face(image, face, 150), crop_by_dlib(image, face, 150))


def test_a_view_of_an_image_is_read_with_its_strides(kernel: DlibKernel) -> None:
    image = drawn_faces(1)[0]
    wide = np.zeros((96, 200, 6), np.uint8)
    wide[:, 50:146, ::2] = image
    view = wide[:, 50:146, ::2]
    box = (13.0, 23.0, 86.0, 97.0)
    points = kernel.landmarks([image, view], [box, box])
    assert points is not None and np.array_equal(points[0], points[1])
    mirrored, of_view = kernel.crop(image[:, ::-1].copy(), points[0], 150), kernel.crop(view[:, ::-1], points[0], 150)
    assert mirrored is not None and of_view is not None and np.array_equal(of_view, mirrored)
    with pytest.raises(ValueError, match=r"should be \(H, W, 3\) uint8"):
        kernel.landmarks([image[:, :, 0]], [box])


def test_a_damaged_landmark_file_is_no_model() -> None:
    loaded = native.load_faces()
    assert loaded is not None
    rng = np.random.default_rng(0)
    ends = [*range(300), *rng.integers(0, len(LANDMARK_FILE), 40).tolist(), len(LANDMARK_FILE) - 1]
    assert not any(loaded.read_landmark_model(LANDMARK_FILE[:end]) for end in ends)
    assert loaded.read_landmark_model(LANDMARK_FILE + b"\0") is None
    for at in range(300):
        for value in (0, 0x08, 0x88, 0xFF):
            changed = LANDMARK_FILE[:at] + bytes([value]) + LANDMARK_FILE[at + 1 : 5000]
            assert loaded.read_landmark_model(changed) is None


def test_a_landmark_file_with_other_numbers_runs_within_its_arrays() -> None:
    """A changed file may still be a model. Its landmarks may be anything, in memory that is its own."""
    loaded = native.load_faces()
    assert loaded is not None
    rng, image = np.random.default_rng(1), drawn_faces(1)[0]
    n_models = 0
    for _ in range(12):
        changed = np.frombuffer(LANDMARK_FILE, np.uint8).copy()
        changed[rng.integers(60, len(changed), 3)] ^= rng.integers(1, 256, 3, np.uint8)
        model = loaded.read_landmark_model(changed.tobytes())
        if model is not None:
            n_models += 1
            assert DlibKernel(loaded, model).landmarks([image], [(10, 20, 90, 95)]) is not None
    assert n_models


@given(st.integers(0, 2**32))
def test_planes_are_numpys(seed: int) -> None:
    rng = np.random.default_rng(seed)
    side = int(rng.integers(1, 40))
    crops = rng.integers(0, 256, (int(rng.integers(0, 4)), side, side, 3), np.uint8)
    mean, scale = (rng.normal(size=3) * 100).astype(np.float32), rng.normal(size=3).astype(np.float32)
    for channels in ("RGB", "BGR"):
        found, expected = np.full((2, len(crops), 3, side, side), np.nan, np.float32)
        normalised_planes(crops, channels, mean, scale, found)
        planes_by_numpy(crops, channels, mean, scale, expected)
        assert np.array_equal(found, expected)


@pytest.fixture
def forgotten() -> Iterator[None]:
    """The choice between kernel and dlib is made again, before and after."""
    caches = (native.load_faces, dlib_kernel._trusted_kernel)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


@pytest.mark.usefixtures("forgotten")
@pytest.mark.parametrize("reason", ["no library", "another version", "another result"])
def test_dlib_is_used_without_a_kernel_that_gives_its_results(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, reason: str
) -> None:
    image, box = drawn_faces(1)[0], (13.0, 23.0, 86.0, 97.0)
    expected = landmarks_by_dlib([image], [box])
    if reason == "no library":
        monkeypatch.setattr(native.library, "HERE", tmp_path)
    elif reason == "another version":
        monkeypatch.setattr(native.faces, "FACES_VERSION", native.faces.FACES_VERSION + 1)
    else:
        monkeypatch.setattr(DlibKernel, "landmarks", lambda _, images, boxes: np.zeros((len(images), 5, 2)))
    assert dlib_kernel._trusted_kernel() is None
    assert np.array_equal(locate_landmarks([image], [box]), expected)
    assert np.array_equal(cut_face(image, expected[0], 150), crop_by_dlib(image, expected[0], 150))


def test_a_kernel_whose_crops_differ_is_noticed(kernel: DlibKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    assert equals_dlib(kernel)
    cut = kernel.crop

    def one_level_lower(image: ImageArray, landmarks: np.ndarray, size: int) -> ImageArray | None:
        crop = cut(image, landmarks, size)
        if crop is not None:
            crop[size // 2, size // 2] ^= 1
        return crop

    monkeypatch.setattr(kernel, "crop", one_level_lower)
    assert not equals_dlib(kernel)
