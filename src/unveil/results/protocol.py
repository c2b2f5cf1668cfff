"""What was decided before an audit, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from unveil.stats.statements import Evidence, Statement
from unveil.types import Role

# How a protocol fixes the images of a role.
FixedBy = Literal["content", "names"]


@dataclass(frozen=True)
class PlannedStatement:
    """A statement that a protocol announced."""

    statement: Evidence
    """The statement, as in `evidence`."""
    level: float | None
    """The level at which its test counts as significant. Null for facts."""
    level_of: Literal["test", "false discovery rate"] | None
    """What the level limits. Null for facts."""
    made: bool = False
    """Whether the audit made it."""
    not_made_because: str | None = None
    """Why the audit did not make it. Null if it did."""


@dataclass(frozen=True)
class Deviation:
    """A difference between a protocol and the audit under it."""

    what: str
    """The setting, model, file or set of images."""
    planned: str
    """What the protocol says."""
    found: str
    """What the audit used."""


@dataclass(frozen=True)
class ProtocolRecord:
    """A protocol that was made before the audit, and what deviates from it."""

    sha256: str
    """SHA-256 of the file of the protocol. It proves an order of events only if it was published or time-stamped
    elsewhere."""
    made: str
    """When the protocol was made, by the clock of that machine."""
    unveil: str
    """The version of unveil that made it."""
    inputs: dict[Role, FixedBy]
    """How it fixes the images of each role. `content`: all bytes. `names`: numbers, names and labels, and no bytes."""
    statements: tuple[PlannedStatement, ...]
    """The statements that it announced."""
    unplanned: tuple[Statement, ...]
    """Evidence of the verdict that it did not announce."""
    deviations: tuple[Deviation, ...]
    """What differs from it."""
    reason: str | None = None
    """Why the audit deviates, as the auditor says. Left out of redacted copies."""
