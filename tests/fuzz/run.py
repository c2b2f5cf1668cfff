"""Fuzzes one reader: `python -m tests.fuzz.run TARGET CORPUS [libFuzzer options]`; see docs/explanation/fuzzing.md."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["unveil", "pyfive", "zipfile", "pickletools", "tarfile"]):
    from tests.fuzz import targets


def main() -> None:
    target = targets.TARGETS[sys.argv.pop(1)]
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
