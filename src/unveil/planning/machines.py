"""Machines by name, with their cores and prices."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from importlib import resources

from unveil.errors import SettingError

_MACHINE = re.compile(r"(?:(?P<n>\d{1,6})x)?(?P<name>[^=@]+)(?:=(?P<cores>\d{1,6}))?(?:@(?P<price>\d+(?:\.\d+)?))?")
# Speed-up by several cores or machines, as a share of the ideal; measured in benchmarks/README.md.
EFFICIENCY = 0.9


@dataclass(frozen=True)
class Machines:
    """``n`` machines of one kind: the cores of each, and the price of each in US dollars an hour if known."""

    name: str
    n: int
    cores: int
    price: float | None = None

    @property
    def all_cores(self) -> int:
        """The cores of all machines together."""
        return self.n * self.cores

    @property
    def title(self) -> str:
        """The name, with the number of machines if there are several."""
        return self.name if self.n == 1 else f"{self.n} x {self.name}"

    def hours(self, core_seconds: float) -> float:
        """Hours that these machines need for work of so many core seconds."""
        shared = 1.0 if self.all_cores == 1 else EFFICIENCY
        return core_seconds / (self.all_cores * shared) / 3600

    def cost(self, hours: float) -> float | None:
        """The price of so many hours in US dollars; None when it is unknown."""
        return None if self.price is None else self.price * self.n * hours


def known_machines() -> dict[str, Machines]:
    """The machines in ``machines.toml``, by name."""
    text = (resources.files("unveil.planning") / "machines.toml").read_text("utf-8")
    return {
        name: Machines(name, 1, int(facts["cores"]), float(facts["price"]))
        for name, facts in tomllib.loads(text)["machines"].items()
    }


def parse_machine(text: str) -> Machines:
    """Machines from ``[Nx]NAME[=CORES][@PRICE]``; a known name needs no cores. SettingError for anything else."""
    known = known_machines()
    found = _MACHINE.fullmatch(text)
    name = "" if found is None else found["name"]
    listed = known.get(name)
    if found is None or (found["cores"] is None and listed is None) or found["cores"] == "0" or found["n"] == "0":
        raise SettingError(
            f"--machine {text!r}: use NAME=CORES, NAME=CORES@DOLLARS_AN_HOUR or 10xNAME, for example "
            f"'20xours=64@2.5'; known names are {', '.join(known)}"
        )
    price = float(found["price"]) if found["price"] else None if listed is None else listed.price
    cores = int(found["cores"]) if found["cores"] else listed.cores if listed is not None else 0
    return Machines(name, int(found["n"] or 1), cores, price)
