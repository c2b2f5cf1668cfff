"""Families of generators. Each is trained once for a number of people and asked for faces at several lengths."""

from benchmarks.lab.families.adversarial import Adversarial
from benchmarks.lab.families.base import Family, Setup
from benchmarks.lab.families.components import Components
from benchmarks.lab.families.latent import Latent
from benchmarks.lab.families.pixels import Conditional, Pixels
from benchmarks.lab.families.variational import Variational

FAMILIES: dict[str, type[Family]] = {
    "components": Components,
    "pixels": Pixels,
    "variational": Variational,
    "adversarial": Adversarial,
    "conditional": Conditional,
    "latent": Latent,
}

__all__ = ["FAMILIES", "Family", "Setup"]
