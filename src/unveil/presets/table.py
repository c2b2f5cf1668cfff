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
    """What is known of one set. What is not ``established`` is not used: its content decides, as without a preset.

    ``form`` and ``labels`` are those of `unveil.images`; ``trained_on`` are the real sets behind a generator, by the
    names of their presets where there are any.
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
            raise SettingError(f"preset {self.name}: no form {self.form}")
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
    """The preset of this name; SettingError with the names there are."""
    if name not in presets():
        raise SettingError(f"no preset {name}; there are {', '.join(presets())}")
    return presets()[name]


def resolve(text: str) -> tuple[Location, Preset | None]:
    """The place that ``PRESET[,option=value...]:PATH`` or ``[FORM...:]PATH`` names, and the preset, if one is.

    Raises SettingError for options that its form does not understand.
    """
    name, options, target = split_prefix(text)
    if name is None or name not in presets():
        return Location.parse(text), None
    preset = presets()[name]
    # A folder may also be had packed, as a zip or a tar.
    form = preset.form if preset.established and preset.form != "folder" else None
    known = (*(FORMS[form] if form else ()), *COMMON)
    if set(options) - set(known):
        raise SettingError(f"{text}: the preset {name} has no option {', '.join(sorted(set(options) - set(known)))}")
    return Location(target, form, options, preset=name), preset
