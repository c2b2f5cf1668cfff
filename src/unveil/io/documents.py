"""JSON and TOML of somebody else: read within bounds, and made into records with every value checked against its type.

Nothing is converted: a text is no number, 1 is not true, and a list is no text. A message names the offending value.
"""

from __future__ import annotations

import json
import math
import re
import struct
import tomllib
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import fields as fields_of
from dataclasses import is_dataclass
from functools import cache, partial
from typing import (
    Annotated,
    Any,
    Literal,
    NoReturn,
    NotRequired,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

import pyarrow as pa
from cattrs import Converter, transform_error
from cattrs.errors import (
    AttributeValidationNote,
    BaseValidationError,
    ClassValidationError,
    IterableValidationError,
    IterableValidationNote,
)
from cattrs.gen import make_dict_structure_fn, override

from unveil.io.collection import collection_paused
from unveil.io.text import printable
from unveil.io.unique_keys import every_key_once

T = TypeVar("T")
# What libraries raise when they read a file that is damaged or forged, beside the errors of this package.
FROM_LIBRARIES = (
    *(OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError),
    *(zipfile.BadZipFile, zlib.error, struct.error, pa.ArrowException),
)
# Of tables and lists in each other. The deepest record of a result has fewer.
MAX_DEPTH = 64
# Of a settings file, a study or the description of a model, and the dots of one of its lines.
MAX_TOML_BYTES, MAX_DOTS = 2**20, 50
# The largest whole number of a table's column.
MAX_WHOLE = 2**63 - 1
# Characters of a value in a message, and of the reason for which a file is damaged.
MAX_SHOWN, MAX_REASON = 40, 300
# The note of a type whose numbers have these bounds. Others are tuples of choices, and patterns of a text.
SHARE = "0 to 1"


def read_json(data: bytes) -> Any:
    """The JSON value in these bytes.

    Raises ValueError for anything else, for numbers that JSON does not have, for nesting beyond MAX_DEPTH, and for a
    key that a table has twice: programs differ in the value that they take.
    """
    try:
        with collection_paused():
            value = json.loads(data, parse_constant=_no_number, object_pairs_hook=every_key_once)
        check_depth(value)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    return value


def read_toml(data: bytes) -> dict[str, Any]:
    """The tables of a TOML document.

    Raises ValueError for anything else, and for a document or a line that is no settings file's: Python's parser takes
    memory that grows with the square of the parts of a key.
    """
    if len(data) > MAX_TOML_BYTES:
        raise ValueError(f"at most {MAX_TOML_BYTES:,} bytes are expected")
    if any(line.count(b".") > MAX_DOTS for line in data.split(b"\n")):
        raise ValueError(f"at most {MAX_DOTS} dots in a line are expected")
    try:
        return tomllib.loads(data.decode("utf-8"))
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def check_depth(value: Any) -> None:
    """Raises ValueError for a JSON value that is nested deeper than MAX_DEPTH."""
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise ValueError("it is nested too deep")
        level = [
            below
            for one in level
            for below in (one.values() if type(one) is dict else one if type(one) is list else ())
            if type(below) in (dict, list)
        ]


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def structured(converter: Converter, value: Any, kind: type[T]) -> T:
    """A JSON value as a record. Raises ValueError with the place of the first value that does not fit."""
    try:
        with collection_paused():
            return converter.structure(value, kind)
    except BaseValidationError as error:
        message, _, place = transform_error(error, "", lambda e, _: _reason(e))[0].rpartition(" @ ")
        place = printable(place.lstrip("."))
        raise ValueError(f"{place}: {message}" if place else message) from None
    except (TypeError, ValueError, KeyError) as error:
        raise ValueError(_reason(error)) from None


def _reason(error: BaseException) -> str:
    return "expected a value, found none" if isinstance(error, KeyError) else printable(str(error))


def strict_converter(*, max_text: int | None = None) -> Converter:
    """A converter to records that converts nothing silently, and fills in nothing.

    A table has every name of its record and no other, whatever the defaults of the record. Whole numbers are at least
    0, as in every record, and numbers are finite. Texts have at most ``max_text`` characters.
    """
    converter = Converter()

    def hook(read: Callable[[Any, Any], Any], fits: Callable[[Any], bool]) -> None:
        converter.register_structure_hook_func(fits, read)

    def read_text(value: Any, _: Any) -> str:
        text: str = _of(str, value, "a text")
        if max_text is not None and len(text) > max_text:
            raise ValueError(f"expected a text of at most {max_text} characters, found {len(text)}")
        return text

    def read_dict(value: Any, kind: Any) -> Any:
        read_name, read_value = (reader_of(converter, one) for one in get_args(kind))
        return {
            _at(name, kind, read_name, name): _at(name, kind, read_value, one)
            for name, one in _of(dict, value, "a table").items()
        }

    def read_typed_dict(value: Any, kind: Any) -> Any:
        """A table whose names have values of their types."""
        found, hints = _of(dict, value, "a table"), _hints(kind)
        optional = {name for name, of_value in hints.items() if get_origin(of_value) is NotRequired}
        _check_names(found, hints.keys() - (optional - found.keys()), kind)
        reads = {name: get_args(of)[0] if name in optional else of for name, of in hints.items()}
        return {name: _at(name, kind, reader_of(converter, reads[name]), one) for name, one in found.items()}

    converter.register_structure_hook(str, read_text)
    converter.register_structure_hook(bool, lambda value, _: _of(bool, value, "true or false"))
    converter.register_structure_hook(int, lambda value, _: _whole(value))
    converter.register_structure_hook(float, lambda value, _: _number(value))
    hook(_choice, lambda kind: get_origin(kind) is Literal)
    hook(
        lambda value, kind: reader_of(converter, kind)(value),
        lambda kind: get_origin(kind) in (Annotated, tuple, list),
    )
    hook(read_dict, lambda kind: get_origin(kind) is dict)
    hook(read_typed_dict, is_typeddict)
    converter.register_structure_hook_factory(is_dataclass, lambda kind: record_reader(converter, kind))
    return converter


def record_reader(converter: Converter, kind: Any, *, omit: Sequence[str] = ()) -> Callable[[Any, Any], Any]:
    """A reader of a record from a table, without the fields ``omit``, which have defaults."""
    # cattrs leaves the notes of types out, and a reader for each field is faster than one that is looked up.
    known = {name: reader_of(converter, hint) for name, hint in _hints(kind).items() if name not in omit}
    fields: dict[str, Any] = {
        field.name: override(struct_hook=partial(_read_as, known[field.name]))
        for field in fields_of(kind)
        if field.name in known
    }
    fields |= {name: override(omit=True) for name in omit}
    read = make_dict_structure_fn(kind, converter, **fields)
    names = frozenset(known)

    def read_record(value: Any, kind: Any) -> Any:
        table = _of(dict, value, "a table")
        if table.keys() != names:  # a default would stand for what the writer of the table left out
            _check_names(table, names, kind)
        return read(table, kind)

    return read_record


def _check_names(table: Mapping[str, Any], names: AbstractSet[str], kind: Any) -> None:
    """Raises an error with its place for a name that a table lacks, or that its record does not have."""
    missing, unknown = sorted(names - table.keys()), sorted(table.keys() - names)
    if missing:
        error = ValueError("expected a value, found none")
        error.add_note(AttributeValidationNote("", missing[0], kind))
        raise ClassValidationError("", [error], kind)
    if unknown:
        raise ValueError(f"expected no other name than those of this format, found {shown(unknown[0])}")


def part_of(table: Mapping[str, Any], kind: Any) -> dict[str, Any]:
    """The values of a table whose names a record has; the others are read elsewhere."""
    return {name: table[name] for name in _hints(kind) if name in table}


def _read_as(read: Callable[[Any], Any], value: Any, _: Any) -> Any:
    return read(value)


@cache
def reader_of(converter: Converter, kind: Any) -> Callable[[Any], Any]:
    """A reader of values of one type."""
    origin, inner = get_origin(kind), get_args(kind)
    if kind in (int, float):
        return _whole if kind is int else _number
    if origin is Literal:
        return partial(_choice, kind=kind)
    if origin is Annotated:
        read_plain, note = reader_of(converter, inner[0]), inner[1]
        return lambda value: check_noted(read_plain(value), note)
    if type(None) in inner and len(inner) == 2:
        read_some = reader_of(converter, next(one for one in inner if one is not type(None)))
        return lambda value: None if value is None else read_some(value)
    if origin in (tuple, list):
        length = None if origin is list or inner[1:] == (Ellipsis,) else len(inner)
        reads = [reader_of(converter, one) for one in inner if one is not Ellipsis]
        return partial(_read_list, kind, origin, length, reads)
    return lambda value: converter.structure(value, kind)


def _read_list(kind: Any, make: Any, length: int | None, reads: Sequence[Callable[[Any], Any]], value: Any) -> Any:
    values = _of(list, value, "a list")
    if length is not None and len(values) != length:
        raise ValueError(f"expected {length} values, found {len(values)}")
    found: list[Any] = []
    try:
        # What was read before an error stays in the list, so that its length is the place of the error.
        found.extend(
            map(reads[0], values) if length is None else (r(one) for r, one in zip(reads, values, strict=True))
        )
    except Exception as error:
        raise _placed(error, len(found), kind) from None
    return make(found)


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def _at(place: Any, kind: Any, read: Callable[..., Any], *arguments: Any) -> Any:
    """A part of a table. An error gets its place."""
    try:
        return read(*arguments)
    except Exception as error:
        raise _placed(error, place, kind) from None


def _placed(error: Exception, place: Any, kind: Any) -> IterableValidationError:
    error.add_note(IterableValidationNote("", place, kind))
    return IterableValidationError("", [error], kind)


def _of(kind: type, value: Any, expected: str) -> Any:
    if type(value) is not kind:
        raise TypeError(f"expected {expected}, found {shown(value)}")
    return value


def _whole(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= MAX_WHOLE:
        raise TypeError(f"expected a whole number from 0, found {shown(value)}")
    return value


def _number(value: Any) -> float:
    try:
        number = float(value) if type(value) in (int, float) else math.nan
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise TypeError(f"expected a number, found {shown(value)}")
    return number


def _choice(value: Any, kind: Any) -> Any:
    if not isinstance(value, str) or value not in get_args(kind):
        raise ValueError(f"expected one of {', '.join(map(str, get_args(kind)))}, found {shown(value)}")
    return value


def check_noted(value: Any, note: Any) -> Any:
    """The value, if it has the bounds, the form or is one of the choices that the type of its field notes.

    Raises ValueError otherwise.
    """
    if note == SHARE:
        if not 0 <= value <= 1:
            raise ValueError(f"expected a number from 0 to 1, found {shown(value)}")
    elif isinstance(note, re.Pattern) and not note.fullmatch(value):
        raise ValueError(f"expected a text of the form {note.pattern}, found {shown(value)}")
    elif isinstance(note, Sequence) and value not in note:
        raise ValueError(f"expected one of {', '.join(note)}, found {shown(value)}")
    return value


def reason(text: str) -> str:
    """Why a file is damaged, as a message shows it: short, without control characters."""
    return printable(text)[:MAX_REASON]


def shown(value: Any) -> str:
    """A value of JSON as a message shows it: short, without control characters."""
    if isinstance(value, (list, dict)):
        return "a list" if isinstance(value, list) else "a table"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int) and not -MAX_WHOLE <= value <= MAX_WHOLE:
        return f"a whole number of {value.bit_length()} bits"
    text = json.dumps(value, ensure_ascii=True) if isinstance(value, (str, int, float)) else type(value).__name__
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "..."
