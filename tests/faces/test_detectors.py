"""Detectors in ONNX form: decoding against drawn spots, hostile graphs, and the rule that chooses a face."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.transform import SimilarityTransform

from tests.builders import SHARED, drawn_faces, examples, needs_real_data, write
from tests.models import DETECTOR, HALF, described_model, small_model, spot_detector
from unveil.channels import FaceChannel, FaceImage
from unveil.errors import ImageError, ModelError
from unveil.faces.align import ARCFACE_TEMPLATE, DLIB_IN_TEMPLATE, similarity
from unveil.faces.detectors import (
    DetectedFace,
    DlibDetector,
    Face,
    GridDetector,
    find_face,
    open_detector,
    rule,
    with_border,
)

YUNET = SHARED / "models/yunet/face_detection_yunet_2023mar.onnx"
SCRFD = SHARED / "models/scrfd/det_500m.onnx"


@given(st.integers(0, 2**32))
def test_alignment_is_the_least_squares_similarity(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = ARCFACE_TEMPLATE * rng.uniform(0.2, 9) + rng.normal(size=(5, 2)) * 6 + rng.uniform(-400, 400, 2)
    reference = SimilarityTransform.from_estimate(points, ARCFACE_TEMPLATE)
    ours = similarity(points, ARCFACE_TEMPLATE)
    mapped = points @ ours[:, :2].T + ours[:, 2]
    assert np.abs(mapped - reference(points)).max() < 1e-3


def spot(rows: int, columns: int, x: int, y: int) -> np.ndarray:
    image = np.zeros((rows, columns, 3), np.uint8)
    image[y, x] = 255
    return image


@pytest.mark.parametrize("family", ["yunet", "scrfd"])
@pytest.mark.parametrize("side", [None, 320])
def test_a_spot_is_found_where_it_is(tmp_path: Path, family: str, side: int | None) -> None:
    detector = GridDetector(spot_detector(tmp_path, family, side=side))
    (found, *others) = detector.detect(spot(200, 300, 170, 90))
    # One spot is a cell of each of three grids. Boxes of different sizes do not overlap enough to be one face.
    assert len(others) == 2
    corner = np.array([168, 88])
    assert np.allclose(np.array(found.box).reshape(2, 2), [corner - 8 * HALF, corner + 8 * HALF], atol=1e-3)
    face = detector.face(np.zeros((200, 300, 3), np.uint8), found)
    assert np.allclose(face.landmarks, corner + (ARCFACE_TEMPLATE - 56) / 56 * 8 * HALF, atol=1e-3)
    assert face.size == pytest.approx(2 * 8 * HALF)
    assert detector.detect(np.zeros((64, 64, 3), np.uint8)) == []


def test_a_graph_that_declares_one_size_but_needs_none_accepts_any(tmp_path: Path) -> None:
    fixed, free = (GridDetector(spot_detector(tmp_path / n, side=s)) for n, s in (("a", 640), ("b", None)))
    image = np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8)
    declared, open_size = ([one.box for one in d.detect(image)] for d in (fixed, free))
    assert declared == open_size


def test_colours_are_in_the_order_of_the_description(tmp_path: Path) -> None:
    blue = np.zeros((64, 64, 3), np.uint8)
    blue[20, 20] = (0, 0, 255)
    assert GridDetector(spot_detector(tmp_path / "bgr")).detect(blue)
    assert not GridDetector(spot_detector(tmp_path / "rgb", channels="RGB")).detect(blue)


def test_the_key_names_the_description_too(tmp_path: Path) -> None:
    """Stores, runs and guards compare it: with another mean or order of channels, other faces are found."""
    file = spot_detector(tmp_path)
    key, text = GridDetector(file).key, (tmp_path / "spots.toml").read_text()
    for changed in (text.replace("mean = [0.0", "mean = [9.0"), text.replace('"BGR"', '"RGB"')):
        write(tmp_path / "spots.toml", changed)
        assert GridDetector(file).key != key
    write(tmp_path / "spots.toml", text.replace('"spots"', '"renamed"'))
    assert GridDetector(file).key == key


@examples(25)
@given(
    st.sampled_from(["cls", "obj", "bbox", "kps"]),
    st.sampled_from([np.nan, np.inf, -np.inf, 1e30, -1e30, 88.0]),
    st.sampled_from(["yunet", "scrfd"]),
)
def test_values_that_are_not_finite_give_no_face(
    tmp_path_factory: pytest.TempPathFactory, kind: str, value: float, family: str
) -> None:
    detector = GridDetector(spot_detector(tmp_path_factory.mktemp("spots"), family, bias={kind: value}))
    for found in detector.detect(spot(96, 64, 40, 40)):
        assert np.isfinite(found.box).all() and found.landmarks is not None and np.isfinite(found.landmarks).all()
    with_face = FaceImage(spot(96, 64, 40, 40), aligned=False, detector=detector)
    try:
        assert with_face.aligned_crop.shape == (112, 112, 3)
    except ImageError as error:
        assert error.stage == "detect"


def test_graphs_that_are_not_detectors_are_errors(tmp_path: Path) -> None:
    text = DETECTOR.format(family="yunet", channels="BGR")
    model = write(tmp_path / "net.onnx", small_model(size=64))
    write(tmp_path / "net.toml", text)
    with pytest.raises(ModelError, match=r"gives cls, obj, bbox, kps .* 12 outputs; this graph has \['y0'\]"):
        GridDetector(model)
    model = write(tmp_path / "net.onnx", small_model(size=64, outputs=12, batch=1))
    with pytest.raises(ModelError, match=r"cls of stride 8 should have 64 x 1 numbers .* got \(1, 4\)"):
        GridDetector(model).detect(np.zeros((64, 64, 3), np.uint8))
    model = write(tmp_path / "net.onnx", small_model(size=100, outputs=12, batch=1))
    with pytest.raises(ModelError, match=r"open or square input was expected, got \(1, 3, 100, 100\)"):
        GridDetector(model)
    with pytest.raises(ModelError, match=r"is an embedding model .* a face detector was expected"):
        open_detector(described_model(tmp_path / "recogniser", small_model()))
    with pytest.raises(ModelError, match="is a face detector"):
        FaceChannel(spot_detector(tmp_path / "spots"))


@dataclass
class FakeDetector:
    """A detector that returns given answers and records the sizes of the images."""

    answers: list[list[DetectedFace]]
    sizes: list[tuple[int, int]] = field(default_factory=list)
    name = key = licence = runtime = "fake"
    min_side, max_side = 100, 400

    def detect(self, image: np.ndarray) -> list[DetectedFace]:
        self.sizes.append((image.shape[1], image.shape[0]))
        return self.answers[len(self.sizes) - 1] if len(self.sizes) <= len(self.answers) else []

    def face(self, image: np.ndarray, detected: DetectedFace) -> Face:
        left, top, right, bottom = detected.box
        middle = np.array([left + right, top + bottom]) / 2
        return Face(middle + (ARCFACE_TEMPLATE - 56) * (right - left) / 112, ARCFACE_TEMPLATE)


def test_the_largest_face_near_the_centre_is_chosen() -> None:
    blank = np.zeros((200, 200, 3), np.uint8)
    middle, larger_at_the_edge, small = (
        DetectedFace((80, 80, 120, 120)),
        DetectedFace((0, 0, 50, 50)),
        DetectedFace((99, 99, 101, 101)),
    )
    found = find_face(blank, FakeDetector([[larger_at_the_edge, middle, small]]))
    assert found is not None and found.n_faces == 3
    assert np.allclose(found.face.landmarks.mean(0), 100 + (ARCFACE_TEMPLATE - 56).mean(0) * 40 / 112)
    image = FaceImage(blank, aligned=False, detector=FakeDetector([[larger_at_the_edge, middle, small]]))
    assert image.aligned_crop.shape == (112, 112, 3) and image.n_faces == 3


def test_images_are_resized_for_the_detector_and_detection_is_retried() -> None:
    for size, sizes in (
        ((50, 40), [(100, 80), (100, 86), (200, 160)]),  # enlarged; with a border of 12 a side; at twice the size
        ((800, 400), [(400, 200), (400, 267)]),  # reduced; no room for twice the size
        ((180, 200), [(180, 200), (280, 300), (360, 400)]),
    ):
        nobody = FakeDetector([])
        assert find_face(np.zeros((size[1], size[0], 3), np.uint8), nobody) is None
        assert nobody.sizes == sizes, size
    small = FakeDetector([[DetectedFace((20, 20, 60, 60))]])
    found = find_face(np.zeros((40, 50, 3), np.uint8), small)
    assert found is not None and found.face.size == pytest.approx(20), "in pixels of the image itself"
    framed = FakeDetector([[], [DetectedFace((70, 70, 170, 170))]])
    found = find_face(np.zeros((200, 180, 3), np.uint8), framed)
    assert found is not None
    assert np.allclose(found.face.landmarks.mean(0), 120 - 50 + (ARCFACE_TEMPLATE - 56).mean(0) * 100 / 112)


def test_a_border_around_a_long_image_takes_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A border of a quarter of the longer side around 40,000 x 16 pixels would take 3.6 gigabytes."""
    borders = []

    def noted(image: np.ndarray, width: int) -> np.ndarray:
        borders.append((image.shape[0] + 2 * width) * (image.shape[1] + 2 * width))
        return with_border(image, width)

    monkeypatch.setattr(rule, "with_border", noted)
    assert find_face(np.zeros((16, 40_000, 3), np.uint8), FakeDetector([])) is None
    assert borders and max(borders) <= 1.01 * rule.MAX_BORDERED
    # In a reduced image the face is where it is without the limit.
    places = []
    for limit in (rule.MAX_BORDERED, 240_000):
        monkeypatch.setattr(rule, "MAX_BORDERED", limit)
        found = find_face(np.zeros((400, 400, 3), np.uint8), FakeDetector([[], [DetectedFace((70, 70, 170, 170))]]))
        assert found is not None
        places.append(found.face.landmarks)
    assert borders[-1] <= 240_000 < borders[-2] and np.allclose(places[0], places[1], atol=2)


