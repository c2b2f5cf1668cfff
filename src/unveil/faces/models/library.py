"""Networks on this machine: found by name or path, read, checked against what is known of them, and added."""

from __future__ import annotations

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
from unveil.faces.models.spec import DESCRIPTOR_EXAMPLE, DetectorSpec, ModelSpec, Spec, described, descriptor
from unveil.faces.models.table import default_spec, download_of, families, file_names, table
from unveil.io.atomic import write_bytes

# A name that can be a folder on any system.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
State = Literal["good", "damaged", "not described"]


@dataclass(frozen=True)
class Installed:
    """A network file on this machine, and what is known of it by name or description; unread."""

    name: str
    path: Path
    spec: Spec | None


@dataclass(frozen=True)
class Checked:
    """A network file that was read again: whether its bytes are those that were described, and what to do if not."""

    installed: Installed
    state: State
    told: str


def library_folder() -> Path:
    """Where fetched and added networks lie: $UNVEIL_MODELS, else the user's data folder."""
    told = os.environ.get("UNVEIL_MODELS")
    return Path(told) if told else platformdirs.user_data_path("unveil") / "models"


def insightface_folder() -> Path:
    """Where InsightFace keeps its packs."""
    return Path.home() / ".insightface" / "models"


def safe_name(name: str) -> str:
    """The name of a network; ModelError when it could not be a folder's."""
    if not _NAME.fullmatch(name):
        raise ModelError(f"a network's name should be letters, digits, dots, dashes and underscores, got {name!r}")
    return name


def installed() -> list[Installed]:
    """Every network file in the library and in InsightFace's folder, one folder deeper too; none is read."""
    names = {file: by_sha for by_sha, files in file_names().items() for file in files}
    found = []
    for path in _files():
        spec = table()[names[path.name]] if path.name in names else None
        if spec is None:
            spec = _described(path)
        found.append(Installed(spec.name if spec is not None else path.stem, path, spec))
    return found


def _files() -> Iterator[Path]:
    for root in (library_folder(), insightface_folder()):
        for pattern in ("*.onnx", "*/*.onnx", "*/*/*.onnx"):
            yield from (path for path in sorted(root.glob(pattern)) if path.is_file())


def _described(path: Path) -> Spec | None:
    """What is said of an unread file; a wrong description shows when the file is used or verified."""
    try:
        sha256 = _declared_sha256(path)
        return None if sha256 is None else described(path, sha256)
    except ModelError:
        return None


def _declared_sha256(path: Path) -> str | None:
    """The sha256 that a description beside a file names, without reading the file."""
    try:
        text = descriptor(path).read_text("utf-8")
        return match[1] if (match := re.search(r'^sha256 = "([0-9a-f]{64})"$', text, re.MULTILINE)) else None
    except (OSError, UnicodeDecodeError):
        pass
    try:
        tasks = json.loads((path.parent / "manifest.json").read_text("utf-8"))["tasks"].values()
        return next((str(task["sha256"]) for task in tasks if task.get("file") == path.name), None)
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return None


def find_model(model: str | Path) -> Path:
    """The file of a network: a path as it is, or a name in the library or in InsightFace's folder.

    Raises ModelError with the names that are here, and with how to fetch one that is known.
    """
    path = Path(model).expanduser()
    if path.is_file():
        return path
    if path.suffix == ".onnx" or len(path.parts) > 1 or path.is_dir():
        kind = "a folder" if path.is_dir() else "no such file"
        raise ModelError(f"{model}: {kind}; a network in ONNX form, or the name of one, was expected")
    name = str(model)
    found = next((one.path for one in installed() if name in (one.name, one.path.stem)), None)
    if found is not None:
        return found
    download = download_of(name)
    if download is not None:
        raise ModelError(
            f"{name} is not on this machine. Nothing is downloaded unless you ask: unveil models fetch {download.name} "
            f"(licence: {download.licence})"
        )
    here = ", ".join(sorted({one.name for one in installed() if one.spec is not None})) or "none"
    raise ModelError(
        f"{name} is neither a file nor a network that is known here; here are: {here}. unveil models list shows what "
        "can be had, unveil models add FILE makes a file known"
    )


