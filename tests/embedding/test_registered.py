"""Real images of another alignment are registered in an audit: both sides by one transform, the synthetic set never."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.builders import drawn_faces, encoded, write
from unveil.channels.base import ChannelConfig
from unveil.channels.registration import Registration
from unveil.embedding.embedder import AuditEmbedder
from unveil.images import open_source
from unveil.io.run_directory import RunDirectory
from unveil.types import Embedded, Role

CHANNELS = ChannelConfig(channels=("face", "appearance"))
ROLES: tuple[Role, ...] = ("synthetic", "training", "control")
# The synthetic set shows the training people once more, so that copies of them are known.
SEEDS = {"synthetic": 1, "training": 1, "control": 2}
N = 60


def embed_sets(folder: Path, offset: Registration | None) -> tuple[AuditEmbedder, dict[Role, Embedded]]:
    """Sets of drawn faces, the synthetic one in another alignment; the vectors of all roles."""
    for role in ROLES:
        for i, face in enumerate(drawn_faces(N, SEEDS[role])):
            crop = cv2.resize(face, (112, 112))
            if role == "synthetic" and offset is not None:
                crop = cv2.warpAffine(crop, offset.matrix, (112, 112), borderMode=cv2.BORDER_REPLICATE)
            write(folder / role / f"{i:03d}.png", encoded(np.asarray(crop, np.uint8)))
    sources = {role: open_source(folder / role) for role in ROLES}
    embedder = AuditEmbedder(CHANNELS, sources, store=folder / "store", workers=1)
    run = RunDirectory(folder / "run", {})
    run.begin()
    sets = embedder.embed_roles(sources, run, np.random.default_rng(0), aligned=dict.fromkeys(ROLES, "yes"))
    return embedder, {role: found.embedded.through("appearance") for role, found in sets.items()}


def closeness(sets: dict[Role, Embedded]) -> float:
    """The mean cosine of the copies with their originals."""
    return float((sets["synthetic"].vectors * sets["training"].vectors).sum(1).mean())


def test_copies_in_another_alignment_come_closer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offset = Registration(2.0, -3.0, 1.08, 2.0)
    plain, same = embed_sets(tmp_path / "same", None)
    assert plain.registration is None, "sets of one alignment stay as they are"
    assert closeness(same) == pytest.approx(1, abs=1e-3)
    registered, apart = embed_sets(tmp_path / "apart", offset)
    assert registered.registration is not None
    assert apart["training"].model_id == apart["control"].model_id
    monkeypatch.setattr("unveil.embedding.embedder.fit_registration", lambda real, synthetic: None)
    without, as_before = embed_sets(tmp_path / "as_before", offset)
    assert without.registration is None
    assert np.array_equal(apart["synthetic"].vectors, as_before["synthetic"].vectors), "only real images are moved"
    assert closeness(apart) > closeness(as_before) + 0.1
