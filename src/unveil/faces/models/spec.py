"""What a network file expects, checked, and what describes it: our TOML, or InsightFace's manifest."""

from __future__ import annotations

import hashlib
import json
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from unveil.errors import ModelError

# "whole" is no face alignment: the whole picture, for copy-detection networks of any input size.
ModelAlignment = Literal["arcface112", "dlib150", "whole"]
ALIGNMENT_SIZE: dict[str, int] = {"arcface112": 112, "dlib150": 150}
DetectorFamily = Literal["yunet", "scrfd"]

# Raised whenever detection, landmarks or warping change, so that stored embeddings are made anew.
ALIGNMENT_VERSION = 2

DESCRIPTOR_EXAMPLE = """\
name = "my_network"
input_size = 112               # pixels a side
channels = "RGB"               # or "BGR"
mean = [127.5, 127.5, 127.5]   # normalised = (pixel - mean) / std, pixel in 0..255
std = [127.5, 127.5, 127.5]
alignment = "arcface112"       # or "dlib150"; "whole" for a copy-detection network
dimension = 512
trained_on = "unknown"
licence = "unknown"
"""


@dataclass(frozen=True)
class ModelSpec:
    """What a recognition network expects and what is known about it."""

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
        """A hash of everything that decides an embedding: weights, preprocessing, alignment."""
        facts = asdict(self)
        for words in ("name", "trained_on", "licence"):
            del facts[words]
        facts["alignment_version"] = ALIGNMENT_VERSION
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


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


Spec = ModelSpec | DetectorSpec


def spec_from_facts(facts: dict[str, Any], sha256: str, where: str) -> Spec:
    """A checked description from parsed TOML, of a detector where it names a ``detector`` family.

    ModelError names the key that is missing or wrong, or the sha256 that is not the file's.
    """
    told = facts.get("sha256", sha256)
    if told != sha256:
        raise ModelError(
            f"{where} describes a file with sha256 {told}, this one has {sha256}: it is damaged or another; "
            "get the file again, or correct the description if the file is right"
        )
    words = {key: _text(facts, key, where) for key in ("name", "trained_on", "licence")}
    channels = _one_of(facts, "channels", ("RGB", "BGR"), where)
    mean, std = _three(facts, "mean", where), _three(facts, "std", where)
    if 0 in std:
        raise _wrong(facts, "std", "three numbers other than 0", where)
    if "detector" in facts:
        family = _one_of(facts, "detector", get_args(DetectorFamily), where)
        return DetectorSpec(**words, family=family, channels=channels, mean=mean, std=std, sha256=sha256)
    for key in ("input_size", "dimension"):
        value = facts.get(key)
        if type(value) is not int or not 1 <= value <= 4096:
            raise _wrong(facts, key, "a whole number between 1 and 4096", where)
    alignment = _one_of(facts, "alignment", get_args(ModelAlignment), where)
    size = ALIGNMENT_SIZE.get(alignment)
    if size is not None and facts["input_size"] != size:
        raise _wrong(facts, "input_size", f"{size} for alignment {alignment}", where)
    return ModelSpec(
        **words,
        input_size=facts["input_size"],
        channels=channels,
        mean=mean,
        std=std,
        alignment=alignment,
        dimension=facts["dimension"],
        sha256=sha256,
    )


def _wrong(facts: dict[str, Any], key: str, expected: str, where: str) -> ModelError:
    return ModelError(f"{where}: `{key}` should be {expected}, got {facts.get(key)!r}")


def _text(facts: dict[str, Any], key: str, where: str) -> str:
    value = facts.get(key, "unknown")
    if not isinstance(value, str):
        raise _wrong(facts, key, "text", where)
    return value


def _one_of(facts: dict[str, Any], key: str, known: tuple[str, ...], where: str) -> Any:
    if facts.get(key) not in known:
        raise _wrong(facts, key, " or ".join(f'"{one}"' for one in known), where)
    return facts[key]


def _three(facts: dict[str, Any], key: str, where: str) -> tuple[float, float, float]:
    value = facts.get(key)
    if not isinstance(value, list) or len(value) != 3 or not all(type(v) in (int, float) for v in value):
        raise _wrong(facts, key, "three numbers, one for each channel", where)
    first, second, third = (float(v) for v in value)
    return first, second, third


def descriptor(weights: Path) -> Path:
    """Where our description of a network file lies: beside it."""
    return weights.with_suffix(".toml")


def described(weights: Path, sha256: str) -> Spec | None:
    """What stands beside a file: our TOML, or InsightFace's ``manifest.json`` if it names the file.

    None when nothing does. Raises ModelError for a description that is damaged or of another file.
    """
    ours = descriptor(weights)
    if ours.is_file():
        return spec_from_facts(_read_toml(ours), sha256, str(ours))
    manifest = weights.parent / "manifest.json"
    if manifest.is_file():
        facts = _facts_of_manifest(manifest, weights.name)
        if facts is not None:
            return spec_from_facts(facts, sha256, str(manifest))
    return None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} is not valid TOML: {error}") from None


# What InsightFace 2's loader takes where a manifest is silent.
_SILENT = {"detection": {"mean": 127.5, "std": 128.0}, "recognition": {"mean": 127.5, "std": 127.5}}


def _facts_of_manifest(path: Path, file: str) -> dict[str, Any] | None:
    """What an InsightFace ``manifest.json`` (version 1 or 2) says of one file, as our TOML would; None if nothing."""
    try:
        document = json.loads(path.read_text("utf-8"))
        version = document.get("manifest_version")
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise ModelError(f"{path} is no InsightFace manifest: {error}") from None
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
            "network in a TOML file beside it instead"
        )
    for task, silent in _SILENT.items():
        known = tasks.get(task)
        if isinstance(known, dict) and known.get("file") == file:
            return _facts_of_task(task, known, document, silent, path)
    return None


def _facts_of_task(
    task: str, known: dict[str, Any], document: dict[str, Any], silent: dict[str, float], path: Path
) -> dict[str, Any]:
    how = known.get("preprocessing", silent)
    if how == "embedded":  # the graph normalises pixels of 0..255 itself
        how = {"mean": 0.0, "std": 1.0}
    if how == "arcface-v1":
        how = silent
    if not isinstance(how, dict) or not all(type(how.get(key)) in (int, float) for key in ("mean", "std")):
        raise ModelError(
            f'{path}: `tasks.{task}.preprocessing` should be "embedded" or an object of mean and std, got {how!r}'
        )
    facts: dict[str, Any] = {
        "name": document.get("model_id", "unknown"),
        "channels": "RGB",
        "mean": [how["mean"]] * 3,
        "std": [how["std"]] * 3,
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
