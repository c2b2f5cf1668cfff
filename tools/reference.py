"""The reference pages of the documentation, generated from the source when the site is built (`make docs`).

Each function that ends in `_page` returns the Markdown of one page. None of these pages is stored in `docs/`.
`tests/test_docs.py` calls the same functions.

    python -m tools.reference write build/docs
    python -m tools.reference check build/site
"""

from __future__ import annotations

import ast
import json
import re
import shutil
import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import typer.main

from unveil.config.settings import SETTINGS

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "unveil"
SCHEMA = PACKAGE / "results" / "audit.schema.json"
# Packages that nobody outside `unveil` uses.
INTERNAL = {"unveil.native"}


# The command line


def commands() -> dict[str, Any]:
    """Each command of `unveil` by its full name (``unveil guard check``), with the root command as ``unveil``."""
    from unveil.cli.app import app

    found: dict[str, Any] = {}

    def walk(name: str, command: Any) -> None:
        found[name] = command
        for child, below in getattr(command, "commands", {}).items():
            walk(f"{name} {child}", below)

    walk("unveil", typer.main.get_command(app))
    return found


def option_names(command: Any) -> list[str]:
    """The spellings of every option of a command, ``--help`` excluded."""
    return [name for p in _visible(command) if p.param_type_name == "option" for name in (*p.opts, *p.secondary_opts)]


def commands_page() -> str:
    """Every command and option, as the Typer application declares them."""
    parts = [
        "# Command line",
        "Every command and option of `unveil`. The page is generated from the program. Every command takes `--help`.",
    ]
    for name, command in commands().items():
        parts += [f"## `{name}`", f"    {_usage(name, command)}", _help(command)]
        below = getattr(command, "commands", {})
        if below:
            links = [f"[`{child}`](#{anchor(name + ' ' + child)})" for child in below]
            parts.append(f"Commands: {', '.join(links)}.")
        parts += _parameters(command)
    return "\n\n".join(part for part in parts if part) + "\n"


def _visible(command: Any) -> list[Any]:
    return [p for p in command.params if not getattr(p, "hidden", False) and p.name != "help"]


def _usage(name: str, command: Any) -> str:
    arguments = []
    for p in _visible(command):
        if p.param_type_name == "argument":
            text = p.metavar or p.name.upper()
            arguments.append(text if p.required else f"[{text}]")
    options = ["[OPTIONS]"] if option_names(command) else []
    return " ".join([name, *options, *(["COMMAND"] if getattr(command, "commands", None) else arguments)])


def _help(command: Any) -> str:
    """The help text of a command; the lines after **Examples** become a code block."""
    text = _unwrapped(command.help or "")
    before, mark, after = text.partition("**Examples**")
    if not mark:
        return before
    examples = [line for line in after.split("\n") if line.startswith("unveil ")]
    rest = "\n".join(line for line in after.split("\n") if not line.startswith("unveil "))
    return "\n\n".join([before.strip(), "\n".join(f"    {line}" for line in examples), rest.strip()])


def _unwrapped(text: str) -> str:
    """Paragraphs as one line each; indented blocks as they are."""
    paragraphs = text.replace("\f", "").strip().split("\n\n")
    return "\n\n".join(p if p.startswith("    ") else " ".join(p.split()) for p in paragraphs)


def _parameters(command: Any) -> Iterator[str]:
    """One table for each panel of the help, in its order."""
    panels: dict[str, list[str]] = {}
    for p in _visible(command):
        argument = p.param_type_name == "argument"
        panel = getattr(p, "rich_help_panel", None) or ("Arguments" if argument else "Options")
        name = p.metavar or p.name.upper() if argument else ", ".join((*p.opts, *p.secondary_opts))
        row = f"| `{_cell(name)}` | {_value(p)} | {_cell(p.help or '')}{_default(p)} |"
        panels.setdefault(panel, []).append(row)
    for panel, rows in panels.items():
        heading = f"**{panel}**" if len(panels) > 1 else ""
        yield "\n".join([*([heading, ""] if heading else []), "| name | value | meaning |", "|---|---|---|", *rows])


def _value(parameter: Any) -> str:
    if getattr(parameter, "is_flag", False):
        return "flag"
    choices = _choices(parameter)
    if choices:
        return " ".join(f"`{choice}`" for choice in choices)
    text = (
        f"`{_cell(parameter.metavar)}`"
        if parameter.metavar and parameter.param_type_name == "option"
        else _type(parameter)
    )
    return f"{text}, repeatable" if parameter.multiple or parameter.nargs == -1 else text


