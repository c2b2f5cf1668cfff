"""A protocol: what is decided before an audit, in a file.

It may come from somebody else. So it names no place: it decides neither where anything is read from or written to, nor
which cluster is used. It gives values for settings, and digests that inputs and models are compared with.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from cattrs import Converter

from unveil.config.confined import MODELS, TYPED, is_path
from unveil.config.parsing import merge, parse
from unveil.config.settings import LISTS, MAX_MODELS, SETTINGS
from unveil.errors import SettingError
from unveil.io.atomic import write_bytes
from unveil.io.checksums import sealed, unsealed
from unveil.io.documents import read_json, record_reader, strict_converter, structured
from unveil.io.output_file import check_output_file
from unveil.io.regular import read_regular
from unveil.io.text import printable_document
from unveil.results import PlannedStatement
from unveil.stats.statements import FACTS, Evidence
from unveil.types import ROLES, Role

FORMAT, VERSION = "unveil protocol", 1
# A larger file is no protocol, nor is one with a longer text.
MAX_BYTES, MAX_TEXT = 2**18, 4_096
# Characters of a reason in a message.
MAX_SHOWN = 200
# The settings that a protocol fixes by their values. Models and lists are fixed by their SHA-256.
FIXED = tuple(
    name
    for name, setting in SETTINGS.items()
    if setting.changes_result and name not in {*ROLES, *LISTS, *MODELS, *TYPED}
)
# A rule that names a file of labels; the file is fixed by its SHA-256.
LIST_RULE = "list"
# Rules that the user types again: a file to read, and a pattern that can take long to search for.
TYPED_RULES = (LIST_RULE, "regex")
# Characters of a hash that are shown.
KEY_SHOWN = 16
# Statements of a single test, which are made at its level.
TESTS: tuple[Evidence, ...] = ("label link", "global test", "crowd test")


@dataclass(frozen=True)
class FixedModel:
    """A model. ``key`` is all that decides what it gives: SHA-256 of its file and of that with its description."""

    name: str
    key: str

    @property
    def shown(self) -> str:
        """The name, and the beginning of each part of the key."""
        return f"{self.name} ({' '.join(part[:KEY_SHOWN] for part in self.key.split())})"


@dataclass(frozen=True)
class FixedInput:
    """The images of a role: their number, their labels, a hash of names and labels, and one of the content if known."""

    kind: str
    images: int
    labels: int
    unlabelled: int
    names_sha256: str
    content_sha256: str | None


@dataclass(frozen=True)
class Protocol:
    """What was decided before an audit. ``sha256`` is that of the file."""

    made: str
    unveil: str
    settings: dict[str, Any]
    models: tuple[FixedModel, ...]
    detector: FixedModel
    copy_model: FixedModel | None
    files: dict[str, str]
    inputs: dict[Role, FixedInput]
    statements: tuple[PlannedStatement, ...]
    sha256: str = field(default="", compare=False)


def planned_statement(statement: Evidence, settings: Mapping[str, Any]) -> PlannedStatement:
    """A statement at the level that the settings decide."""
    if statement in FACTS:
        return PlannedStatement(statement, None, None)
    if statement in TESTS:
        return PlannedStatement(statement, settings["global_level"], "test")
    return PlannedStatement(statement, settings["fdr"], "false discovery rate")


def write_protocol(protocol: Protocol, path: Path) -> Protocol:
    """Writes a protocol to a file, and returns it with the SHA-256 of the file.

    Raises SettingError for a path that exists: what was decided is not replaced.
    """
    check_output_file("--protocol", path, None)
    statements = [
        {"statement": one.statement, "level": one.level, "level_of": one.level_of} for one in protocol.statements
    ]
    values = {**asdict(replace(protocol, statements=())), "statements": statements}
    del values["sha256"]
    document = sealed(json.loads(json.dumps({"format": FORMAT, "version": VERSION, **values})))
    data = (json.dumps(document, indent=1) + "\n").encode()
    write_bytes(path, data)
    return replace(protocol, sha256=hashlib.sha256(data).hexdigest())


def read_protocol(path: Path) -> Protocol:
    """The protocol in a file. Raises SettingError for any other file, and for one that was changed."""
    try:
        data = read_regular(path, MAX_BYTES)
        document = read_json(data)
    except FileNotFoundError:
        raise SettingError(f"--protocol: expected a text file, found none at {path}. Correct the path") from None
    except (OSError, ValueError) as error:
        raise SettingError(f"{path}: expected a protocol, found no readable one ({error}). {_ADVICE}") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise SettingError(f"{path}: expected a protocol, found another document. {_ADVICE}")
    if document.get("version") != VERSION:
        raise SettingError(
            f"{path}: expected a protocol of version {VERSION}, found version {str(document.get('version'))[:20]!r}. "
            "Use the version of unveil that made it"
        )
    try:
        values = unsealed(document)
    except ValueError:
        raise SettingError(
            f"{path}: expected a protocol as it was made, found one that was changed since. Use the original file"
        ) from None
    facts = {name: printable_document(value) for name, value in values.items() if name not in ("format", "version")}
    try:
        protocol = structured(_converter(), facts, Protocol)
        statements = tuple(replace(one, made=False, not_made_because=None) for one in protocol.statements)
        protocol = replace(protocol, statements=statements, sha256=hashlib.sha256(data).hexdigest())
        _check(protocol)
    except (AttributeError, TypeError, ValueError, SettingError) as error:
        raise _incomplete(path, str(error)) from None
    return protocol


def _incomplete(path: Path, why: str) -> SettingError:
    shown = why if len(why) <= MAX_SHOWN else why[:MAX_SHOWN] + "..."
    return SettingError(f"{path}: expected a complete protocol, found another document ({shown}). {_ADVICE}")


_ADVICE = "Make one with unveil plan --protocol FILE"


def under_protocol(values: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values of settings, with those of the protocol among them where nothing is set.

    Paths, lists and regular expressions of label rules are not taken from it. They are compared.
    """
    file = values.get("protocol")
    if file is None and values.get("deviate") is not None:
        raise SettingError(
            "deviate: expected a protocol to deviate from, found none. Name it with --protocol, or leave --deviate out"
        )
    if not isinstance(file, (str, Path)):
        return dict(values)
    settings = read_protocol(Path(file)).settings
    decided = {name: value for name, value in settings.items() if name not in (*MODELS, "labels")}
    rules = {role: rule for role, rule in settings["labels"].items() if rule.partition(":")[0] not in TYPED_RULES}
    return merge({**decided, **named_models(settings), "labels": rules}, values)


