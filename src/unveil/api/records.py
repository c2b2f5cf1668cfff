"""Records of a result as a tuple that also makes a data frame."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, fields, is_dataclass
from html import escape
from types import UnionType
from typing import Any, Literal, TypeVar, cast, get_args, get_origin, get_type_hints, overload

import pyarrow as pa

from unveil.errors import SettingError
from unveil.results import plain

T = TypeVar("T", covariant=True)
Library = Literal["pandas", "polars"]
ROWS_SHOWN = 10


class Records(tuple[T, ...]):
    """Records of one kind, in the order of the result, as a tuple that also makes a data frame.

    Each field is a column. A record in a field is a struct in Arrow and a dictionary in pandas.
    """

    kind: type[Any]

    def __new__(cls, records: Iterable[T], kind: type[Any]) -> Records[T]:
        made = super().__new__(cls, records)
        made.kind = kind
        return made

    def to_arrow(self) -> pa.Table:
        """The records as an Arrow table."""
        columns = [field.name for field in fields(self.kind)] if is_dataclass(self.kind) else []
        if not self:
            return pa.table({name: pa.array([], pa.null()) for name in columns})
        return pa.Table.from_pylist([plain(asdict(record)) for record in self])  # type: ignore[call-overload]

    def to_frame(self, library: Library = "pandas") -> Any:
        """The records as a data frame of pandas or polars, a row for each and a column for each field.

        A field that is a record itself, such as ``kind``, is a dictionary in pandas and a struct in polars. Raises
        SettingError if the library is not installed.
        """
        try:
            if library == "pandas":
                return self.to_arrow().to_pandas()
            if library == "polars":
                import polars

                return polars.from_arrow(self.to_arrow())
        except ImportError:
            raise SettingError(f"to_frame needs {library}, which is not installed; run pip install {library}") from None
        raise SettingError(f"library: expected pandas or polars, found {library!r}")

    @overload  # type: ignore[override]
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Records[T]: ...
    def __getitem__(self, index: int | slice) -> T | Records[T]:
        found: Any = super().__getitem__(index)
        return Records(found, self.kind) if isinstance(index, slice) else found

    def __repr__(self) -> str:
        return f"<{len(self):,} {self.kind.__name__}: .to_frame() makes a data frame>"

    def __reduce__(self) -> tuple[Any, ...]:
        return Records, (tuple(self), self.kind)

    def _repr_html_(self) -> str:
        names = [field.name for field in fields(self.kind)]
        rows = [[getattr(record, name) for name in names] for record in self[:ROWS_SHOWN]]
        shown = [name for k, name in enumerate(names) if any(_is_short(row[k]) for row in rows) or not rows]
        head = "".join(f"<th>{escape(name)}</th>" for name in shown)
        body = "".join(
            "<tr>" + "".join(f"<td>{escape(_cell(row[names.index(name)]))}</td>" for name in shown) + "</tr>"
            for row in rows
        )
        more = f"<p>{len(self) - len(rows):,} more</p>" if len(self) > len(rows) else ""
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def _is_short(value: object) -> bool:
    return isinstance(value, (str, int, float))


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)[:80]


def with_records(result: object, kind: type[Any]) -> dict[str, Any]:
    """The fields of a result of this kind by name, its lists of records as `Records`."""
    values = {one.name: getattr(result, one.name) for one in fields(kind)}
    for name, record in _lists_of_records(kind).items():
        if values[name] is not None:
            values[name] = Records(values[name], record)
    return values


def _lists_of_records(result: type[Any]) -> dict[str, type[Any]]:
    """The fields of a result that are lists of records, with the type of the records."""
    found: dict[str, type[Any]] = {}
    for name, hint in get_type_hints(result).items():
        for kind in get_args(hint) if isinstance(hint, UnionType) else (hint,):
            inside = get_args(kind)
            if get_origin(kind) is tuple and inside[1:] == (...,) and is_dataclass(inside[0]):
                found[name] = cast(type[Any], inside[0])
    return found
