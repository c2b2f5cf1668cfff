"""Command-line options. Those of the settings are built from the table of settings."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from unveil.choices import ROLES
from unveil.config.declaration import Setting
from unveil.config.settings import EXECUTION, SETTINGS

Command = Callable[..., None]

SettingsFile = Annotated[
    Path | None,
    typer.Option(
        "--settings",
        metavar="FILE",
        help="A TOML file with any of these settings. Options win.",
        rich_help_panel=EXECUTION,
    ),
]
Trusted = Annotated[
    bool,
    typer.Option(
        "--trusted",
        help="The file of settings is yours: it may name places outside its folder, addresses, and where to write.",
        rich_help_panel=EXECUTION,
    ),
]
Log = Annotated[
    str | None,
    typer.Option(
        "--log",
        metavar="FILE",
        help="Write the progress and the messages of the run as lines of JSON; - writes to standard error.",
        rich_help_panel=EXECUTION,
    ),
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print the verdict alone, and no progress.", rich_help_panel=EXECUTION)
]
Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose",
        "-v",
        help="Print every number of the result, and how the images were read.",
        rich_help_panel=EXECUTION,
    ),
]
AsJson = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print audit.json instead of the summary; with --redact, audit.redacted.json.",
        rich_help_panel=EXECUTION,
    ),
]
Redact = Annotated[
    bool, typer.Option("--redact", help="Also write a report and a document without faces and without names.")
]


def with_settings(*names: str, single: tuple[str, ...] = ()) -> Callable[[Command], Command]:
    """Gives a command the options of these settings. It receives their values as its first argument, a dictionary
    without the options that are not set. Settings in ``single`` have one option for all roles, and take one value."""

    def decorate(command: Command) -> Command:
        own = inspect.signature(command, eval_str=True)
        settings = [p for name in names for p in _parameters(SETTINGS[name], single=name in single)]
        _, *others = own.parameters.values()
        ordered = [p for p in others if _is_argument(p)] + settings + [p for p in others if not _is_argument(p)]

        @wraps(command)
        def run(**arguments: Any) -> None:
            options = {p.name: arguments.pop(p.name) for p in settings}
            command(_values({name: value for name, value in options.items() if value is not None}), **arguments)

        # Typer reads these two.
        run.__signature__ = own.replace(  # type: ignore[attr-defined]
            parameters=[p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in ordered]
        )
        run.__annotations__ = {p.name: p.annotation for p in ordered} | {"return": None}
        del run.__wrapped__
        return run

    return decorate


def _is_argument(parameter: inspect.Parameter) -> bool:
    return any(isinstance(one, typer.models.ArgumentInfo) for one in getattr(parameter.annotation, "__metadata__", ()))


def _parameters(setting: Setting, *, single: bool) -> list[inspect.Parameter]:
    """The options of a setting: one, or one for all roles and one for each."""
    default = setting.default_text
    found = [_option(setting, setting.name, setting.flags, setting.help, f" (default: {default})" if default else "")]
    if setting.by_role == "options" and not single:
        found += [
            _option(setting, f"{role}_{setting.name}", (), f"The same for the {role} images.", "") for role in ROLES
        ]
    return found


def _option(setting: Setting, name: str, flags: tuple[str, ...], help: str, default: str) -> inspect.Parameter:
    flags = flags or ("--" + name.replace("_", "-"),)
    kinds: dict[str, Any] = {"int": int, "float": float, "bool": bool}
    kind = list[str] if setting.repeatable else kinds.get(setting.type, str)
    info = typer.Option(
        *flags, metavar=setting.metavar or _metavar(setting), help=help + default, rich_help_panel=setting.panel
    )
    annotation = Annotated[kind | None, info]  # type: ignore[valid-type]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _metavar(setting: Setting) -> str | None:
    """The choices, where one of them is the whole value."""
    return "|".join(setting.choices) if setting.choices and setting.by_role is None else None


def _values(options: dict[str, Any]) -> dict[str, Any]:
    """Options by the names of their settings: ``training_labels`` is the part of ``labels`` for one role."""
    values: dict[str, Any] = {}
    for name, setting in SETTINGS.items():
        if name in options and options[name] not in ([], ()):
            values[name] = options[name]
        if setting.by_role == "options":
            of_roles = {role: options[f"{role}_{name}"] for role in ROLES if f"{role}_{name}" in options}
            if of_roles:
                for_all = dict.fromkeys(ROLES, values[name]) if name in values else {}
                values[name] = {**for_all, **of_roles}
    return values