def test_a_tiny_face_is_a_reject_with_its_size() -> None:
    image = FaceImage(
        np.zeros((200, 200, 3), np.uint8), aligned=False, detector=FakeDetector([[DetectedFace((90, 90, 110, 110))]])
    )
    with pytest.raises(ImageError, match=r"face too small: 20 pixels across its crop, at least 32 are needed"):
        _ = image.aligned_crop


def test_the_default_model_gets_dlibs_crop_with_any_detector() -> None:
    """The default model was trained on crops by dlib's landmarks: those are located in the box of any detector."""
    image = with_border(drawn_faces(1, seed=4)[0], 60)
    channel, by_dlib = FaceChannel(), find_face(image, DlibDetector())
    assert by_dlib is not None
    matrix = similarity(by_dlib.face.landmarks, DLIB_IN_TEMPLATE)
    back = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
    corners = np.array([[0, 0, 1], [112, 112, 1]]) @ back.T
    box = (corners[0, 0], corners[0, 1], corners[1, 0], corners[1, 1])
    own = channel.crop(FaceImage(image, aligned=False))
    others = channel.crop(FaceImage(image, aligned=False, detector=FakeDetector([[DetectedFace(box)]])))
    assert own.shape == others.shape == (150, 150, 3)
    ours, theirs = channel.embed(np.stack([own, others]))
    assert ours @ theirs > 0.97


@pytest.mark.real
@needs_real_data
@pytest.mark.parametrize("model", [YUNET, SCRFD], ids=["yunet", "scrfd"])
def test_real_detectors_agree_with_the_crops_of_others(model: Path) -> None:
    from unveil.images import decode_rgb, open_source

    detector = open_detector(model)
    channel = FaceChannel(SHARED / "models/w600k_mbf/w600k_mbf_dequant_fp32.onnx")
    crops, photographs = open_source(SHARED / "lfw/lfw_aligned112.zip"), open_source(SHARED / "lfw/lfw_raw250.zip")
    aligned = {record.id: record for record in crops.records}
    both = [record for record in photographs.records if record.id in aligned][:60]
    images = [FaceImage(decode_rgb(photographs.read(r)), aligned=False, detector=detector) for r in both]
    ours = channel.embed(np.stack([channel.crop(image) for image in images]))
    theirs = channel.embed(np.stack([decode_rgb(crops.read(aligned[r.id])) for r in both]))
    cosine = (ours * theirs).sum(1)
    assert np.median(cosine) > 0.9 and (cosine > 0.7).mean() > 0.95
    assert any(image.n_faces > 1 for image in images)
