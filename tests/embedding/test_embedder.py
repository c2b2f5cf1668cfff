"""The models of an audit that is opened again are those that it was made with."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.channels.test_similarity import tiny_model
from tests.models import spot_detector
from unveil.channels.base import ChannelConfig
from unveil.embedding.embedder import AuditEmbedder
from unveil.errors import ModelError


@pytest.mark.parametrize(
    ("file", "message"),
    [("face.toml", "face model tiny"), ("spots.toml", "detector spots"), ("copies.toml", "copy-detection model")],
)
def test_a_model_whose_description_changed_is_refused(file: str, message: str, tmp_path: Path) -> None:
    """So is another file under the name: its SHA-256 is in the same keys."""
    face, copies = tiny_model(tmp_path / "face.onnx", "arcface112", 112), tiny_model(tmp_path / "copies.onnx")
    config = ChannelConfig((str(face),), str(spot_detector(tmp_path)), str(copies), ("face", "copy"))
    audited = AuditEmbedder(config, {})
    assert audited.copy_model is not None
    facts, keys = audited.model_facts, {"detector": audited.detector["key"], "copy_model": audited.copy_model["key"]}
    audited.restore(facts, None, **keys)
    text = (tmp_path / file).read_text()
    (tmp_path / file).write_text(text.replace("mean = [", "mean = [1"))
    with pytest.raises(ModelError, match=f"the {message}: expected the file and the description of the audit"):
        AuditEmbedder(config, {}).restore(facts, None, **keys)
