"""The state of a comparison on disk, so that a killed one goes on where it was."""

from __future__ import annotations

import hashlib
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from unveil.files import replacing

State = dict[str, npt.NDArray[np.generic]]


class Checkpoint:
    """One file that holds the arrays of a comparison after its last finished panel.

    ``key`` says what is compared; a file with another key is ignored and replaced. Saved at most every
    ``every_seconds``, and when the comparison is done.
    """

    def __init__(self, path: Path, key: str, every_seconds: float = 20.0) -> None:
        self._path = path
        self._key = hashlib.sha256(key.encode()).hexdigest()
        self._every = every_seconds
        self._last = time.monotonic()

    def load(self) -> State | None:
        """The saved state, or None when there is none for this key."""
        try:
            with self._path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                state = {name: file[name] for name in file.files}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        return state if str(state.pop("key", "")) == self._key else None

    def save(self, state: Mapping[str, npt.NDArray[np.generic]], *, done: bool) -> None:
        """Replaces the file by ``state`` when it is time or the comparison is done."""
        if not done and time.monotonic() - self._last < self._every:
            return
        with replacing(self._path) as file:
            np.savez(file, key=np.array(self._key), **state)  # type: ignore[arg-type]
        self._last = time.monotonic()
