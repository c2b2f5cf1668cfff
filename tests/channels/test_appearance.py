"""The appearance channel: light, pose and hair of a face as a vector."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tests.builders import drawn_faces
from unveil.channels import AppearanceChannel, FaceChannel, FaceImage, face_image
from unveil.errors import ImageError
from unveil.faces.detectors import Detector, FaceChoice

FACES = drawn_faces(5)


def embedded(*images: np.ndarray) -> np.ndarray:
    channel = AppearanceChannel()
    return channel.embed(np.stack([channel.crop(FaceImage(image, aligned=True)) for image in images]))


def test_brightness_and_size_do_not_change_a_vector_and_another_face_does() -> None:
    face = FACES[0]
    darker = np.asarray(face * 0.6 + 20, np.uint8)
    smaller = np.array(Image.fromarray(face).resize((48, 48), Image.Resampling.BOX))
    vectors = embedded(face, darker, smaller, FACES[1])
    assert vectors.shape == (4, AppearanceChannel.dimension) and vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(4), abs=1e-5)
    cosine = vectors[0] @ vectors.T
    assert cosine[1] > 0.99 and cosine[2] > 0.97 and cosine[3] < 0.9


def test_a_cosine_is_the_normalised_correlation_of_the_coarse_images() -> None:
    a, b = (np.array(Image.fromarray(x).resize((112, 112), Image.Resampling.BILINEAR)) for x in FACES[2:4])
    small = [x.reshape(16, 7, 16, 7, 3).mean((1, 3)) for x in (a, b)]
    flat = [(np.rint(x) - np.rint(x).mean((0, 1))).ravel() for x in small]
    expected = flat[0] @ flat[1] / np.linalg.norm(flat[0]) / np.linalg.norm(flat[1])
    assert np.prod(embedded(a, b), axis=0).sum() == pytest.approx(expected, abs=0.01)


def test_an_image_of_one_colour_has_no_vector() -> None:
    assert not embedded(np.full((112, 112, 3), 90, np.uint8)).any()


def test_all_channels_share_one_detection(monkeypatch: pytest.MonkeyPatch) -> None:
    detections: list[int] = []

    def find(image: np.ndarray, detector: Detector) -> FaceChoice | None:
        detections.append(1)
        return None

    monkeypatch.setattr(face_image, "find_face", find)
    no_face = FaceImage(np.zeros((200, 200, 3), np.uint8), aligned=False)
    for channel in (FaceChannel(), AppearanceChannel(), AppearanceChannel()):
        with pytest.raises(ImageError, match="no face found"):
            channel.crop(no_face)
    assert detections == [1]
