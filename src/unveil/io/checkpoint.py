"""The state of a comparison on disk, from which a killed comparison resumes."""

from __future__ import annotations

import hashlib
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from unveil.io.atomic import replacing

State = dict[str, npt.NDArray[np.generic]]
# A state may hold gigabytes of pairs: saving takes at most this share of the time.
MAX_TIME_SHARE = 0.05
CHECKPOINT_SECONDS = 20.0


class Checkpoint:
    """One file with the arrays of a comparison after its last finished tile; without a path, nothing is saved.

    ``key`` identifies the comparison: a file with another key is ignored and replaced. The file is saved at most every
    ``every_seconds`` (0: always), and when the comparison is done.
    """

    def __init__(self, path: Path | None, key: str = "", every_seconds: float = CHECKPOINT_SECONDS) -> None:
        self._path = path
        self._key = hashlib.sha256(key.encode()).hexdigest()
        self._every = every_seconds
        self._last_saved = time.monotonic()
        self._save_seconds = 0.0

    def with_key(self, more: str) -> Checkpoint:
        """The same file for a comparison that ``more`` identifies as well."""
        return Checkpoint(self._path, f"{self._key} {more}", self._every)

    @property
    def saves(self) -> bool:
        """Whether there is a file."""
        return self._path is not None

    @property
    def key(self) -> str:
        """A hash that identifies the comparison."""
        return self._key

    def load(self) -> State | None:
        """The saved state, or None when there is none for this key."""
        if self._path is None:
            return None
        try:
            with self._path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                state = {name: file[name] for name in file.files}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        return state if str(state.pop("key", "")) == self._key else None

    def save(self, state: Callable[[], Mapping[str, npt.NDArray[np.generic]]], *, done: bool) -> None:
        """Replaces the file by ``state()`` when it is due or the comparison is done."""
        start = time.monotonic()
        wait = max(self._every, self._save_seconds / MAX_TIME_SHARE) if self._every else 0
        if self._path is None or (not done and start - self._last_saved < wait):
            return
        with replacing(self._path) as file:
            np.savez(file, key=np.array(self._key), **state())  # type: ignore[arg-type]
        self._last_saved = time.monotonic()
        self._save_seconds = self._last_saved - start
