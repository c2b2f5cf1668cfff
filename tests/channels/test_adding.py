"""A channel is added by one file and one line, as the docstring of the base class says."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.builders import audit, drawn_faces
from unveil.channels import FaceImage
from unveil.channels.base import Channel, ChannelConfig, ImageArray
from unveil.channels.loading import load_channels, open_channel
from unveil.choices import CHANNELS
from unveil.errors import SettingError
from unveil.runs.finished import FinishedRun
from unveil.types import Vectors


class MeanColour(Channel):
    """The mean colour of the aligned face, as a direction."""

    name = "mean-colour"
    dimension = 3
    model_id = hashlib.sha256(b"mean colour 1").hexdigest()

    def crop(self, image: FaceImage) -> ImageArray:
        return image.aligned_crop

    def embed(self, crops: ImageArray) -> Vectors:
        mean = crops.mean(axis=(1, 2)).astype(np.float64) - 128
        norm = np.linalg.norm(mean, axis=1, keepdims=True)
        return np.asarray(np.where(norm > 0, mean / np.where(norm > 0, norm, 1), 0), np.float32)


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one line of the registration."""
    monkeypatch.setitem(CHANNELS, "mean-colour", "tests.channels.test_adding:MeanColour")


def write_faces(folder: Path, faces: np.ndarray) -> Path:
    folder.mkdir()
    for i, face in enumerate(faces):
        Image.fromarray(face).save(folder / f"{i:02}.png")
    return folder


def test_an_unknown_channel_is_an_error() -> None:
    with pytest.raises(SettingError, match="any of face, appearance, copy, got mean-colour"):
        open_channel("mean-colour", ChannelConfig())
    with pytest.raises(SettingError, match="appearance"):
        audit(Path("s"), Path("t"), out=Path("run"), channels="face,mean-colour")


@pytest.mark.usefixtures("registered")
def test_an_added_channel_is_opened_by_its_name() -> None:
    loaded = load_channels(ChannelConfig(channels=("face", "mean-colour")))
    assert [channel.name for channel in loaded.all] == ["face", "mean-colour"]
    assert isinstance(loaded.others[0], MeanColour) and loaded.copy_channel is None


@pytest.mark.usefixtures("registered")
def test_an_added_channel_is_embedded_compared_and_stored(tmp_path: Path) -> None:
    """Two synthetic images have the colour of a training image each, and the face of another."""
    faces = drawn_faces(26, seed=3)
    training, synthetic = faces[:20].copy(), faces[20:].copy()
    rng = np.random.default_rng(0)
    for images in (training, synthetic):
        images[:] = np.clip(images * 0.3 + rng.integers(60, 190, (len(images), 1, 1, 3)), 0, 255)
    for copied, original in ((0, 5), (1, 11)):
        mean = training[original].mean((0, 1)) - synthetic[copied].mean((0, 1))
        synthetic[copied] = np.clip(synthetic[copied] + mean, 0, 255)
    folders = (write_faces(tmp_path / "synthetic", synthetic), write_faces(tmp_path / "training", training))
    result = audit(
        *folders, out=tmp_path / "run", store=tmp_path / "store", channels="mean-colour,face", labels="one-per-image"
    )
    assert result.channels == ("face", "mean-colour")
    run = FinishedRun(tmp_path / "run")
    vectors = {role: np.asarray(run.embedded(role).through("mean-colour").vectors) for role in run.roles}
    assert vectors["synthetic"].shape == (6, 3) and vectors["training"].shape == (20, 3)
    cosine = vectors["synthetic"] @ vectors["training"].T
    assert cosine[0].argmax() == 5 and cosine[1].argmax() == 11 and cosine[[0, 1], [5, 11]].min() > 0.999
    assert {person.channel for person in result.people} == {"face", "mean-colour"}
    assert pq.read_table(tmp_path / "run/people.parquet").num_rows == 20
