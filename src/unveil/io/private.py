"""Folders that only their owner may open."""

from __future__ import annotations

from pathlib import Path


def make_private(folder: Path) -> None:
    """Creates a folder and those above it that are missing, for the owner alone, whatever the umask. Raises OSError.

    `Path.mkdir` gives its mode to the last folder alone.
    """
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for one in reversed(missing):
        one.mkdir(exist_ok=True, mode=0o700)