def read(path: Path) -> tuple[Spec, bytes]:
    """What a network file expects, and its bytes. A file of the table is known by its bytes, whatever its name.

    Raises ModelError when it cannot be read, is unknown, or is not the file that its name or description tells.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from None
    sha256 = hashlib.sha256(raw).hexdigest()
    spec = table().get(sha256) or described(path, sha256)
    if spec is not None:
        return spec, raw
    known = next((sha for sha, files in file_names().items() if path.name in files), None)
    if known is not None:
        raise ModelError(
            f"{path}: sha256 {sha256} where {table()[known].name} has {known}; the file is damaged or another. Fetch "
            f"it again, or describe it in {descriptor(path)} if it is meant to differ"
        )
    if raw[:2] in (b"PK", b"\x80\x02", b"\x80\x04"):
        raise ModelError(
            f"{path.name} looks like a PyTorch checkpoint, which can run code when it is opened and is not; export the "
            "network with torch.onnx.export and pass that file"
        )
    raise ModelError(
        f"{path.name} (sha256 {sha256[:16]}...) is not in the model table and how to prepare pictures for it is "
        f"not guessed. Say which kind it is: unveil models add {path} --as KIND (one of {', '.join(families())}); or "
        f"write what its authors say into {descriptor(path)}, for example:\n\n{DESCRIPTOR_EXAMPLE}"
    )


def load_weights(model: str | Path | None) -> tuple[ModelSpec, bytes]:
    """The description and the ONNX bytes of a recognition network; the default one for None or its name.

    Raises ModelError as `find` and `read`, and for a detector.
    """
    if model is None or str(model) == default_spec().name:
        raw = dlib_onnx.package_file(dlib_onnx.WEIGHTS).read_bytes()
        sha256 = hashlib.sha256(raw).hexdigest()
        if sha256 != default_spec().sha256:
            raise ModelError(f"the default weights in face_recognition_models changed (sha256 {sha256}); reinstall it")
        return default_spec(), dlib_onnx.convert(raw)
    path = find_model(model)
    spec, raw = read(path)
    if not isinstance(spec, ModelSpec):
        raise ModelError(f"{path} is a face detector ({spec.name}); a recognition network was expected, see --detector")
    return spec, raw


def load_detector(detector: str | Path) -> tuple[DetectorSpec, bytes]:
    """The description and the ONNX bytes of a detector; ModelError as `find` and `read`, and for another network."""
    path = find_model(detector)
    spec, raw = read(path)
    if not isinstance(spec, DetectorSpec):
        raise ModelError(f"{path} is no face detector but a recognition network ({spec.name}); see --model")
    return spec, raw


def verify_installed() -> list[Checked]:
    """Reads every network file on this machine again."""
    checked = []
    for one in installed():
        try:
            spec, _ = read(one.path)
        except ModelError as error:
            state: State = "not described" if "not in the model table" in str(error) else "damaged"
            checked.append(Checked(one, state, str(error).split("\n")[0]))
        else:
            checked.append(Checked(Installed(spec.name, one.path, spec), "good", f"sha256 {spec.sha256}"))
    return checked


def install(spec: Spec, raw: bytes, file: str) -> Path:
    """Puts a network into the library under its name, with a description where the table has none; gives its path.

    Raises ModelError when a different network has that name already.
    """
    folder = library_folder() / safe_name(spec.name)
    path = folder / Path(file).name
    if path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() != spec.sha256:
        raise ModelError(f"{path} is there already and differs; remove it, or give this one another --name")
    if spec.sha256 not in table():
        write_bytes(descriptor(path), toml_of(spec).encode())
    write_bytes(path, raw)
    return path


def toml_of(spec: Spec) -> str:
    """A description of a network in our TOML, as `described` reads it."""
    facts: dict[str, Any] = asdict(spec)
    if isinstance(spec, DetectorSpec):
        facts["detector"] = facts.pop("family")
    # A JSON text or list of numbers is a TOML one.
    return "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in facts.items())
