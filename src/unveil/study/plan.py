"""A study as it is written down: sets, where they lie, and how they are audited."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unveil.config.parsing import read_toml, settings_from
from unveil.config.settings import Settings
from unveil.errors import SettingError
from unveil.images.location import split_prefix
from unveil.io.remote import is_address
from unveil.presets import resolve
from unveil.types import ROLES

OF_A_SET = {"name", "title", *ROLES}
# Decided by the study, not by a set.
NOT_SETTINGS = {"out", "store"}


@dataclass(frozen=True)
class PlannedSet:
    """One synthetic set: ``places`` by role as they are written, ``settings`` that differ from the study's."""

    name: str
    title: str
    places: dict[str, str]
    settings: dict[str, Any]

    @property
    def slug(self) -> str:
        """The name as a folder's name."""
        return re.sub(r"[^A-Za-z0-9._-]+", "-", self.name).strip(".-") or "set"


@dataclass(frozen=True)
class Plan:
    """A whole study; paths in it are relative to ``data``."""

    title: str
    data: Path
    settings: dict[str, Any]
    sets: tuple[PlannedSet, ...]

    def places(self, planned: PlannedSet) -> dict[str, str]:
        """The places of a set, relative ones below ``data``."""
        return {role: _below(self.data, text) for role, text in planned.places.items()}

    def settings_of(self, planned: PlannedSet, out: Path) -> Settings:
        """The settings of one set's audit, which shares its store with the others; SettingError when they are wrong."""
        return settings_from(
            {
                **self.settings,
                **planned.settings,
                **self.places(planned),
                "out": out / "runs" / planned.slug,
                "store": out / "unveil-store",
            }
        )

    def absent(self, planned: PlannedSet) -> list[str]:
        """The places of a set that are not there."""
        missing = []
        for role, text in self.places(planned).items():
            place, _ = resolve(text)
            if not place.remote and "{" not in place.target and not place.path.exists():
                missing.append(f"{role} {place.target}")
        return missing


def _below(data: Path, text: str) -> str:
    name, _, target = split_prefix(text)
    prefix = "" if name is None else text[: len(text) - len(target)]
    return text if is_address(target) else f"{prefix}{data / target}"


def read_plan(path: Path, data: Path | None = None) -> Plan:
    """A study from its TOML file; SettingError says what is wrong with it.

    ``data`` is the folder that holds the sets, by default the folder of the file.
    """
    document = read_toml(path)
    unknown = set(document) - {"title", "settings", "set"}
    if unknown:
        raise SettingError(f"{path}: unknown {', '.join(sorted(unknown))}; a study has title, [settings] and [[set]]")
    shared = document.get("settings", {})
    tables = document.get("set", [])
    if not isinstance(shared, dict) or not isinstance(tables, list) or not tables:
        raise SettingError(f"{path}: one or more [[set]] were expected, with name, synthetic, training and control")
    sets = tuple(_planned(path, table) for table in tables)
    slugs = [planned.slug for planned in sets]
    if len(set(slugs)) < len(slugs):
        raise SettingError(f"{path}: two sets of one name: {', '.join(sorted(s for s in slugs if slugs.count(s) > 1))}")
    _refuse(path, "[settings]", shared)
    plan = Plan(str(document.get("title", path.stem)), data or path.parent, shared, sets)
    for planned in sets:
        plan.settings_of(planned, Path("unveil-study"))  # every mistake is told before hours of work
    return plan


def _planned(path: Path, table: object) -> PlannedSet:
    if not isinstance(table, dict) or not isinstance(table.get("name"), str):
        raise SettingError(f"{path}: each [[set]] needs a name")
    name = table["name"]
    places: dict[str, str] = {role: table[role] for role in ROLES if role in table}
    if not {"synthetic", "training"} <= set(places) or not all(isinstance(p, str) for p in places.values()):
        raise SettingError(f"{path}: the set {name} needs synthetic and training, as paths or PRESET:PATH")
    settings = {k: v for k, v in table.items() if k not in OF_A_SET}
    _refuse(path, name, settings)
    return PlannedSet(name, str(table.get("title", name)), places, settings)


def _refuse(path: Path, where: str, settings: dict[str, Any]) -> None:
    wrong = NOT_SETTINGS & set(settings)
    if wrong:
        raise SettingError(f"{path}: {where} sets {', '.join(sorted(wrong))}, which the study decides itself")
