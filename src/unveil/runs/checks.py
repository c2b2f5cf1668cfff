"""Whether the parts of a run fit their types and each other. Somebody else may have written them."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any, Literal, TypedDict, Union, get_args, get_origin, get_type_hints

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from unveil.choices import FACE
from unveil.config.parsing import parse
from unveil.config.settings import LISTS, SETTINGS
from unveil.errors import SettingError
from unveil.io.documents import SHARE, check_noted, shown
from unveil.results import AuditResult, Calibration, ClosestImage, ReviewPair
from unveil.runs.parts import EXPOSURES, IMAGES, MATCHES, PAIRS
from unveil.types import ROLES, ChannelName, Digest, Role

# The length of vectors of single precision, up to rounding.
UNIT, UNIT_TOLERANCE = 1.0, 1e-3
# Rows of vectors that are checked at once.
BLOCK = 16_384
# Settings whose value is the place of images or lists.
FILES = frozenset({*ROLES, *LISTS})
Array = npt.NDArray[Any]


class RecordedParts(TypedDict):
    """What the manifest of a run says beside the facts of its audit."""

    places: dict[str, Any]
    parts: dict[str, str]
    result: str


class ImageRow(TypedDict):
    """A row of the table of a role's embedded images."""

    id: str
    person: str | None
    digest: Digest


class ExposureRow(TypedDict):
    """A row of the table of tested people. ``identity_row`` is -1 where a single image gives the score."""

    role: Literal["training", "control"]
    person: str
    score: float
    cosine: float
    n_images: int
    synthetic_row: int
    real_row: int
    channel: ChannelName
    identity_row: int


class MatchRow(TypedDict):
    """A row of the table of matches."""

    synthetic_id: str
    rank: int
    training_id: str
    cosine: float


ROWS: dict[str, Any] = {PAIRS: ReviewPair, IMAGES: ClosestImage, EXPOSURES: ExposureRow, MATCHES: MatchRow}
# The smallest number in a column of whole numbers; 0 in others.
SMALLEST = {"identity_row": -1}
# The columns of ids of images, and the role whose images they are. Of pairs, the real image is of the role in the row.
REFERENCES: dict[str, dict[str, Role]] = {
    PAIRS: {"synthetic_id": "synthetic"},
    IMAGES: {"id": "synthetic", "training_id": "training"},
    MATCHES: {"synthetic_id": "synthetic", "training_id": "training"},
}


def check_result(result: AuditResult) -> None:
    """Raises ValueError for a result whose parts do not fit each other."""
    if result.channels[:1] != (FACE,) or len(set(result.channels)) < len(result.channels):
        raise ValueError(f"channels: expected {FACE} and others after it, found {', '.join(result.channels) or 'none'}")
    if not result.models:
        raise ValueError("models: expected a face model, found none")
    roles, inputs = set(result.counts), set(result.manifest["inputs"])
    if not {"synthetic", "training"} <= roles or not roles == inputs == set(result.rejects):
        raise ValueError("counts: expected the roles of inputs and rejects, synthetic and training among them")
    for name, kind in get_type_hints(Calibration).items():
        optional = type(None) in get_args(kind) or (name == "balance" and result.global_test is None)
        if not optional and (getattr(result, name) is None) != (result.global_test is None):
            raise ValueError(f"{name}: expected a value in an audit with a control set, and in no other")
    if result.membership == ():
        raise ValueError("membership: expected a score, found none")
    if result.global_test is not None and "control" not in roles:
        raise ValueError("global_test: expected null without a control set, found a value")
    _check_numbers(result)
    if "key" not in result.manifest["detector"]:
        raise ValueError("manifest.detector: expected a key of its version, found none")
    _check_settings(result.manifest["settings"])


def _check_numbers(result: AuditResult) -> None:
    """Raises ValueError for numbers of which one is missing that belongs to the others."""
    for i, person in enumerate(result.people):
        for names in (("p", "q"), ("p_gpd", "q_gpd"), ("p_cosine", "q_cosine")):
            _check_together(f"people[{i}]", person, names)
    for i, risk in enumerate(result.privacy_risks):
        _check_together(f"privacy_risks[{i}]", risk, ("attack", "control", "baseline", "risk"))
        if (risk.risk is None) == risk.assessed or (risk.not_assessed_because is None) != risk.assessed:
            raise ValueError(f"privacy_risks[{i}]: expected its rates if it is assessed, and else the reason")
    if result.highest_individual_risk is not None:
        _check_together("highest_individual_risk", result.highest_individual_risk, ("control_as_close", "q"))
    link = result.label_link
    if link is not None:
        _check_together("label_link", link, ("p_value", "correspondence", "own_first"))
        if link.p_value is not None and not link.n_classes:
            raise ValueError("label_link.n_classes: expected at least 1 where a correspondence was tested, found 0")
    kinds = (*(person.kind for person in result.people), *(pair.kind for pair in result.top_pairs))
    if result.copy_thresholds is None and any(kind is not None for kind in kinds):
        raise ValueError("copy_thresholds: expected thresholds where kinds of leak were determined, found null")
    if result.exposed_people is not None and not result.exposed_people.n:
        raise ValueError("exposed_people.n: expected at least 1, found 0")


