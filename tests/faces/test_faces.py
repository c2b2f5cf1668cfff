"""The default model against dlib, alignment against least squares, and weights that cannot be used."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dlib
import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto

from tests.builders import drawn_faces, write
from tests.models import described_model, small_model
from unveil.channels import FaceChannel, FaceImage
from unveil.channels.alignment import ImageAlignment, detect_aligned_crops
from unveil.errors import ImageError, ModelError
from unveil.faces import dlib_onnx
from unveil.faces.align import DLIB_IN_TEMPLATE, resize, similarity, warp
from unveil.faces.detectors import DlibDetector, find_face, with_border
from unveil.faces.embedding_model import EmbeddingModel, unit_rows
from unveil.faces.models import load_model
from unveil.faces.models.spec import ModelSpec
from unveil.faces.models.table import downloads, file_names, find_download, model_table, specs_by_name


def test_the_default_model_equals_dlib() -> None:
    weights = dlib_onnx.package_file(dlib_onnx.WEIGHTS)
    reference = dlib.face_recognition_model_v1(str(weights))
    channel = FaceChannel()
    crops = np.stack([channel.crop(FaceImage(face, aligned=True)) for face in drawn_faces(6)])
    assert crops.shape == (6, 150, 150, 3)
    raw = np.array([reference.compute_face_descriptor(crop) for crop in crops], np.float32)
    assert np.abs(channel.embed(crops) - unit_rows(raw)).max() < 1e-5
    assert (channel.name, channel.dimension) == ("face", 128)


def test_batches_and_threads_change_no_vector() -> None:
    """Inputs are built in memory that each thread uses again."""
    model = EmbeddingModel()
    crops = np.random.default_rng(0).integers(0, 256, (37, 150, 150, 3), np.uint8)
    with ThreadPoolExecutor(3) as pool:
        parts = list(pool.map(model.embed, [crops[:20], crops[20:21], crops[21:], crops[:0]]))
    alone = np.concatenate([model.embed(crop[None]) for crop in crops])
    assert np.array_equal(np.concatenate(parts), alone)


def test_conversion_gives_the_same_bytes_every_time_and_damage_is_an_error() -> None:
    raw = dlib_onnx.package_file(dlib_onnx.WEIGHTS).read_bytes()
    assert dlib_onnx.convert(raw) == dlib_onnx.convert(raw)
    with pytest.raises(ModelError, match="damaged"):
        dlib_onnx.convert(raw[:1_000_000])


@given(st.integers(0, 2**32))
def test_similarity_is_the_least_squares_solution(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points, template = rng.normal(size=(5, 2)) * 40, rng.normal(size=(5, 2)) * 40
    # x' = a x - b y + s, y' = b x + a y + t, solved as a linear system.
    rows = np.concatenate([[[x, -y, 1, 0], [y, x, 0, 1]] for x, y in points])
    a, b, s, t = np.linalg.lstsq(rows, template.ravel(), rcond=None)[0]
    assert np.allclose(similarity(points, template), [[a, -b, s], [b, a, t]], atol=1e-6)


def test_warp_puts_landmarks_on_the_template() -> None:
    image = np.zeros((200, 200, 3), np.uint8)
    points = DLIB_IN_TEMPLATE * 1.3 + 20
    for x, y in points:
        image[round(y) - 2 : round(y) + 3, round(x) - 2 : round(x) + 3] = 255
    crop = warp(image, similarity(points, DLIB_IN_TEMPLATE), 112)
    for x, y in DLIB_IN_TEMPLATE:
        assert crop[round(y), round(x)].min() > 200


def test_resize_leaves_the_right_size_alone() -> None:
    image = drawn_faces(1)[0]
    assert resize(image, 96) is image
    assert resize(image, 112).shape == (112, 112, 3)


def test_landmarks_of_a_face_are_where_it_was_drawn() -> None:
    face = drawn_faces(1, seed=4)[0]
    wide = with_border(face, 60)
    found = find_face(wide, DlibDetector())
    assert found is not None and found.n_faces == 1
    assert np.abs(found.face.landmarks - 60 - DLIB_IN_TEMPLATE * 96 / 112).max() < 12
    assert find_face(np.zeros((300, 200, 3), np.uint8), DlibDetector()) is None


def test_aligned_crops_are_recognised() -> None:
    faces = drawn_faces(20, seed=1)
    assert detect_aligned_crops(list(faces))[0] is True
    are_aligned, reason = detect_aligned_crops([with_border(face, 24) for face in faces])
    assert are_aligned is False and "px" in reason
    assert detect_aligned_crops([np.zeros((96, 96, 3), np.uint8)] * 5) == (
        False,
        "a face was detected in 0 of 5 sampled images",
    )


def test_alignment_covers_the_sizes_it_was_found_for() -> None:
    assert ImageAlignment(frozenset({96}), "").covers(96, 96) and not ImageAlignment(frozenset({96}), "").covers(96, 97)
    assert ImageAlignment(None, "").covers(96, 97) and not ImageAlignment(frozenset(), "").covers(96, 96)
    assert len({ImageAlignment(s, "").key for s in (None, frozenset(), frozenset({96}), frozenset({96, 112}))}) == 4


def test_crops_that_cannot_be_made_have_a_reason() -> None:
    channel = FaceChannel()
    with pytest.raises(ImageError, match="not an aligned crop"):
        channel.crop(FaceImage(np.zeros((96, 97, 3), np.uint8), aligned=True))
    with pytest.raises(ImageError, match="too little contrast"):
        channel.crop(FaceImage(np.full((96, 96, 3), 7, np.uint8), aligned=True))
    (face,) = drawn_faces(1)
    assert channel.crop(FaceImage(face, aligned=True)).shape[2] == 3
    with pytest.raises(ImageError, match="too little contrast"):  # twelve bits in sixteen
        channel.crop(FaceImage(face // 16, aligned=True))
    with pytest.raises(ImageError, match="no face found"):
        channel.crop(FaceImage(np.zeros((300, 200, 3), np.uint8), aligned=False))


def test_every_known_model_is_described() -> None:
    specs = model_table()
    assert len(specs) >= 13 and len(specs_by_name()) == len(specs)
    assert all(len(digest) == 64 and spec.licence and spec.sha256 == digest for digest, spec in specs.items())
    models = [spec for spec in specs.values() if isinstance(spec, ModelSpec)]
    assert len({spec.model_id for spec in models}) == len(models) >= 7
    for download in downloads().values():
        assert download.address.startswith("https://") and set(download.files.values()) <= set(specs)
        assert all(file in file_names()[sha] for file, sha in download.files.items())
    assert find_download("w600k_mbf") == downloads()["buffalo_sc"] and find_download("w600k_mbf_rebuilt") is None


def test_the_input_of_an_unknown_model_is_not_guessed(tmp_path: Path) -> None:
    model = write(tmp_path / "net.onnx", small_model())
    with pytest.raises(ModelError) as caught:
        EmbeddingModel(model)
    assert str(tmp_path / "net.toml") in str(caught.value) and "mean = [127.5" in str(caught.value)


@pytest.mark.parametrize("batch", ["N", 1])
def test_a_described_model_runs_with_its_preprocessing(tmp_path: Path, batch: int | str) -> None:
    crops = np.random.default_rng(0).integers(0, 256, (3, 112, 112, 3), np.uint8)
    rgb = EmbeddingModel(
        described_model(tmp_path, small_model(batch=batch), mean="[10.0, 20.0, 30.0]", std="[2.0, 4.0, 8.0]")
    )
    bgr = EmbeddingModel(described_model(tmp_path, small_model(batch=batch), channels='"BGR"'))
    weights = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    mean = crops.reshape(3, -1, 3).astype(np.float64).mean(1)
    assert np.allclose(
        rgb.embed(crops), unit_rows(((mean - [10, 20, 30]) / [2, 4, 8] @ weights).astype(np.float32)), atol=1e-4
    )
    assert np.allclose(
        bgr.embed(crops), unit_rows(((mean[:, ::-1] - 127.5) / 127.5 @ weights).astype(np.float32)), atol=2e-3
    )
    assert rgb.embed(crops[:0]).shape == (0, 4)
    assert rgb.spec.model_id != bgr.spec.model_id


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": '"GRAY"'}, "`channels` should be"),
        ({"alignment": '"mtcnn"'}, "`alignment` should be"),
        ({"input_size": "96"}, "`input_size` should be 112"),
        ({"mean": "[1, 2]"}, "`mean` should be three numbers"),
        ({"std": "[1, 0, 1]"}, "`std` should be"),
        ({"dimension": "-3"}, "`dimension` should be"),
        ({"dimension": "true"}, "`dimension` should be"),
        ({"name": "3"}, "`name` should be text"),
        ({"name": "= ="}, "not valid TOML"),
    ],
)
def test_the_error_of_a_wrong_description_names_the_key(tmp_path: Path, changes: dict[str, str], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        EmbeddingModel(described_model(tmp_path, small_model(), **changes))


def test_damaged_and_unsuitable_graphs_are_errors(tmp_path: Path) -> None:
    for weights, message in (
        (b"not onnx", "cannot be loaded"),
        (small_model()[:100], "cannot be loaded"),
        (small_model(outputs=2), "gives one vector"),
    ):
        with pytest.raises(ModelError, match=message):
            EmbeddingModel(described_model(tmp_path, weights))
    with pytest.raises(ModelError, match=r"vectors of 4, its description says 7"):
        EmbeddingModel(described_model(tmp_path, small_model(), dimension="7"))
    with pytest.raises(ModelError, match=r"takes images \(N, 3, 96, 96\).* axis 2 differs"):
        EmbeddingModel(described_model(tmp_path, small_model(size=96)))
    # A shape that the graph does not declare is checked when it runs.
    with pytest.raises(ModelError, match=r"vectors of 4, gave an array \(2, 8\) for 2"):
        EmbeddingModel(described_model(tmp_path, small_model(counting=True))).embed(
            np.full((2, 112, 112, 3), 9, np.uint8)
        )
    with pytest.raises(ModelError, match="no such file"):
        load_model(tmp_path / "gone.onnx")


def test_a_graph_cannot_read_other_files(tmp_path: Path) -> None:
    write(tmp_path / "secret.bin", np.zeros(12, np.float32).tobytes())
    model = onnx.load_from_string(small_model())
    weights = model.graph.initializer[0]
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "../secret.bin"), ("length", "48")):
        entry = weights.external_data.add()
        entry.key, entry.value = key, value
    with pytest.raises(ModelError, match=r"keeps its weights in another file \('../secret.bin'\)"):
        EmbeddingModel(described_model(tmp_path / "sub", model.SerializeToString()))


def test_rows_without_a_vector_are_zero() -> None:
    rows = unit_rows(np.array([[3, 4], [0, 0], [np.nan, 1], [np.inf, 1]], np.float32))
    assert rows.tolist() == [[0.6000000238418579, 0.800000011920929], [0, 0], [0, 0], [0, 0]]


def test_model_id_names_weights_and_preprocessing(tmp_path: Path) -> None:
    a, _ = load_model(described_model(tmp_path, small_model()))
    b, _ = load_model(described_model(tmp_path, small_model(), mean="[1.0, 2.0, 3.0]"))
    c, _ = load_model(described_model(tmp_path, small_model(), name='"another"'))
    assert a.sha256 == b.sha256 == hashlib.sha256(small_model()).hexdigest()
    assert a.model_id != b.model_id and a.model_id == c.model_id
