"""Packages whose names are imported when they are first asked for, so that a command imports what it needs."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any


def imported(package: str, homes: Mapping[str, str], name: str) -> Any:
    """A name of a package, from the module that ``homes`` states; the package keeps it.

    Serves as the package's ``__getattr__`` (PEP 562). Raises AttributeError for another name.
    """
    if name not in homes:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    value = getattr(import_module(homes[name]), name)
    setattr(sys.modules[package], name, value)
    return value
