"""Similarity of images: copies, mirrored and shifted ones, against slow references; quality; copy-detection models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper
from PIL import Image

from tests.builders import drawn_faces, write
from unveil.channels import CopyChannel, FaceChannel, FaceImage, quality_features, realigned_face
from unveil.channels.similarity import ImageDescriptor, correlation, describe_image, detail_correlation, hash_distance
from unveil.errors import ModelError

FACES = [np.array(Image.fromarray(f).resize((112, 112))) for f in drawn_faces(8, 5)]


def describe(image: np.ndarray) -> ImageDescriptor:
    return describe_image(image, [image])


def test_an_image_is_similar_to_itself_mirrored_and_shifted() -> None:
    face = FACES[0]
    own = describe(face)
    mirrored = describe(np.ascontiguousarray(face[:, ::-1]))
    assert (
        correlation(own, own) == pytest.approx(1)
        and detail_correlation(own, own) == pytest.approx(1)
        and hash_distance(own, own) == 0
    )
    assert correlation(own, mirrored) == pytest.approx(1, abs=1e-5) and hash_distance(own, mirrored) == 0
    shifted = describe(np.roll(face, (2, -3), (0, 1)))
    assert correlation(own, shifted) > 0.99 and detail_correlation(own, shifted) > 0.9
    others = [correlation(own, describe(f)) for f in FACES[1:]]
    assert max(others) < 0.95 and min(hash_distance(own, describe(f)) for f in FACES[1:]) > 40


def test_correlation_equals_a_slow_reference() -> None:
    a, b = describe(FACES[1]), describe(FACES[2])
    (first,), (second,) = a.faces, b.faces
    slow = -1.0
    for other in (second.coarse, second.coarse[:, ::-1]):
        inner = other[3:-3, 3:-3]
        for y in range(7):
            for x in range(7):
                window = first.coarse[y : y + 42, x : x + 42]
                slow = max(slow, float(np.corrcoef(window.ravel(), inner.ravel())[0, 1]))
    assert correlation(a, b) == pytest.approx(slow, abs=1e-4)


def test_images_without_structure_are_similar_to_none() -> None:
    flat = describe(np.full((112, 112, 3), 90, np.uint8))
    assert correlation(flat, describe(FACES[0])) == 0 == detail_correlation(flat, flat)


def test_the_most_similar_of_several_alignments_counts() -> None:
    a, b = describe_image(FACES[0], [FACES[1], FACES[2]]), describe_image(FACES[3], [FACES[4], FACES[2]])
    assert correlation(a, b) == pytest.approx(1) and hash_distance(a, b) == 0


def test_realignment_undoes_a_rotation() -> None:
    face = FACES[0]
    rotated = np.array(Image.fromarray(face).rotate(15, Image.Resampling.BILINEAR))
    before = correlation(describe(face), describe(rotated))
    after = correlation(describe(realigned_face(face)), describe(realigned_face(rotated)))
    assert after > 0.9 and after > before + 0.05


def test_whole_images_are_compared_if_faces_were_detected_elsewhere() -> None:
    """An image is a copy of itself, whichever of its faces was detected."""
    photograph = np.concatenate([FACES[3], FACES[4]], axis=1)
    assert hash_distance(describe_image(photograph, [FACES[3]]), describe_image(photograph, [FACES[4]])) == 0


def test_quality_features_by_hand() -> None:
    grey = np.full((50, 50, 3), 100, np.uint8)
    sharpness, brightness, contrast, colour, size = quality_features(FaceImage(grey, aligned=True))
    assert (sharpness, brightness, contrast, colour) == pytest.approx((0, 100, 0, 0), abs=1e-4)
    assert size == pytest.approx(np.log2(50), abs=1e-5)
    blurred = np.array(Image.fromarray(FACES[0]).resize((28, 28)).resize((112, 112)))
    assert (
        quality_features(FaceImage(blurred, aligned=True))[0] < quality_features(FaceImage(FACES[0], aligned=True))[0]
    )
    red = np.zeros((112, 112, 3), np.uint8)
    red[..., 0] = 200
    assert quality_features(FaceImage(red, aligned=True))[3] > 50


def tiny_model(path: Path, alignment: str = "whole", size: int = 32) -> Path:
    """A model whose vector is the 8 x 8 means of an image. It needs no download."""
    nodes = [
        helper.make_node("AveragePool", ["image"], ["small"], kernel_shape=[size // 8] * 2, strides=[size // 8] * 2),
        helper.make_node("Flatten", ["small"], ["vector"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, size, size])],
        [helper.make_tensor_value_info("vector", TensorProto.FLOAT, ["n", 192])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    write(path, model.SerializeToString())
    write(
        path.with_suffix(".toml"),
        f'name = "tiny"\ninput_size = {size}\nchannels = "RGB"\nmean = [127.5, 127.5, 127.5]\nstd = [64, 64, 64]\n'
        f'alignment = "{alignment}"\ndimension = 192\n',
    )
    return path


def test_a_copy_detection_model_embeds_whole_images(tmp_path: Path) -> None:
    channel = CopyChannel(tiny_model(tmp_path / "sscd.onnx"))
    photograph = np.concatenate([FACES[3], FACES[4]], axis=1)
    images = [photograph, FACES[0], np.array(Image.fromarray(photograph).resize((150, 90)))]
    vectors = channel.embed(np.stack([channel.crop(FaceImage(image, aligned=False)) for image in images]))
    assert vectors.shape == (3, 192) and vectors[0] @ vectors[2] > 0.99 > vectors[0] @ vectors[1]


def test_face_and_copy_detection_models_are_not_interchangeable(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"see --copy-model"):
        FaceChannel(tiny_model(tmp_path / "copy.onnx"))
    with pytest.raises(ModelError, match=r'alignment = "whole"'):
        CopyChannel(tiny_model(tmp_path / "face.onnx", "arcface112", 112))