def _check_together(where: str, record: object, names: tuple[str, ...]) -> None:
    """Raises ValueError if some of these values are null and others are not."""
    if len({getattr(record, name) is None for name in names}) > 1:
        raise ValueError(f"{where}: expected a value in each of {', '.join(names)} or in none, found some")


def _check_settings(settings: Mapping[str, Any]) -> None:
    """Raises ValueError for settings that no audit records."""
    expected = {name for name, setting in SETTINGS.items() if setting.changes_result}
    missing, unknown = sorted(expected - set(settings)), sorted(set(settings) - set(SETTINGS))
    if missing or unknown:
        found = f"none with the name {missing[0]}" if missing else f"one with the name {shown(unknown[0])}"
        raise ValueError(f"manifest.settings: expected those of an audit, found {found}")
    for name in sorted(expected):
        if settings[name] is None and "None" not in SETTINGS[name].type:
            raise ValueError(f"manifest.settings.{name}: expected a value, found null")
    try:
        # A pattern is not compiled here, and no place is looked at.
        parse({name: value for name, value in settings.items() if name not in {*FILES, "labels"}})
    except SettingError as error:
        raise ValueError(f"manifest.settings: {error}") from None
    for name in ("labels", "aligned"):
        values = settings[name]
        if not isinstance(values, dict) or set(values) != set(ROLES) or not all(map(_is_text, values.values())):
            raise ValueError(f"manifest.settings.{name}: expected a text for each role, found {shown(values)}")
    for name in FILES:
        if settings[name] is not None and not _is_text(settings[name]):
            raise ValueError(f"manifest.settings.{name}: expected a text or null, found {shown(settings[name])}")


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def check_table(table: pa.Table, row: type[Any]) -> None:
    """Raises ValueError unless a table has the columns of a record, with values that their types allow."""
    for name, kind in get_type_hints(row, include_extras=True).items():
        if name not in table.column_names:
            continue  # another part of the table was asked for
        column, (plain, notes) = table[name], _plain(kind)
        if column.null_count and type(None) not in get_args(kind):
            raise ValueError(f"{name}: expected a value in each row, found {column.null_count} without")
        if len(table) and not _IS[plain](column.type):
            raise ValueError(f"{name}: expected values of type {plain.__name__}, found {column.type}")
        smallest = SMALLEST.get(name, 0)
        if plain is int and len(table) and pc.min(column).as_py() < smallest:
            raise ValueError(f"{name}: expected whole numbers from {smallest}, found {pc.min(column).as_py()}")
        if plain is float and not pc.all(pc.is_finite(column)).as_py() and len(table):
            raise ValueError(f"{name}: expected numbers, found one that is not finite")
        for note in notes:
            _check_noted(name, column, note)


def _plain(kind: Any) -> tuple[type[Any], list[Any]]:
    """The type of a column's values, and the notes and choices that bound them."""
    if get_origin(kind) in (Union, types.UnionType):
        (kind,) = (one for one in get_args(kind) if one is not type(None))
    if get_origin(kind) is Literal:
        return str, [get_args(kind)]
    notes = list(getattr(kind, "__metadata__", ()))
    return (get_args(kind)[0] if notes else kind), notes


def _check_noted(name: str, column: Any, note: Any) -> None:
    found = pc.min_max(column).as_py().values() if note == SHARE else pc.unique(column).to_pylist()
    for value in found:
        if value is not None:
            try:
                check_noted(value, note)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None


_IS = {
    str: lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind),
    int: pa.types.is_integer,
    float: pa.types.is_floating,
    bool: pa.types.is_boolean,
}


def check_array(
    name: str, array: Array | None, kind: type[Any], *shape: int | None, below: int | None = None, unit: bool = False
) -> Array:
    """The array of this name, if it has this type and shape, and finite values. None stands for any length.

    Indices are at least 0 and ``below`` a number; with ``unit``, rows are unit vectors. Raises ValueError otherwise.
    """
    if array is None:
        raise ValueError(f"{name}: expected an array, found none")
    same = len(array.shape) == len(shape) and all(n in (None, m) for n, m in zip(shape, array.shape, strict=False))
    if array.dtype != kind or not same:
        form = ", ".join("any" if n is None else str(n) for n in shape)
        raise ValueError(
            f"{name}: expected an array ({form}) of {np.dtype(kind)}, found {array.shape} of {array.dtype}"
        )
    if below is not None and len(array) and not (int(array.min()) >= 0 and int(array.max()) < below):
        raise ValueError(f"{name}: expected indices below {below}, found others")
    for start in range(0, len(array), BLOCK):
        block = array[start : start + BLOCK]
        if array.dtype.kind == "f" and not np.isfinite(block).all():
            raise ValueError(f"{name}: expected finite numbers, found others")
        with np.errstate(over="ignore"):
            lengths = np.linalg.norm(block, axis=1) if unit else np.full(1, UNIT)
        if (np.abs(lengths - UNIT) > UNIT_TOLERANCE).any():
            raise ValueError(f"{name}: expected unit vectors, found others")
    return array
