"""The presets: one TOML file of facts for each published set."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from functools import cache
from importlib import resources
from typing import Any, Literal

from unveil.errors import SettingError
from unveil.images.label_rule import LabelRule
from unveil.images.location import COMMON, FORMS, Location, split_prefix

PresetKind = Literal["synthetic", "real", "rendered"]


@dataclass(frozen=True)
class Preset:
    """The facts about one set. Where the container is not ``established``, its content decides, as without a preset.

    ``form`` is a form and ``labels`` a label rule of `unveil.images`. ``trained_on`` names the real sets behind a
    generator, by their presets where there are any, and ``trained_on_note`` describes them.
    """

    name: str
    title: str
    kind: PresetKind
    established: bool
    note: str
    form: str | None = None
    labels: str | None = None
    aligned: Literal["yes", "no"] | None = None
    trained_on: tuple[str, ...] = ()
    trained_on_note: str = ""
    paper: str = ""
    paper_title: str = ""
    licence: str = "not established: ask whoever gave you the set"

    def __post_init__(self) -> None:
        if self.form is not None and self.form not in FORMS:
            raise SettingError(f"preset {self.name}: there is no form {self.form}")
        if self.labels is not None:
            LabelRule.parse(self.labels)


@cache
def presets() -> dict[str, Preset]:
    """All presets by name, in alphabetical order."""
    folder = resources.files("unveil.presets")
    found = {}
    for file in sorted(folder.iterdir(), key=lambda f: f.name):
        if file.name.endswith(".toml"):
            name = file.name.removesuffix(".toml")
            found[name] = _preset(name, tomllib.loads(file.read_text("utf-8")))
    return found


def _preset(name: str, facts: dict[str, Any]) -> Preset:
    unknown = set(facts) - {f.name for f in fields(Preset)}
    if unknown:
        raise SettingError(f"preset {name}: unknown facts {', '.join(sorted(unknown))}")
    plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in facts.items()}
    return Preset(name=name, **plain)


def find_preset(name: str) -> Preset:
    """The preset of this name; SettingError with all names when there is none."""
    if name not in presets():
        raise SettingError(f"there is no preset {name}; use one of {', '.join(presets())}")
    return presets()[name]


def resolve(text: str) -> tuple[Location, Preset | None]:
    """The location and the preset, if any, in ``PRESET[,option=value...]:PATH`` or ``[FORM...:]PATH``.

    Raises SettingError for an option that the form does not have.
    """
    name, options, target = split_prefix(text)
    if name is None or name not in presets():
        return Location.parse(text), None
    preset = presets()[name]
    # A set published as a folder may also lie there as a zip or tar.
    form = preset.form if preset.established and preset.form != "folder" else None
    known = (*(FORMS[form] if form else ()), *COMMON)
    if set(options) - set(known):
        raise SettingError(f"{text}: the preset {name} has no option {', '.join(sorted(set(options) - set(known)))}")
    return Location(target, form, options, preset=name), preset
