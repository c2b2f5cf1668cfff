"""Descriptions of model files: a TOML file beside the model, or InsightFace's manifest."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from unveil.errors import ModelError
from unveil.io.documents import MAX_TOML_BYTES, read_json, read_toml
from unveil.io.regular import read_regular
from unveil.io.text import printable

# A file that describes models holds a few lines for each.
MAX_DESCRIPTION_BYTES = 2**24
MAX_TEXT, MAX_SHOWN = 2000, 200

# "whole" means the whole image without face alignment, for copy-detection models of any input size.
ModelAlignment = Literal["arcface112", "dlib150", "whole"]
ALIGNMENT_SIZE: dict[str, int] = {"arcface112": 112, "dlib150": 150}
DetectorFamily = Literal["yunet", "scrfd"]

# Incremented whenever detection, landmarks or warping change, so that stored embeddings are computed again.
ALIGNMENT_VERSION = 2

DESCRIPTION_EXAMPLE = """\
name = "my_model"
input_size = 112               # pixels of each side
channels = "RGB"               # or "BGR"
mean = [127.5, 127.5, 127.5]   # normalised = (pixel - mean) / std, pixel in 0..255
std = [127.5, 127.5, 127.5]
alignment = "arcface112"       # or "dlib150"; "whole" for a copy-detection model
dimension = 512
trained_on = "unknown"
licence = "unknown"
"""


@dataclass(frozen=True)
class ModelSpec:
    """What an embedding model expects and what is known about it."""

    name: str
    input_size: int
    channels: Literal["RGB", "BGR"]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    alignment: ModelAlignment
    dimension: int
    trained_on: str
    licence: str
    sha256: str

    @property
    def model_id(self) -> str:
        """A hash of the weights, the preprocessing and the alignment."""
        return _hash_of({**_deciding_facts(self), "alignment_version": ALIGNMENT_VERSION})


@dataclass(frozen=True)
class DetectorSpec:
    """What a face detector with five landmarks expects and what is known about it."""

    name: str
    family: DetectorFamily
    channels: Literal["RGB", "BGR"]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    trained_on: str
    licence: str
    sha256: str

    @property
    def model_id(self) -> str:
        """A hash of the weights, the family and the preprocessing."""
        return _hash_of(_deciding_facts(self))


Spec = ModelSpec | DetectorSpec


def _deciding_facts(spec: Spec) -> dict[str, Any]:
    """The facts of a description that decide a vector or a face."""
    return {name: value for name, value in asdict(spec).items() if name not in ("name", "trained_on", "licence")}


def _hash_of(facts: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def spec_from_facts(facts: dict[str, Any], sha256: str, where: str) -> Spec:
    """A checked description from parsed TOML; of a detector if it names a ``detector`` family.

    Raises ModelError with the key that is missing or wrong, or if ``sha256`` is not that of the file.
    """
    declared = facts.get("sha256", sha256)
    if declared != sha256:
        raise ModelError(
            f"{where} describes a file with sha256 {declared}, this one has {sha256}: it is damaged or another. "
            "Get the file again, or correct the description if the file is right"
        )
    texts = {key: _text(facts, key, where) for key in ("name", "trained_on", "licence")}
    channels = _one_of(facts, "channels", ("RGB", "BGR"), where)
    mean, std = _three_numbers(facts, "mean", where), _three_numbers(facts, "std", where)
    if 0 in std:
        raise _wrong_value(facts, "std", "three numbers other than 0", where)
    if "detector" in facts:
        family = _one_of(facts, "detector", get_args(DetectorFamily), where)
        return DetectorSpec(**texts, family=family, channels=channels, mean=mean, std=std, sha256=sha256)
    for key in ("input_size", "dimension"):
        value = facts.get(key)
        if type(value) is not int or not 1 <= value <= 4096:
            raise _wrong_value(facts, key, "a whole number between 1 and 4096", where)
    alignment = _one_of(facts, "alignment", get_args(ModelAlignment), where)
    size = ALIGNMENT_SIZE.get(alignment)
    if size is not None and facts["input_size"] != size:
        raise _wrong_value(facts, "input_size", f"{size} for alignment {alignment}", where)
    return ModelSpec(
        **texts,
        input_size=facts["input_size"],
        channels=channels,
        mean=mean,
        std=std,
        alignment=alignment,
        dimension=facts["dimension"],
        sha256=sha256,
    )


def _wrong_value(facts: dict[str, Any], key: str, expected: str, where: str) -> ModelError:
    return ModelError(f"{where}: `{key}` should be {expected}, got {_shown(facts.get(key))}")


def _shown(value: object) -> str:
    try:
        return repr(value)[:MAX_SHOWN]
    except (ValueError, RecursionError):  # a number of too many digits, lists in lists
        return type(value).__name__


def _text(facts: dict[str, Any], key: str, where: str) -> str:
    value = facts.get(key, "unknown")
    if not isinstance(value, str):
        raise _wrong_value(facts, key, "text", where)
    if len(value) > MAX_TEXT:
        raise _wrong_value(facts, key, f"at most {MAX_TEXT} characters", where)
    return printable(value)


def _one_of(facts: dict[str, Any], key: str, known: tuple[str, ...], where: str) -> Any:
    if facts.get(key) not in known:
        raise _wrong_value(facts, key, " or ".join(f'"{one}"' for one in known), where)
    return facts[key]


def _three_numbers(facts: dict[str, Any], key: str, where: str) -> tuple[float, float, float]:
    value = facts.get(key)
    if not isinstance(value, list) or len(value) != 3 or not all(type(v) in (int, float) for v in value):
        raise _wrong_value(facts, key, "three numbers, one for each channel", where)
    try:
        first, second, third = (float(v) for v in value)
    except OverflowError:
        first = second = third = math.inf
    if not all(math.isfinite(v) for v in (first, second, third)):
        raise _wrong_value(facts, key, "three finite numbers", where)
    return first, second, third


def description_path(weights: Path) -> Path:
    """The TOML file that describes a model file: beside it, with the same name."""
    return weights.with_suffix(".toml")


def description_files(weights: Path) -> tuple[Path, Path]:
    """The files that can describe a model file, whether or not they exist: the first that does counts."""
    return description_path(weights), weights.parent / "manifest.json"


def read_description(weights: Path, sha256: str) -> Spec | None:
    """The description beside a model file: its TOML file, or InsightFace's ``manifest.json`` if it names the file.

    None if there is neither. Raises ModelError for a description that is damaged or of another file.
    """
    description, manifest = description_files(weights)
    if description.is_file():
        return spec_from_facts(_read_toml(description), sha256, str(description))
    if manifest.is_file():
        facts = _facts_of_manifest(manifest, weights.name)
        if facts is not None:
            return spec_from_facts(facts, sha256, str(manifest))
    return None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return read_toml(read_regular(path, MAX_TOML_BYTES))
    except (OSError, ValueError) as error:  # a number of 5,000 digits is a ValueError of its own
        raise ModelError(f"{path} is not valid TOML: {error}") from None


# What InsightFace 2's loader assumes if a manifest has no preprocessing.
_DEFAULT_PREPROCESSING = {"detection": {"mean": 127.5, "std": 128.0}, "recognition": {"mean": 127.5, "std": 127.5}}


def _facts_of_manifest(path: Path, file: str) -> dict[str, Any] | None:
    """What an InsightFace ``manifest.json`` (version 1 or 2) says of one file, as our TOML would; None if nothing."""
    try:
        document = read_json(read_regular(path, MAX_DESCRIPTION_BYTES))
        version = document.get("manifest_version")
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise ModelError(f"{path} is not an InsightFace manifest: {error}") from None
    tasks = document.get("tasks")
    if version == 1 and isinstance(document.get("files"), dict):
        files = document["files"]
        recognition = document.get("recognition")
        tasks = {
            "detection": {"file": files.get("detector")},
            "recognition": {**(recognition if isinstance(recognition, dict) else {}), "file": files.get("recognizer")},
        }
    if version not in (1, 2) or not isinstance(tasks, dict):
        raise ModelError(
            f"{path}: an InsightFace manifest of version 1 or 2 was expected, got version {version!r}; describe the "
            "model in a TOML file beside it instead"
        )
    for task, default in _DEFAULT_PREPROCESSING.items():
        known = tasks.get(task)
        if isinstance(known, dict) and known.get("file") == file:
            return _facts_of_task(task, known, document, default, path)
    return None


def _facts_of_task(
    task: str, known: dict[str, Any], document: dict[str, Any], default: dict[str, float], path: Path
) -> dict[str, Any]:
    scaling = known.get("preprocessing", default)
    if scaling == "embedded":  # the graph normalises pixels of 0..255 itself
        scaling = {"mean": 0.0, "std": 1.0}
    if scaling == "arcface-v1":
        scaling = default
    if not isinstance(scaling, dict) or not all(type(scaling.get(key)) in (int, float) for key in ("mean", "std")):
        raise ModelError(
            f'{path}: `tasks.{task}.preprocessing` should be "embedded" or an object of mean and std, got {scaling!r}'
        )
    facts: dict[str, Any] = {
        "name": document.get("model_id", "unknown"),
        "channels": "RGB",
        "mean": [scaling["mean"]] * 3,
        "std": [scaling["std"]] * 3,
        "licence": "as in the MODEL.LICENSE of its package",
    }
    if "sha256" in known:
        facts["sha256"] = known["sha256"]
    if task == "detection":
        return {**facts, "detector": "scrfd"}
    size = known.get("input_size", [112, 112])
    side = size[0] if isinstance(size, list) and len(size) == 2 and size[0] == size[1] else size
    return {
        **facts,
        "input_size": side,
        "dimension": known.get("embedding_dimension", 512),
        "alignment": "arcface112",
    }
