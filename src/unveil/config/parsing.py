"""From plain values (a TOML file, flags, keyword arguments) to `Settings`. Nothing here touches the file system.

The types of the table's fields decide how a value is read; cattrs finds the reader of each type.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from cattrs import Converter

from unveil.choices import CHANNELS, ROLES, Aligned, Device, MatchControls, PlantedLeaks, Role
from unveil.config.declaration import Setting
from unveil.config.settings import SETTINGS, Settings
from unveil.engine import check_engine
from unveil.errors import SettingError
from unveil.images.label_rule import LabelRule
from unveil.images.location import Location
from unveil.io import documents
from unveil.io.regular import read_regular
from unveil.io.remote import check_address, is_address
from unveil.io.remote_run import local_copy
from unveil.presets import Preset, resolve

REQUIRED = ("synthetic", "training", "out")


def merge(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values of which the second win. A setting by role is merged role by role."""
    merged = dict(first)
    for name, value in second.items():
        declaration = SETTINGS.get(name)
        if declaration is not None and declaration.by_role is not None and name in merged:
            before, after = _expanded(declaration, merged[name]), _expanded(declaration, value)
            if isinstance(before, Mapping) and isinstance(after, Mapping):
                value = {**before, **after}
        if value is not None:
            merged[name] = value
    return merged


def _expanded(declaration: Setting, value: Any) -> Any:
    return _by_role(declaration, value) if isinstance(value, str) else value


def settings_from(values: Mapping[str, Any]) -> Settings:
    """The settings of an audit from plain values; None means that a value is not set.

    Raises SettingError for unknown names, wrong types, values outside their limits and missing values.
    """
    parsed = parse(values)
    missing = [name for name in REQUIRED if name not in parsed]
    if missing:
        raise SettingError(
            "an audit needs --synthetic SYN, --training REAL and -o RUN, found no "
            f"{', '.join(SETTINGS[name].option for name in missing)}. Add it as an option or to the settings file"
        )
    return Settings(**parsed)


def parse(values: Mapping[str, Any]) -> dict[str, Any]:
    """Some settings from plain values, each of the type of its field; those that are not set are left out.

    What a preset knows of its images is used where nothing is set. Raises SettingError like `settings_from`.
    """
    unknown = sorted(set(values) - set(SETTINGS))
    if unknown:
        close = difflib.get_close_matches(unknown[0], SETTINGS, 1)
        raise SettingError(
            f"unknown setting {', '.join(unknown)}; known are {', '.join(sorted(SETTINGS))}"
            + (f". Did you mean {close[0]}?" if close else "")
        )
    parsed = {name: _parse_one(SETTINGS[name], value) for name, value in values.items() if value is not None}
    if "channels" in parsed:
        parsed["channels"] = _in_order(parsed["channels"])
    if "engine" in parsed:
        check_engine(parsed["engine"])
    if "store" in parsed and is_address(parsed["store"]):
        check_address(parsed["store"])
    out = values.get("out")
    if isinstance(out, str) and is_address(out):
        parsed["remote_run"] = check_address(out)
        parsed["out"] = local_copy(out)
    for role in ROLES:
        if values.get(role) is not None:
            parsed[role], preset = resolve(str(values[role]))
            if preset is not None and preset.established:
                _add_preset(parsed, role, preset)
    return parsed


def with_defaults(parsed: Mapping[str, Any]) -> dict[str, Any]:
    """Parsed settings with the defaults of those that are not set."""
    return {**{name: setting.default for name, setting in SETTINGS.items()}, **parsed}


def read_toml(path: Path) -> dict[str, Any]:
    """The settings in a TOML file, unchecked; SettingError if it cannot be read."""
    try:
        return documents.read_toml(read_regular(path, documents.MAX_TOML_BYTES))
    except FileNotFoundError:
        raise SettingError(f"{path}: expected a readable TOML file, found no file. Check the path") from None
    except (OSError, ValueError) as error:
        raise SettingError(f"{path}: expected a readable TOML file, found an error ({error})") from None


