"""Runs at an address: a command works on a local copy, which is uploaded when the command has succeeded."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

# Ends with the command; an error passes through it.
AT_THE_END = ExitStack()


def run_folder(place: str) -> Path:
    """The folder of a run, or the local copy of a run at an address; changes are uploaded if the command succeeds."""
    from unveil.io.remote import is_address
    from unveil.io.remote_run import open_remote_run

    return AT_THE_END.enter_context(open_remote_run(place)) if is_address(place) else Path(place)
