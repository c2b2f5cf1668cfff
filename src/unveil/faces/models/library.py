"""The models on this machine: found by name or path, read, checked against their description, and installed."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import platformdirs

from unveil.errors import ModelError
from unveil.faces import dlib_onnx
from unveil.faces.models.spec import (
    DESCRIPTION_EXAMPLE,
    MAX_DESCRIPTION_BYTES,
    DetectorSpec,
    ModelSpec,
    Spec,
    description_path,
    read_description,
)
from unveil.faces.models.table import default_spec, families, file_names, find_download, model_table, specs_by_name
from unveil.io.atomic import write_bytes
from unveil.io.documents import read_json
from unveil.io.regular import read_regular

# ONNX holds no more: its format states sizes in 31 bits.
MAX_MODEL_BYTES = 2**31
# A name that can be a folder on any operating system.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
State = Literal["good", "damaged", "not described"]


@dataclass(frozen=True)
class InstalledModel:
    """A model file on this machine, and its description as far as the file's name or a description beside it says.

    The file was not read.
    """

    name: str
    path: Path
    spec: Spec | None


@dataclass(frozen=True)
class VerifiedModel:
    """A model file that was read: whether its bytes match its description, and a message that says what to do."""

    installed: InstalledModel
    state: State
    message: str


def library_folder() -> Path:
    """The folder of fetched and added models: $UNVEIL_MODELS, else in the user's data folder."""
    folder = os.environ.get("UNVEIL_MODELS")
    return Path(folder) if folder else platformdirs.user_data_path("unveil") / "models"


def insightface_folder() -> Path:
    """The folder where InsightFace stores its packs."""
    return Path.home() / ".insightface" / "models"


def safe_name(name: str) -> str:
    """The same name. Raises ModelError if it cannot be the name of a folder."""
    if not _NAME.fullmatch(name):
        raise ModelError(
            f"the name of a model should be letters, digits, dots, dashes and underscores, got {name!r}; pass --name"
        )
    return name


def check_name(spec: Spec, where: str) -> None:
    """Raises ModelError for a model with the name of another one of the table."""
    known = specs_by_name().get(spec.name)
    if known is not None and known.sha256 != spec.sha256:
        raise ModelError(
            f"{where}: {spec.name} is a known model with sha256 {known.sha256}, this file has {spec.sha256}. Give it a "
            "name of its own, by --name or in its description"
        )


def installed_models() -> list[InstalledModel]:
    """Every model file in the library and in InsightFace's folder, up to two folders deep. No model file is read."""
    known = {file: sha256 for sha256, files in file_names().items() for file in files}
    found = []
    for path in _model_files():
        spec = model_table()[known[path.name]] if path.name in known else None
        if spec is None:
            spec = _unverified_spec(path)
        found.append(InstalledModel(spec.name if spec is not None else path.stem, path, spec))
    return found


def _model_files() -> Iterator[Path]:
    for root in (library_folder(), insightface_folder()):
        for pattern in ("*.onnx", "*/*.onnx", "*/*/*.onnx"):
            yield from (path for path in sorted(root.glob(pattern)) if path.is_file())


def _unverified_spec(path: Path) -> Spec | None:
    """The description beside a file. A wrong one is reported when the file is used or verified."""
    try:
        sha256 = _declared_sha256(path)
        spec = None if sha256 is None else read_description(path, sha256)
        if spec is not None:
            check_name(spec, str(path))
        return spec
    except ModelError:
        return None


def _declared_sha256(path: Path) -> str | None:
    """The sha256 in the description beside a file; the file itself is not read."""
    try:
        text = read_regular(description_path(path), MAX_DESCRIPTION_BYTES).decode()
        return match[1] if (match := re.search(r'^sha256 = "([0-9a-f]{64})"$', text, re.MULTILINE)) else None
    except (OSError, UnicodeDecodeError):
        pass
    try:
        tasks = read_json(read_regular(path.parent / "manifest.json", MAX_DESCRIPTION_BYTES))["tasks"].values()
        return next((str(task["sha256"]) for task in tasks if task.get("file") == path.name), None)
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return None


def find_model(model: str | Path) -> Path:
    """The file of a model: a path as it is, or a name in the library or in InsightFace's folder.

    Raises ModelError with the names that are installed, and with the command that fetches a known model, and for a name
    that two different models have. The same weights with another description are another model.
    """
    path = Path(model).expanduser()
    if path.is_file():
        return path
    if path.suffix == ".onnx" or len(path.parts) > 1 or path.is_dir():
        found = "a folder" if path.is_dir() else "no such file"
        raise ModelError(f"{model}: {found}; a model in ONNX form, or the name of one, was expected")
    name = str(model)
    everything = installed_models()
    installed = [one for one in everything if one.name == name] or [one for one in everything if one.path.stem == name]
    for other in installed[1:]:
        if other.spec is None or installed[0].spec is None or other.spec.model_id != installed[0].spec.model_id:
            raise ModelError(
                f"{name}: expected one model of this name, found {installed[0].path} and {other.path}. Remove one of "
                "them, or name the file by its path"
            )
    if installed:
        return installed[0].path
    download = find_download(name)
    if download is not None:
        raise ModelError(
            f"{name} is not on this machine. Nothing is downloaded unless you ask: unveil models fetch {download.name} "
            f"(licence: {download.licence})"
        )
    names = ", ".join(sorted({one.name for one in everything if one.spec is not None})) or "none"
    raise ModelError(
        f"{name} is neither a file nor an installed model (installed: {names}). unveil models list shows known models, "
        "unveil models add FILE installs a file"
    )


