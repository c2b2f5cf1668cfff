"""The plan of a study: its datasets, their paths and the settings of each audit, read from a TOML file."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unveil.config.confined import check_confined
from unveil.config.parsing import read_toml, settings_from
from unveil.config.settings import Settings
from unveil.errors import SettingError
from unveil.images.location import split_prefix
from unveil.io.remote import is_address
from unveil.presets import resolve
from unveil.types import ROLES

# Keys of a [[set]] that are no settings.
SET_KEYS = {"name", "title", *ROLES}
# The folder of the runs of a study.
RUNS = "runs"
# Characters of a name: the folder of a run has it.
MAX_NAME = 100
# The study chooses these settings itself.
RESERVED = {"out", "store", "engine", "protocol", "deviate"}


@dataclass(frozen=True)
class PlannedSet:
    """One synthetic dataset: ``places`` by role as the file states them, and the settings of this audit only."""

    name: str
    title: str
    places: dict[str, str]
    settings: dict[str, Any]

    @property
    def slug(self) -> str:
        """The name of the folder of its run."""
        return re.sub(r"[^A-Za-z0-9._-]+", "-", self.name).strip(".-") or "set"


@dataclass(frozen=True)
class Plan:
    """A study. Paths in it are relative to ``data``, which is absolute. ``engine`` is where its audits run."""

    title: str
    data: Path
    settings: dict[str, Any]
    sets: tuple[PlannedSet, ...]
    engine: str = "local"

    def places(self, planned: PlannedSet) -> dict[str, str]:
        """The path or address of each role. Relative paths are below ``data``."""
        return {role: _below(self.data, text) for role, text in planned.places.items()}

    def settings_of(self, planned: PlannedSet, out: Path) -> Settings:
        """The settings of the audit of one dataset. All audits share a store. Raises SettingError for wrong values."""
        return settings_from(
            {
                **self.settings,
                **planned.settings,
                **self.places(planned),
                "out": out / RUNS / planned.slug,
                "store": out / "unveil-store",
                "engine": self.engine,
            }
        )

    def absent(self, planned: PlannedSet) -> list[str]:
        """The roles and paths of a dataset that do not exist."""
        missing = []
        for role, text in self.places(planned).items():
            place, _ = resolve(text)
            # Unlike Path.exists, os.path.exists calls a path that is too long absent.
            if not place.remote and "{" not in place.target and not os.path.exists(place.path):  # noqa: PTH110
                missing.append(f"{role} {place.target}")
        return missing


def _below(data: Path, text: str) -> str:
    name, _, target = split_prefix(text)
    prefix = "" if name is None else text[: len(text) - len(target)]
    return text if is_address(target) else f"{prefix}{data / target}"


def read_plan(path: Path, data: Path | None = None, *, engine: str = "local", trusted: bool = False) -> Plan:
    """Reads a study from a TOML file.

    ``data`` is the folder of the datasets (default: the folder of the file). Unless ``trusted``, the file may come from
    somebody else, and names no place outside this folder. Raises SettingError for a file that is no study.
    """
    document = read_toml(path)
    unknown = set(document) - {"title", "settings", "set"}
    if unknown:
        raise SettingError(
            f"{path}: expected title, [settings] and [[set]], found {', '.join(sorted(unknown))}. Move settings below "
            "[settings]"
        )
    shared = document.get("settings", {})
    tables = document.get("set", [])
    if not isinstance(shared, dict) or not isinstance(tables, list) or not tables:
        raise SettingError(
            f"{path}: expected one or more [[set]], found none. Add one with name, synthetic and training"
        )
    sets = tuple(_planned(path, table) for table in tables)
    slugs = [planned.slug for planned in sets]
    if len(set(slugs)) < len(slugs):
        repeated = ", ".join(sorted({slug for slug in slugs if slugs.count(slug) > 1}))
        raise SettingError(f"{path}: expected different names, found {repeated} more than once. Rename a [[set]]")
    _check_reserved(path, "[settings]", shared)
    plan = Plan(str(document.get("title", path.stem)), (data or path.parent).absolute(), shared, sets, engine)
    for planned in sets:
        if not trusted:
            # Sets are relative to the folder of the datasets, and the other files to the current folder.
            check_confined(planned.places, path, data, plan.data)
            check_confined({**shared, **planned.settings}, path, data)
        plan.settings_of(planned, Path("unveil-study"))  # mistakes are reported before hours of work
    return plan


def _planned(path: Path, table: object) -> PlannedSet:
    if not isinstance(table, dict) or not isinstance(table.get("name"), str):
        raise SettingError(f'{path}: expected a name in each [[set]], found one without. Add name = "..."')
    name = table["name"]
    places: dict[str, str] = {role: table[role] for role in ROLES if role in table}
    if not {"synthetic", "training"} <= set(places) or not all(isinstance(p, str) for p in places.values()):
        raise SettingError(
            f"{path}: expected synthetic and training in the set {name}, found {', '.join(places) or 'neither'}. Give "
            "each a path or PRESET:PATH"
        )
    settings = {k: v for k, v in table.items() if k not in SET_KEYS}
    _check_reserved(path, f"the set {name}", settings)
    if len(name) > MAX_NAME:
        raise SettingError(
            f"{path}: expected names of at most {MAX_NAME} characters, found one of {len(name)} characters. "
            "Shorten it, and use title for the rest"
        )
    return PlannedSet(name, str(table.get("title", name)), places, settings)


def _check_reserved(path: Path, where: str, settings: dict[str, Any]) -> None:
    found = RESERVED & set(settings)
    if found:
        raise SettingError(
            f"{path}: expected settings of an audit in {where}, found {', '.join(sorted(found))}. Remove them: the "
            "study chooses folders itself, --engine the cluster, and a protocol is of one audit"
        )