def _parse_one(declaration: Setting, value: Any) -> Any:
    kind = _types()[declaration.name]
    try:
        if isinstance(value, str):
            if declaration.separator is not None:
                value = [part.strip() for part in value.split(declaration.separator)]
            elif declaration.repeatable:
                value = [value]
            elif declaration.by_role is not None:
                value = _by_role(declaration, value)
        elif declaration.repeatable and isinstance(value, Path):
            value = [value]
        parsed = _converter().structure(value, kind)
        declaration.check(parsed)
    except (TypeError, ValueError, OverflowError, RecursionError):
        raise declaration.refusal(value) from None
    return parsed


def _by_role(declaration: Setting, text: str) -> dict[str, str]:
    """``yes`` for all roles, or where the declaration allows it ``synthetic=yes,training=no``."""
    if declaration.by_role != "text" or "=" not in text:
        return dict.fromkeys(ROLES, text)
    pairs = [part.partition("=") for part in text.split(",")]
    if not all(equals for _, equals, _ in pairs):
        raise declaration.refusal(text)
    return {role.strip(): value.strip() for role, _, value in pairs}


def _add_preset(parsed: dict[str, Any], role: Role, preset: Preset) -> None:
    if preset.labels is not None:
        parsed["labels"] = {role: LabelRule.parse(preset.labels), **parsed.get("labels", {})}
    if preset.aligned is not None:
        parsed["aligned"] = {role: preset.aligned, **parsed.get("aligned", {})}


def _in_order(channels: tuple[str, ...]) -> tuple[str, ...]:
    """Channels in one order, whatever the order they are named in."""
    return (*(c for c in CHANNELS if c in channels), *(c for c in channels if c not in CHANNELS))


@cache
def _types() -> dict[str, Any]:
    """The type of each setting's field, without None."""
    names = {
        **{"LabelRule": LabelRule, "Location": Location, "Path": Path, "Role": Role},
        **{"Aligned": Aligned, "Device": Device, "MatchControls": MatchControls, "PlantedLeaks": PlantedLeaks},
    }
    hints = get_type_hints(Settings, localns=names)
    return {name: _without_none(hints[name]) for name in SETTINGS}


def _without_none(kind: Any) -> Any:
    rest = [one for one in get_args(kind) if one is not type(None)]
    return rest[0] if type(None) in get_args(kind) and len(rest) == 1 else kind


def _is_of(origin: Any, kind: Any) -> bool:
    return get_origin(kind) is origin


@cache
def _converter() -> Converter:
    """Readers that convert nothing silently: a text is no number, and a number no text."""
    converter = Converter(detailed_validation=False)

    def only(*kinds: type, convert: Any) -> Any:
        def read(value: Any, _: Any) -> Any:
            if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
                raise TypeError(type(value).__name__)
            # An empty path is the current folder, and no path holds a null byte.
            if isinstance(value, str) and (not value.strip() or "\0" in value):
                raise ValueError("not a path")
            return convert(value)

        return read

    converter.register_structure_hook(str, only(str, Path, convert=str))
    converter.register_structure_hook(Path, only(str, Path, convert=Path))
    converter.register_structure_hook(int, only(int, convert=int))
    converter.register_structure_hook(float, only(int, float, convert=float))
    converter.register_structure_hook(bool, only(bool, convert=bool))
    converter.register_structure_hook(Location, only(str, Path, convert=lambda value: Location.parse(str(value))))
    converter.register_structure_hook(
        LabelRule, only(str, LabelRule, convert=lambda v: v if isinstance(v, LabelRule) else LabelRule.parse(v))
    )

    def read_choice(value: Any, kind: Any) -> Any:
        if not isinstance(value, str) or value not in get_args(kind):
            raise ValueError("not a choice")
        return value

    def read_tuple(value: Any, kind: Any) -> Any:
        if not isinstance(value, (list, tuple)):
            raise TypeError(type(value).__name__)
        return tuple(converter.structure(one, get_args(kind)[0]) for one in value)

    def read_by_role(value: Any, kind: Any) -> Any:
        if not isinstance(value, Mapping) or set(value) - set(ROLES):
            raise TypeError("not by role")
        return {role: converter.structure(one, get_args(kind)[1]) for role, one in value.items()}

    for origin, read in ((Literal, read_choice), (tuple, read_tuple), (dict, read_by_role)):
        converter.register_structure_hook_func(partial(_is_of, origin), read)
    return converter
