"""What a settings file may name. It may come from somebody else, so it decides neither where anything is read from
outside its folder, nor where anything is written, nor which cluster is used."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from unveil.choices import ROLES
from unveil.config.settings import LISTS
from unveil.errors import SettingError
from unveil.images.readers.shards import MAX_SHARDS, expand_braces
from unveil.io.remote import is_address
from unveil.presets import resolve

# Where work is done and written to, whose embeddings count, whether links lead reading out of a folder, and whether a
# protocol binds.
TYPED = ("engine", "out", "store", "trust_store", "follow_links", "deviate")
MODELS = ("model", "detector", "copy_model")
ADVICE = "Give it on the command line, or add --trusted if the file is yours"


def check_confined(values: Mapping[str, Any], file: Path, root: Path | None = None, base: Path | None = None) -> None:
    """Raises SettingError if the settings in a file name a place outside its folder, an address or a cluster.

    ``root`` is a folder that the user typed instead of that of the file: links in it are the user's. Relative paths
    start at ``base`` (default: the current folder).
    """
    for name in TYPED:
        if values.get(name) not in (None, False):
            raise SettingError(
                f"{file}: expected settings of the audit, found {name}, which a file may not decide. {ADVICE}"
            )
    n_names = 0
    for name, place in _places(values):
        if is_address(place):
            raise SettingError(f"{file}: expected a path as {name}, found an address. {ADVICE}")
        names = expand_braces(place) if "{" in place else [place]
        n_names += len(names)
        if n_names > MAX_SHARDS:
            raise SettingError(f"{file}: expected at most {MAX_SHARDS} paths, found {n_names} and more. {ADVICE}")
        for one in names:
            if not _is_inside(one, root, root or file.parent, base or Path()):
                raise SettingError(
                    f"{file}: expected a path below {root or file.parent} as {name}, found one outside. {ADVICE}"
                )


def _places(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The paths and addresses among plain values. Values of a wrong type are reported when they are parsed."""
    for name in (*ROLES, *LISTS, *MODELS):
        value = values.get(name)
        for one in value if isinstance(value, list) else [value]:
            if not isinstance(one, str):
                continue
            if name in ROLES:
                yield name, resolve(one)[0].target
            elif name in LISTS or is_address(one) or is_path(one):
                yield name, one


def is_path(model: str) -> bool:
    """Whether a model is named by a path. A name that is also a file in the current folder is one."""
    path = Path(model)
    return path.name != model or path.suffix == ".onnx" or path.exists()


def _is_inside(place: str, root: Path | None, folder: Path, base: Path) -> bool:
    try:
        if root is not None:
            return Path(os.path.abspath(base / place)).is_relative_to(os.path.abspath(folder))  # noqa: PTH100
        return (base / place).resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError, RuntimeError):  # a null byte, a circle of links
        return False
