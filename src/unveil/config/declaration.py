"""How a setting is declared: a dataclass field that carries its help, limits and other facts as metadata."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from unveil.choices import ROLES
from unveil.errors import SettingError

KEY = "setting"
MAX_SHOWN = 200
# A setting for each role: one option for all roles and one for each, or one option of the form ROLE=VALUE,...
ByRole = Literal["options", "text"]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Everything that is known of one setting. ``name``, ``type`` and ``default`` come from its field."""

    name: str
    type: str  # as the field spells it
    default: Any  # None if there is none
    help: str
    panel: str
    expected: str = ""  # its values in words, where type and limits do not say it
    metavar: str | None = None
    flags: tuple[str, ...] = ()  # the spellings of its option; empty: the name with dashes
    choices: tuple[str, ...] = ()
    at_least: float | None = None
    at_most: float | None = None
    separator: str | None = None  # splits a text into a tuple
    repeatable: bool = False  # the option can be given several times
    by_role: ByRole | None = None
    default_of_role: str = "auto"
    default_words: str = ""  # a default that is computed, in words
    changes_result: bool = True  # it stands in the manifest, and a run directory belongs to its value
    private: bool = False  # it may hold a name or a path, which redaction removes

    @property
    def option(self) -> str:
        """The long spelling of its command-line option."""
        return self.flags[0] if self.flags else "--" + self.name.replace("_", "-")

    @property
    def default_text(self) -> str:
        """The default in words; empty if there is none."""
        if self.default_words or self.by_role is not None:
            return self.default_words or self.default_of_role
        if self.default is None or isinstance(self.default, bool):
            return ""
        return ",".join(self.default) if isinstance(self.default, tuple) else format(self.default, "")

    @property
    def values(self) -> str:
        """The values it takes, in words."""
        if self.choices:
            text = f"one of {', '.join(self.choices)}"
        elif self.expected:
            text = self.expected
        elif self.type in ("int", "float"):
            text = "a whole number" if self.type == "int" else "a number"
            text += "" if self.at_least is None else f" of at least {self.at_least:g}"
            text += "" if self.at_most is None else f" and at most {self.at_most:,}"
        elif self.type == "bool":
            text = "true or false"
        else:
            text = "a path, an address or PRESET:PATH" if "Location" in self.type else "a path"
        return text if self.by_role is None else f"{text}; or a table with one for any of {', '.join(ROLES)}"

    @property
    def advice(self) -> str:
        """What to do about a value that cannot be used."""
        if self.type == "bool":
            return f"Write {self.name} = true in a settings file, or {self.option} on the command line"
        if self.by_role == "text":
            return f"Use for example {self.option} yes, or {self.option} synthetic=yes,training=no"
        if self.by_role == "options":
            return f"Use for example {self.option} folder"
        if self.default_text:
            return f"Leave {self.name} out to use {self.default_text}"
        return f"Use {self.option} {self.metavar}"

    def refusal(self, found: object) -> SettingError:
        """The error of a value that cannot be used: what was expected, what was found, what to do."""
        return SettingError(f"{self.name}: expected {self.values}, found {_shown(found)}. {self.advice}")

    def check(self, value: Any) -> None:
        """Raises SettingError for a value of the right type that is outside the limits or choices."""
        for one in value.values() if self.by_role is not None else [value]:
            if self.choices and one not in self.choices:
                raise self.refusal(one)
            if self.at_least is not None and not one >= self.at_least:
                raise self.refusal(one)
            if self.at_most is not None and not one <= self.at_most:
                raise self.refusal(one)

    def plain(self, value: Any) -> Any:
        """A value as JSON holds it. A setting by role names every role."""
        if self.by_role is not None:
            return {role: str(value.get(role, self.default_of_role)) for role in ROLES}
        if isinstance(value, tuple):
            return list(value)
        return value if value is None or isinstance(value, (bool, int, float)) else str(value)


def setting(default: Any = dataclasses.MISSING, *, factory: Callable[[], Any] | None = None, **facts: Any) -> Any:
    """A dataclass field that declares a setting. ``facts`` are fields of `Setting`."""
    if factory is not None:
        return dataclasses.field(default_factory=factory, metadata={KEY: facts})
    return dataclasses.field(default=default, metadata={KEY: facts})


def declared(table: type) -> dict[str, Setting]:
    """The settings that a dataclass declares, by name, in the order of its fields."""
    found = {}
    for field in dataclasses.fields(table):
        if KEY in field.metadata:
            default = None if field.default is dataclasses.MISSING else field.default
            default = default if field.default_factory is dataclasses.MISSING else field.default_factory()
            found[field.name] = Setting(name=field.name, type=str(field.type), default=default, **field.metadata[KEY])
    return found


def _shown(value: object) -> str:
    """A value in an error message, of limited length and without control characters."""
    try:
        text = f"{value:g}" if isinstance(value, float) else repr(value)
    except (ValueError, RecursionError):  # Python writes no number of more than 4,300 digits
        text = "a value that is too large to show"
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "..."
