"""The settings as a manifest records them: the command that repeats the audit, and a copy without names and paths."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from shlex import quote
from typing import Any

from unveil.choices import ROLES
from unveil.config.declaration import Setting
from unveil.config.settings import SETTINGS


def command_of(facts: Mapping[str, Any], roles: Iterable[str] = ROLES) -> str:
    """The command that repeats an audit, from the settings in its manifest; defaults are left out.

    A redacted manifest has no places, and ``roles`` says which were audited.
    """
    if "synthetic" not in facts:
        return " ".join(["unveil audit", *(f"--{role} ..." for role in roles)])
    words = [word for name, value in facts.items() for word in _words(SETTINGS[name], value)]
    return " ".join(["unveil audit", *words, "-o RUN"])


def without_names(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that can hold no name and no path."""
    return {name: value for name, value in facts.items() if not SETTINGS[name].private}


def _words(declaration: Setting, value: Any) -> list[str]:
    """The option that sets a recorded value."""
    option, default = declaration.option, declaration.default_of_role
    if declaration.by_role is not None:
        different = {role: value[role] for role in ROLES if value[role] != default}
        if len(different) == len(ROLES) and len(set(different.values())) == 1:
            return [f"{option} {quote(value['synthetic'])}"]
        if declaration.by_role == "text":
            return [f"{option} {quote(','.join(f'{r}={v}' for r, v in different.items()))}"] if different else []
        return [f"--{role}-{declaration.name} {quote(rule)}" for role, rule in different.items()]
    if value is None or value == declaration.plain(declaration.default):
        return []
    if value is True:
        return [option]
    if declaration.repeatable:
        return [f"{option} {quote(one)}" for one in value]
    return [f"{option} {quote(','.join(value) if isinstance(value, list) else str(value))}"]
