"""Making a user's own network known: described, tried out, and put into the library."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from unveil.errors import ModelError
from unveil.faces.detectors import GridDetector
from unveil.faces.embedding_model import EmbeddingModel
from unveil.faces.models import DetectorSpec, Spec
from unveil.faces.models.library import install, library_folder, read, safe_name
from unveil.faces.models.spec import spec_from_facts
from unveil.faces.models.table import families
from unveil.faces.onnx_model import OnnxModel


def register_model(
    path: Path,
    *,
    family: str | None = None,
    name: str | None = None,
    licence: str = "unknown",
    trained_on: str = "unknown",
) -> tuple[Spec, Path]:
    """Copies a network into the library, under its name; gives what it expects and where it lies.

    What it expects is what the table says of its bytes, or a description beside it, or else ``family`` with the
    dimension that the graph gives. Raises ModelError when nothing says it, or when the network does not run so.
    """
    if family is None:
        spec, raw = read(path)
    else:
        spec, raw = _of_family(path, family, {"licence": licence, "trained_on": trained_on, "name": name or path.stem})
    before = (library_folder() / safe_name(spec.name)).exists()
    kept = install(spec, raw, path.name)
    try:
        _try(spec, kept)
    except ModelError:
        if not before:
            shutil.rmtree(kept.parent)
        raise
    return spec, kept


def _of_family(path: Path, family: str, facts: dict[str, Any]) -> tuple[Spec, bytes]:
    if family not in families():
        raise ModelError(f"networks are of one of these kinds: {', '.join(families())}; got {family}")
    if not path.is_file():
        raise ModelError(f"{path}: no such file; a network in ONNX form was expected")
    raw = path.read_bytes()
    facts = {**families()[family], **facts}
    if "detector" not in facts:
        size = facts["input_size"]
        outputs = OnnxModel(raw, str(path)).run(np.zeros((1, 3, size, size), np.float32))
        if len(outputs) != 1 or outputs[0].ndim != 2:
            raise ModelError(
                f"{path}: a {family} network gives one vector a picture; this one gives arrays of "
                f"{', '.join(str(output.shape) for output in outputs)}"
            )
        facts["dimension"] = int(outputs[0].shape[1])
    return spec_from_facts(facts, hashlib.sha256(raw).hexdigest(), f"{path} as {family}"), raw


def _try(spec: Spec, path: Path) -> None:
    """Runs a network once as an audit would; ModelError when that does not work."""
    if isinstance(spec, DetectorSpec):
        GridDetector(path).detect(np.zeros((64, 64, 3), np.uint8))
    else:
        EmbeddingModel(path).embed(np.zeros((1, spec.input_size, spec.input_size, 3), np.uint8))
