"""Adds a user's own model to the library: describes it, runs it once and copies it."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from unveil.errors import ModelError
from unveil.faces.detectors import GridDetector
from unveil.faces.embedding_model import EmbeddingModel
from unveil.faces.models import DetectorSpec, Spec
from unveil.faces.models.library import MAX_MODEL_BYTES, install_model, library_folder, read_model, safe_name
from unveil.faces.models.spec import spec_from_facts
from unveil.faces.models.table import families
from unveil.faces.onnx_model import OnnxModel
from unveil.faces.probe import check_function_of_one_image
from unveil.faces.trial import DETECTOR_SIDE, try_model
from unveil.io.regular import read_regular


def register_model(
    path: Path,
    *,
    family: str | None = None,
    name: str | None = None,
    licence: str = "unknown",
    trained_on: str = "unknown",
) -> tuple[Spec, Path]:
    """Copies a model into the library under its name. Returns its description and its path.

    The description comes from the model table, from a file beside the model, or from ``family`` with the dimension of
    the graph. Raises ModelError if there is no description, or if the model does not run as described.
    """
    if family is None:
        spec, raw = read_model(path)
        spec = spec if name is None else replace(spec, name=name)
        try_model(path, spec.sha256, DETECTOR_SIDE if isinstance(spec, DetectorSpec) else spec.input_size)
    else:
        facts = {"licence": licence, "trained_on": trained_on, "name": name or path.stem}
        spec, raw = _describe_by_family(path, family, facts)
    was_installed = (library_folder() / safe_name(spec.name)).exists()
    installed = install_model(spec, raw, path.name)
    try:
        _run_once(spec, installed)
    except ModelError:
        if not was_installed:
            shutil.rmtree(installed.parent)
        raise
    return spec, installed


def _describe_by_family(path: Path, family: str, facts: dict[str, Any]) -> tuple[Spec, bytes]:
    if family not in families():
        raise ModelError(f"the family of a model should be one of {', '.join(families())}; got {family}")
    if not path.is_file():
        raise ModelError(f"{path}: no such file; a model in ONNX form was expected")
    try:
        raw = read_regular(path, MAX_MODEL_BYTES)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from None
    facts = {**families()[family], **facts}
    try_model(path, hashlib.sha256(raw).hexdigest(), facts.get("input_size", DETECTOR_SIDE))
    if "detector" not in facts:
        size = facts["input_size"]
        model = OnnxModel(raw, str(path))
        declared = model.inputs[0].shape[0] if model.inputs and model.inputs[0].shape else 1
        batch = declared if isinstance(declared, int) else 1
        outputs = model.run(np.zeros((batch, 3, size, size), np.float32))
        if len(outputs) != 1 or outputs[0].ndim != 2:
            raise ModelError(
                f"{path}: a model of family {family} gives one vector for each image; this one gives arrays of "
                f"{', '.join(str(output.shape) for output in outputs)}"
            )
        facts["dimension"] = int(outputs[0].shape[1])
    return spec_from_facts(facts, hashlib.sha256(raw).hexdigest(), f"{path} as {family}"), raw


def _run_once(spec: Spec, path: Path) -> None:
    """Runs a model as an audit would. Raises ModelError if that fails, or if it is no function of one image."""
    if isinstance(spec, DetectorSpec):
        GridDetector(path).detect(np.zeros((64, 64, 3), np.uint8))
    else:
        check_function_of_one_image(EmbeddingModel(path))