def _annotation(parameter: Any) -> Any:
    """The Python type of a parameter: where Typer keeps it, or of the click type of older versions."""
    descriptor = getattr(parameter, "type_descriptor", None)
    return descriptor.annotation if descriptor is not None else getattr(parameter.type, "name", "text")


def _choices(parameter: Any) -> list[str]:
    annotation = _annotation(parameter)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return [str(choice.value) for choice in annotation]
    return [str(choice) for choice in getattr(getattr(parameter, "type", None), "choices", ())]


def _type(parameter: Any) -> str:
    annotation = _annotation(parameter)
    name = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "text")
    known = {"str": "text", "int": "whole number", "integer": "whole number", "float": "number", "Path": "path"}
    return known.get(name, name if isinstance(annotation, str) else "text")


def _default(parameter: Any) -> str:
    default = parameter.default
    if default in (None, False, ()) or callable(default) or parameter.required:
        return ""
    return f" Default: `{_cell(str(default.value if isinstance(default, Enum) else default))}`."


# Markdown files outside docs/ that are pages of the site.
OUTSIDE = {
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "benchmarks.md": "benchmarks/README.md",
}


def outside_page(path: str) -> str:
    """A page of the site that is stored outside ``docs/``, with its links to other pages."""
    text = (ROOT / OUTSIDE[path]).read_text("utf-8").replace("](../docs/", "](").replace("](docs/", "](")
    for page, file in OUTSIDE.items():
        text = text.replace(f"]({file})", f"]({page})")
    return text


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def anchor(heading: str) -> str:
    """The anchor that Python-Markdown gives a heading."""
    kept = re.sub(r"[^\w\s-]", "", heading).strip().lower()
    return re.sub(r"[-\s]+", "-", kept)


# Settings


def settings_page() -> str:
    """Every setting of an audit, from the table that declares them, by panel of the command's help."""
    parts = [
        "# Settings",
        "Every setting of an audit. The name is a keyword argument of `unveil.audit` and a key of a TOML file "
        "(`--settings`). Command-line options win over the file. Settings marked with * do not change the result.",
    ]
    for panel in dict.fromkeys(setting.panel for setting in SETTINGS.values()):
        rows = [
            f"| `{setting.name}`{'' if setting.changes_result else ' *'}<br>`{setting.option}` | "
            f"{_cell(setting.values)} | {_cell(setting.default_text)} | {_sentence(_cell(setting.help))} |"
            for setting in SETTINGS.values()
            if setting.panel == panel
        ]
        parts += [
            f"## {panel}",
            "\n".join(["| setting and option | value | default | meaning |", "|---|---|---|---|", *rows]),
        ]
    return "\n\n".join(parts) + "\n"


# audit.json


def schema() -> dict[str, Any]:
    """The JSON Schema of `audit.json`."""
    loaded: dict[str, Any] = json.loads(SCHEMA.read_text("utf-8"))
    return loaded