def without_places(name: str, value: Any) -> Any:
    """A plain value of a setting as a protocol states it, without the path of a list of labels."""
    if name != "labels":
        return value
    return {role: LIST_RULE if rule.startswith(f"{LIST_RULE}:") else rule for role, rule in value.items()}


def named_models(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The models among plain values of settings that are named and not given by a path."""
    found: dict[str, Any] = {}
    for name in MODELS:
        value = facts.get(name)
        names = value if isinstance(value, list) else [str(value)]
        if value and not any(is_path(one) for one in names):
            found[name] = value
    return found


def _check(protocol: Protocol) -> None:
    """Raises ValueError or SettingError for values that no protocol has."""
    if datetime.fromisoformat(protocol.made).tzinfo is None:
        raise ValueError("a time without a time zone")
    missing = set(FIXED) - set(protocol.settings)
    unknown = set(protocol.settings) - {*FIXED, *MODELS}
    if missing or unknown:
        raise ValueError(f"settings that are {'not in it' if missing else 'unknown'}: {sorted(missing or unknown)}")
    if any(set(protocol.settings[name]) != set(ROLES) for name in ("labels", "aligned")):
        raise ValueError("labels or alignment of other roles")
    # A pattern is compared and never compiled, which can take gigabytes.
    rules = {
        role: "none" if rule == LIST_RULE or str(rule).startswith("regex:") else rule
        for role, rule in protocol.settings["labels"].items()
    }
    parsed = parse({**protocol.settings, "labels": rules})
    models = [*parsed.get("model", ()), *(parsed[name] for name in ("detector", "copy_model") if name in parsed)]
    names_labels = any(rule.kind == LIST_RULE for rule in parsed["labels"].values())
    if names_labels or any(Path(model).name != model for model in models):
        raise ValueError("the path of a file")
    planned = tuple(planned_statement(one.statement, protocol.settings) for one in protocol.statements)
    if protocol.statements != planned or len(set(planned)) < len(planned):
        raise ValueError("statements that no audit with these settings makes")
    if set(protocol.files) - set(LISTS):
        raise ValueError("files that no setting names")
    if not {"synthetic", "training"} <= set(protocol.inputs) or not 1 <= len(protocol.models) <= MAX_MODELS:
        raise ValueError("no synthetic or training images, or no models")


@cache
def _converter() -> Converter:
    converter = strict_converter(max_text=MAX_TEXT)
    # What is known only after the audit, or of the whole file, is not in it.
    for kind, later in ((PlannedStatement, ("made", "not_made_because")), (Protocol, ("sha256",))):
        converter.register_structure_hook(kind, record_reader(converter, kind, omit=later))
    return converter
