"""The cost of an audit before it runs: images, pairs, storage, hours and price."""

from unveil.planning.expected import expected_units, workload_of
from unveil.planning.machines import Machines, known_machines, parse_machine
from unveil.planning.rates import Rates, measure
from unveil.planning.workload import PlannedComparison, Workload

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
