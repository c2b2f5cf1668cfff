"""The findings about all synthetic identities in columns: a set without labels has as many as images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from unveil.columns import BLOCK, Labels, People, Texts
from unveil.results.findings import IdentityFinding
from unveil.types import Floats, Ints, Mask

# More synthetic identities or classes than this are in Parquet files only, unless they are significant.
MAX_IDENTITIES = 10_000


@dataclass(frozen=True, eq=False)
class IdentityFindings(Sequence[IdentityFinding]):
    """One `IdentityFinding` for each synthetic identity (I,), in their order; a record is made when it is asked for.

    Columns are fields of `IdentityFinding`. ``q`` is None if identities were not tested.
    """

    identity: Texts
    score: Floats
    q: Floats | None
    n_images: Ints
    n_agreeing: Ints
    synthetic_id: Texts
    training_id: Labels
    channel: People
    significant: Mask
    duplicate_of: Labels | None = None
    q_gpd: Floats | None = None

    def __len__(self) -> int:
        return len(self.identity)

    @overload
    def __getitem__(self, index: int) -> IdentityFinding: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[IdentityFinding]: ...
    def __getitem__(self, index: int | slice) -> IdentityFinding | Sequence[IdentityFinding]:
        rows = range(len(self))[index]
        return self._made(np.array([rows]))[0] if isinstance(rows, int) else self._made(np.array(rows, np.int64))

    def __iter__(self) -> Iterator[IdentityFinding]:
        for start in range(0, len(self), BLOCK):
            yield from self._made(np.arange(start, min(start + BLOCK, len(self))))

    def _made(self, rows: Ints) -> tuple[IdentityFinding, ...]:
        none = [None] * len(rows)

        def numbers(column: npt.NDArray[Any] | None) -> list[Any]:
            return none if column is None else column[rows].tolist()

        columns: tuple[Sequence[Any], ...] = (
            list(self.identity.take(rows)),
            numbers(self.score),
            numbers(self.q),
            numbers(self.n_images),
            numbers(self.n_agreeing),
            list(self.synthetic_id.take(rows)),
            list(self.training_id.take(rows)),
            list(self.channel.take(rows)),
            numbers(self.significant),
            none if self.duplicate_of is None else list(self.duplicate_of.take(rows)),
            numbers(self.q_gpd),
        )
        return tuple(IdentityFinding(*values) for values in zip(*columns, strict=True))

    @property
    def n_significant(self) -> int:
        """The number of significant identities."""
        return int(self.significant.sum())

    @property
    def that_are_significant(self) -> tuple[IdentityFinding, ...]:
        """The significant identities."""
        return self._made(np.flatnonzero(self.significant))

    @property
    def foremost(self) -> tuple[IdentityFinding, ...]:
        """All significant identities and the first others."""
        rest = MAX_IDENTITIES + np.flatnonzero(self.significant[MAX_IDENTITIES:])
        return self._made(np.concatenate([np.arange(min(MAX_IDENTITIES, len(self))), rest]))

    def unreliable(self) -> IdentityFindings:
        """The same, none of them significant."""
        return replace(self, significant=np.zeros(len(self), np.bool_))

    def table(self, rows: Ints) -> dict[str, Any]:
        """The columns of some rows for a table: arrays of NumPy and of Arrow, or None."""
        return {
            "identity": self.identity.take(rows).array,
            "score": self.score[rows],
            "q": [None] * len(rows) if self.q is None else self.q[rows],
            "n_images": self.n_images[rows],
            "n_agreeing": self.n_agreeing[rows],
            "synthetic_id": self.synthetic_id.take(rows).array,
            "training_id": self.training_id.take(rows).array(),
            "channel": self.channel.take(rows).array(),
            "significant": self.significant[rows],
        }
