"""The cost of an audit before it runs: images, pairs, storage, hours and price."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unveil.lazy import imported

if TYPE_CHECKING:
    from unveil.planning.expected import expected_units, workload_of
    from unveil.planning.machines import Machines, known_machines, parse_machine
    from unveil.planning.rates import Rates, measure
    from unveil.planning.workload import PlannedComparison, Workload

# Where names live; nothing is imported before it is asked for.
_HOMES = {
    "Machines": "unveil.planning.machines",
    "PlannedComparison": "unveil.planning.workload",
    "Rates": "unveil.planning.rates",
    "Workload": "unveil.planning.workload",
    "expected_units": "unveil.planning.expected",
    "known_machines": "unveil.planning.machines",
    "measure": "unveil.planning.rates",
    "parse_machine": "unveil.planning.machines",
    "workload_of": "unveil.planning.expected",
}

__all__ = [
    "Machines",
    "PlannedComparison",
    "Rates",
    "Workload",
    "expected_units",
    "known_machines",
    "measure",
    "parse_machine",
    "workload_of",
]


def __getattr__(name: str) -> Any:
    return imported(__name__, _HOMES, name)