def read_model(path: Path) -> tuple[Spec, bytes]:
    """The description and the bytes of a model file. A file of the model table is recognised by its bytes.

    Raises ModelError if the file cannot be read, has no description, or does not match it.
    """
    try:
        raw = read_regular(path, MAX_MODEL_BYTES)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from None
    sha256 = hashlib.sha256(raw).hexdigest()
    spec = model_table().get(sha256) or read_description(path, sha256)
    if spec is not None:
        check_name(spec, str(path))
        return spec, raw
    expected = next((sha for sha, files in file_names().items() if path.name in files), None)
    if expected is not None:
        raise ModelError(
            f"{path}: {model_table()[expected].name} has sha256 {expected}, this file has {sha256}; it is damaged or "
            f"another file. Fetch it again, or describe it in {description_path(path)} if it is meant to differ"
        )
    if raw[:2] in (b"PK", b"\x80\x02", b"\x80\x04"):
        raise ModelError(
            f"{path.name} looks like a PyTorch checkpoint, which can run code when it is opened, so it is not opened. "
            "Export the model with torch.onnx.export and pass that file"
        )
    raise ModelError(
        f"{path.name} (sha256 {sha256[:16]}...) is not in the model table, and its input format is not guessed. Name "
        f"its family: unveil models add {path} --family FAMILY (one of {', '.join(families())}). Or write what its "
        f"authors state into {description_path(path)}, for example:\n\n{DESCRIPTION_EXAMPLE}"
    )


def load_model(model: str | Path | None) -> tuple[ModelSpec, bytes]:
    """The description and the ONNX bytes of an embedding model; the default model for None or its name.

    Raises ModelError as `find_model` and `read_model`, and for a detector.
    """
    if model is None or str(model) == default_spec().name:
        return default_spec(), _default_weights()
    path = find_model(model)
    spec, raw = read_model(path)
    if not isinstance(spec, ModelSpec):
        raise ModelError(f"{path} is a face detector ({spec.name}); an embedding model was expected, see --detector")
    return spec, raw


@functools.cache
def _default_weights() -> bytes:
    """The ONNX bytes of the default model; converted once a process."""
    raw = dlib_onnx.package_file(dlib_onnx.WEIGHTS).read_bytes()
    sha256 = hashlib.sha256(raw).hexdigest()
    if sha256 != default_spec().sha256:
        raise ModelError(
            f"the default weights in face_recognition_models should have sha256 {default_spec().sha256}, "
            f"got {sha256}; reinstall the package"
        )
    return dlib_onnx.convert(raw)


def load_detector(detector: str | Path) -> tuple[DetectorSpec, bytes]:
    """The description and the ONNX bytes of a detector.

    Raises ModelError as `find_model` and `read_model`, and for an embedding model.
    """
    path = find_model(detector)
    spec, raw = read_model(path)
    if not isinstance(spec, DetectorSpec):
        raise ModelError(f"{path} is an embedding model ({spec.name}); a face detector was expected, see --model")
    return spec, raw


def verify_installed() -> list[VerifiedModel]:
    """Reads every model file on this machine and compares it with its description."""
    verified = []
    for installed in installed_models():
        try:
            spec, _ = read_model(installed.path)
        except ModelError as error:
            state: State = "not described" if "not in the model table" in str(error) else "damaged"
            verified.append(VerifiedModel(installed, state, str(error).split("\n")[0]))
        else:
            checked = InstalledModel(spec.name, installed.path, spec)
            verified.append(VerifiedModel(checked, "good", f"sha256 {spec.sha256}"))
    return verified


def install_model(spec: Spec, raw: bytes, file: str) -> Path:
    """Writes a model into the library under its name, described unless the table has the file. Returns its path.

    Raises ModelError if a different model has that name, or the same one with another description.
    """
    check_name(spec, file)
    folder = library_folder() / safe_name(spec.name)
    path = folder / Path(file).name
    if path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() != spec.sha256:
        raise ModelError(f"{path} exists and differs; remove it, or name this model differently with --name")
    if path.exists() and _other_description(path, spec):
        raise ModelError(
            f"{path}: expected the description that this model is installed with, found another preprocessing, size or "
            "alignment. Remove that file, or name this model differently with --name"
        )
    for other in installed_models():
        same = other.path == path or (other.spec is not None and other.spec.model_id == spec.model_id)
        if spec.name in (other.name, other.path.stem) and not same:
            raise ModelError(
                f"{file}: expected a name that no other model on this machine has, found {spec.name} at {other.path}. "
                "Remove that file, or name this model differently with --name"
            )
    # Weights of the table are found by the names of their files there, others by a description.
    if path.name not in file_names().get(spec.sha256, ()):
        write_bytes(description_path(path), description_toml(spec).encode())
    write_bytes(path, raw)
    return path


def _other_description(path: Path, spec: Spec) -> bool:
    """Whether the same weights at ``path`` are described as another model. A damaged description is none."""
    try:
        described = model_table().get(spec.sha256) or read_description(path, spec.sha256)
    except ModelError:
        return False
    return described is not None and described.model_id != spec.model_id


def description_toml(spec: Spec) -> str:
    """The description of a model as TOML, in the form that `read_description` reads."""
    facts: dict[str, Any] = asdict(spec)
    if isinstance(spec, DetectorSpec):
        facts["detector"] = facts.pop("family")
    # A JSON string or list of numbers is valid TOML.
    return "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in facts.items())
