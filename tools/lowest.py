"""Constraints that pin every dependency of pyproject.toml to its lower bound: `make test-lowest` installs them."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

# The lower bound of a requirement such as `moto[server]>=5.0`.
BOUND = re.compile(r"^([A-Za-z0-9_.-]+)(?:\[[^\]]*\])?>=([0-9][0-9a-zA-Z.]*)")


def lower_bounds(project: Path, extras: tuple[str, ...]) -> Iterator[str]:
    """One `name==version` for each dependency and each one of the extras named; ValueError where one has no bound.

    ``extra:name`` stands for one dependency of an extra.
    """
    facts = tomllib.loads(project.read_text("utf-8"))["project"]
    wanted = [(requirement, "") for requirement in facts["dependencies"]]
    for extra, _, only in (text.partition(":") for text in extras):
        wanted += [(requirement, only) for requirement in facts["optional-dependencies"][extra]]
    for requirement, only in wanted:
        found = BOUND.match(requirement)
        if found is None:
            raise ValueError(f"{requirement}: expected a lower bound, as in name>=1.2")
        if only in ("", found[1]):
            yield f"{found[1]}=={found[2]}"


if __name__ == "__main__":
    print("\n".join(sorted(set(lower_bounds(Path("pyproject.toml"), tuple(sys.argv[1:]))))))
