"""Known networks: what each file expects by its sha256, where it can be had, and families of one kind."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from unveil.faces.models.spec import ModelSpec, Spec, spec_from_facts

DEFAULT = "dlib_resnet_v1"


@dataclass(frozen=True)
class Download:
    """What can be fetched: one address, its sha256, and the files in it (``file name -> sha256``) that are known."""

    name: str
    address: str
    sha256: str
    licence: str
    files: dict[str, str]

    @property
    def zipped(self) -> bool:
        """Whether the address is of a zip that holds the files, not of the one file itself."""
        return self.sha256 not in self.files.values()


@cache
def _read() -> dict[str, Any]:
    text = (resources.files("unveil.faces.models") / "table.toml").read_text("utf-8")
    return tomllib.loads(text)


@cache
def table() -> dict[str, Spec]:
    """Every known network by the sha256 of its file."""
    specs = (spec_from_facts(m, m["sha256"], "the model table") for m in _read()["network"])
    return {spec.sha256: spec for spec in specs}


@cache
def by_name() -> dict[str, Spec]:
    """Every known network by its name."""
    return {spec.name: spec for spec in table().values()}


@cache
def file_names() -> dict[str, tuple[str, ...]]:
    """sha256 of every known network -> the names under which its file is published."""
    return {m["sha256"]: tuple(m["files"]) for m in _read()["network"]}


@cache
def downloads() -> dict[str, Download]:
    """What can be fetched, by name."""
    known = (Download(**facts) for facts in _read()["download"])
    return {download.name: download for download in known}


def download_of(name: str) -> Download | None:
    """The download of this name, else the smallest that holds the network of this name: packs stand in that order."""
    found = downloads().get(name)
    if found is not None or name not in by_name():
        return found
    sha256 = by_name()[name].sha256
    return next((d for d in downloads().values() if sha256 in d.files.values()), None)


@cache
def families() -> dict[str, dict[str, Any]]:
    """What networks of one kind have in common, for `unveil models add --as`: facts without name, sha256, dimension."""
    return {facts["name"]: {k: v for k, v in facts.items() if k != "name"} for facts in _read()["family"]}


def default_spec() -> ModelSpec:
    """The network that is used where none is named."""
    spec = by_name()[DEFAULT]
    if not isinstance(spec, ModelSpec):
        raise TypeError(f"{DEFAULT} is no recognition network")
    return spec
