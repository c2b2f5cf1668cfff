"""Machines by name: cores and price."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from importlib import resources

from unveil.errors import SettingError

_TOLD = re.compile(r"(?:(?P<n>\d{1,6})x)?(?P<name>[^=@]+)(?:=(?P<cores>\d{1,6}))?(?:@(?P<price>\d+(?:\.\d+)?))?")
# Of workers on several cores and machines, as benchmarks/README.md has it; of threads and processes alike.
EFFICIENCY = 0.9


@dataclass(frozen=True)
class Machines:
    """Some machines of one kind: how many, cores of each, and the price of an hour of each in US dollars if known."""

    name: str
    n: int
    cores: int
    price: float | None = None

    @property
    def all_cores(self) -> int:
        return self.n * self.cores

    @property
    def title(self) -> str:
        return self.name if self.n == 1 else f"{self.n} x {self.name}"

    def hours(self, core_seconds: float) -> float:
        """How long work takes that takes one core so long."""
        shared = 1.0 if self.all_cores == 1 else EFFICIENCY
        return core_seconds / (self.all_cores * shared) / 3600

    def cost(self, hours: float) -> float | None:
        """What so many hours cost, in US dollars."""
        return None if self.price is None else self.price * self.n * hours


def known_machines() -> dict[str, Machines]:
    """The machines that unveil knows by name."""
    text = (resources.files("unveil.planning") / "machines.toml").read_text("utf-8")
    return {
        name: Machines(name, 1, int(facts["cores"]), float(facts["price"]))
        for name, facts in tomllib.loads(text)["machines"].items()
    }


def parse_machine(text: str) -> Machines:
    """``[Nx]NAME[=CORES][@PRICE]``, where cores may be left out of a name that is known; SettingError otherwise."""
    known = known_machines()
    found = _TOLD.fullmatch(text)
    name = "" if found is None else found["name"]
    before = known.get(name)
    if found is None or (found["cores"] is None and before is None) or found["cores"] == "0" or found["n"] == "0":
        raise SettingError(
            f"--machine {text!r}: use NAME=CORES, NAME=CORES@DOLLARS_AN_HOUR or 10xNAME, for example "
            f"'20xours=64@2.5'; known by name are {', '.join(known)}"
        )
    price = float(found["price"]) if found["price"] else None if before is None else before.price
    cores = int(found["cores"]) if found["cores"] else before.cores if before is not None else 0
    return Machines(name, int(found["n"] or 1), cores, price)
