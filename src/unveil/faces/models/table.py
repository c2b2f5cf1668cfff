"""The table of known models: what each file expects, by its sha256; downloads; and families of models."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from unveil.faces.models.spec import ModelSpec, Spec, spec_from_facts

DEFAULT_MODEL = "dlib_resnet_v1"


@dataclass(frozen=True)
class Download:
    """A file to fetch: its address and sha256, and the known model files in it (``file name -> sha256``)."""

    name: str
    address: str
    sha256: str
    licence: str
    files: dict[str, str]

    @property
    def zipped(self) -> bool:
        """Whether the download is a zip that holds the model files, not a model file itself."""
        return self.sha256 not in self.files.values()


@cache
def _read() -> dict[str, Any]:
    text = (resources.files("unveil.faces.models") / "table.toml").read_text("utf-8")
    return tomllib.loads(text)


@cache
def model_table() -> dict[str, Spec]:
    """Every known model by the sha256 of its file."""
    specs = (spec_from_facts(m, m["sha256"], "the model table") for m in _read()["model"])
    return {spec.sha256: spec for spec in specs}


@cache
def specs_by_name() -> dict[str, Spec]:
    """Every known model by its name."""
    return {spec.name: spec for spec in model_table().values()}


@cache
def file_names() -> dict[str, tuple[str, ...]]:
    """The published file names of every known model, by the sha256 of its file."""
    return {m["sha256"]: tuple(m["files"]) for m in _read()["model"]}


@cache
def downloads() -> dict[str, Download]:
    """Every download by its name."""
    known = (Download(**facts) for facts in _read()["download"])
    return {download.name: download for download in known}


def find_download(name: str) -> Download | None:
    """The download of this name, else the first in the table with the model of this name: the smallest comes first."""
    found = downloads().get(name)
    if found is not None or name not in specs_by_name():
        return found
    sha256 = specs_by_name()[name].sha256
    return next((d for d in downloads().values() if sha256 in d.files.values()), None)


@cache
def families() -> dict[str, dict[str, Any]]:
    """What the models of a family have in common, by its name: everything but name, sha256 and dimension."""
    return {facts["name"]: {k: v for k, v in facts.items() if k != "name"} for facts in _read()["family"]}


def default_spec() -> ModelSpec:
    """The description of the default embedding model."""
    spec = specs_by_name()[DEFAULT_MODEL]
    if not isinstance(spec, ModelSpec):
        raise TypeError(f"{DEFAULT_MODEL} is not an embedding model")
    return spec
