"""Runs at an address: a command works on a local copy, which is uploaded when the command has succeeded."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

# Ends with the command; an error passes through it.
AT_THE_END = ExitStack()


def run_folder(place: str) -> Path:
    """The folder of a run, or the local copy of a run at an address; changes are uploaded if the command succeeds."""
    from unveil.errors import SettingError
    from unveil.io.remote import is_address
    from unveil.io.remote_run import open_remote_run

    if not place.strip() or "\0" in place:
        raise SettingError(f"expected the folder or address of a run, found {place!r}. Write . for the current folder")
    return AT_THE_END.enter_context(open_remote_run(place)) if is_address(place) else Path(place)