def schema_fields(node: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Each field below a node of the schema, with its path: ``people[].score``. Does not enter ``$defs``."""
    for branch in node.get("anyOf", ()):
        yield from schema_fields(branch, path)
    for name, below in node.get("properties", {}).items():
        field = f"{path}.{name}" if path else name
        yield field, below
        yield from schema_fields(below, field)
    if isinstance(node.get("items"), dict):
        yield from schema_fields(node["items"], f"{path}[]")
    if isinstance(node.get("additionalProperties"), dict):
        yield from schema_fields(node["additionalProperties"], f"{path}.*")


def audit_json_page() -> str:
    """Every field of `audit.json`, from the schema that the program checks it against."""
    whole = schema()
    parts = [
        "# audit.json",
        whole.get("description", ""),
        "In a path, `[]` is each element of a list and `.*` each value of an object with free keys. A field is always "
        "present; `null` says that it does not apply.",
    ]
    for name, node in whole["properties"].items():
        parts += [
            f"## `{name}`",
            _sentence(_described(node)),
            f"Type: {_schema_type(node)}.",
            _fields_table(node, name),
        ]
    parts += ["## Shared records", "Records that several fields use."]
    for name, node in whole["$defs"].items():
        parts += [f"### `{name}`", _sentence(_described(node)), _fields_table(node, "")]
    return "\n\n".join(part for part in parts if part) + "\n"


def _fields_table(node: dict[str, Any], path: str) -> str:
    rows = [
        f"| `{field}` | {_schema_type(below)} | {_sentence(_described(below))} |"
        for field, below in schema_fields(node, path)
    ]
    return "\n".join(["| field | type | meaning |", "|---|---|---|", *rows]) if rows else ""


def _described(node: dict[str, Any]) -> str:
    texts = [node.get("description", ""), *(branch.get("description", "") for branch in node.get("anyOf", ()))]
    return _cell(next((text for text in texts if text), ""))


def _sentence(text: str) -> str:
    return text and text[0].upper() + text[1:] + ("" if text.endswith((".", "?")) else ".")


def _schema_type(node: dict[str, Any]) -> str:
    if "anyOf" in node:
        return " or ".join(dict.fromkeys(_schema_type(branch) for branch in node["anyOf"]))
    if "$ref" in node:
        name = node["$ref"].rpartition("/")[2]
        return f"[{name}](#{anchor(name)})"
    if "const" in node:
        return f"`{node['const']}`"
    if "enum" in node:
        return " ".join(f"`{value}`" for value in node["enum"])
    kinds = node.get("type", "any")
    names = {"integer": "whole number"}
    text = " or ".join(names.get(kind, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds))
    if kinds == "array":
        text = f"list of {_schema_type(node['items'])}" if node.get("items") else "list"
    low, high = node.get("minimum"), node.get("maximum")
    if high is not None:
        return f"{text}, {low} to {high}"
    return text if low is None else f"{text}, {low} or more"


# Python


def public_packages() -> dict[str, list[str]]:
    """Each package that declares ``__all__``, by its dotted name, with the names in it. `unveil` comes first."""
    found = {}
    for file in sorted(PACKAGE.rglob("__init__.py")):
        package = ".".join(("unveil", *file.parent.relative_to(PACKAGE).parts))
        names = _declared(file)
        if names and package not in INTERNAL:
            found[package] = names
    return found


def _declared(file: Path) -> list[str]:
    for node in ast.parse(file.read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and [ast.unparse(t) for t in node.targets] == ["__all__"]:
            return sorted(ast.literal_eval(node.value))
    return []


def python_pages() -> dict[str, str]:
    """The pages of the Python interface, by path below ``reference/``: one for `unveil`, one for its packages."""
    packages = public_packages()
    groups: dict[str, list[str]] = {"Functions": [], "Classes": [], "Errors": []}
    for name in packages.pop("unveil"):
        group = "Errors" if name.endswith("Error") else "Classes" if name[0].isupper() else "Functions"
        groups[group].append(name)
    front = [
        "# Python interface",
        "Import these names from `unveil`. The names of its [packages](packages.md) can change between minor versions.",
    ]
    for title, names in groups.items():
        front.append(f"## {title}")
        front += [f"::: unveil.{name}\n    options:\n      heading_level: 3" for name in names]
    below = ["# Packages", "The names that each package of `unveil` exports."]
    for package, names in packages.items():
        listed = "\n".join(f"        - {name}" for name in names)
        below.append(f"::: {package}\n    options:\n      heading_level: 2\n      members:\n{listed}")
    return {"python.md": "\n\n".join(front) + "\n", "packages.md": "\n\n".join(below) + "\n"}


# The site


def pages() -> dict[str, str]:
    """Every generated page by its path in the documentation."""
    return {
        **{path: outside_page(path) for path in OUTSIDE},
        "reference/commands.md": commands_page(),
        "reference/settings.md": settings_page(),
        "reference/audit-json.md": audit_json_page(),
        **{f"reference/{name}": text for name, text in python_pages().items()},
    }


def write_sources(folder: Path) -> None:
    """The sources of the site: a copy of ``docs/`` with the generated pages."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "docs", folder)
    for path, text in pages().items():
        (folder / path).write_text(text, "utf-8")


def faults_of(site: Path) -> list[str]:
    """What is wrong with a built site: public names without a place, and requests to other hosts."""
    built = {file: file.read_text("utf-8") for file in site.rglob("*.html")}
    whole = "".join(built.values())
    faults = [
        f"{package}.{name} has no place in the reference"
        for package, names in public_packages().items()
        for name in names
        if f'id="{package}.{name}"' not in whole
    ]
    for file, text in built.items():
        loaded = re.findall(r"""<(?:script|img|iframe|link)\b[^>]*\b(?:src|href)=["'](https?:)?//([^"'/]+)""", text)
        faults += [f"{file.relative_to(site)} loads something from {host}" for _, host in loaded]
    return faults


def main() -> None:
    """``write FOLDER`` writes the sources of the site, ``check SITE`` checks a built one."""
    command, folder = sys.argv[1:]
    if command == "write":
        write_sources(Path(folder))
    elif faults := faults_of(Path(folder)):
        sys.exit("\n".join(faults))


if __name__ == "__main__":
    main()
