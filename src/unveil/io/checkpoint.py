"""The state of a comparison on disk, from which a killed comparison resumes."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from unveil.io.atomic import replacing
from unveil.io.checksums import SEAL
from unveil.io.npy import read_npz
from unveil.io.storage import RemoteStorage
from unveil.io.trust import own_seal, same_text

State = dict[str, npt.NDArray[np.generic]]
# A state may hold gigabytes of pairs: saving takes at most this share of the time.
MAX_TIME_SHARE = 0.05
CHECKPOINT_SECONDS = 20.0


class Checkpoint:
    """One file with the arrays of a comparison after its last finished tile; without a path, nothing is saved.

    ``key`` identifies the comparison: a file with another key is ignored and replaced, and so is a file that another
    user wrote or that was changed. Where no key of the user can be stored, no file is believed. The file is saved at
    most every ``every_seconds`` (0: always), and when the comparison is done.

    Each file is also uploaded to ``folder`` of a ``storage``, and downloaded from it where the comparison resumes
    without the local file.
    """

    def __init__(
        self,
        path: Path | None,
        key: str = "",
        every_seconds: float = CHECKPOINT_SECONDS,
        storage: RemoteStorage | None = None,
        folder: str = "",
    ) -> None:
        self._path, self._storage, self._folder = path, storage, folder
        self._key = hashlib.sha256(key.encode()).hexdigest()
        self._every = every_seconds
        self._last_saved = time.monotonic()
        self._save_seconds = 0.0

    def with_key(self, more: str) -> Checkpoint:
        """The same file for a comparison that ``more`` identifies as well."""
        return Checkpoint(self._path, f"{self._key} {more}", self._every, self._storage, self._folder)

    def part(self, number: int) -> Checkpoint:
        """A file of its own, beside this one, for one part of the comparison."""
        path = None if self._path is None else self._path.with_name(f"{self._path.stem}-{number}{self._path.suffix}")
        return Checkpoint(path, f"{self._key} part {number}", self._every, self._storage, self._folder)

    @property
    def saves(self) -> bool:
        """Whether there is a file."""
        return self._path is not None

    @property
    def key(self) -> str:
        """A hash that identifies the comparison."""
        return self._key

    def load(self) -> State | None:
        """The saved state, or None when there is none for this key or when its seal is not this user's."""
        if self._path is None:
            return None
        state = self._load(self._path)
        if state is None and self._storage is not None and self._storage.download_if_there(self._name, self._path):
            state = self._load(self._path)
        return state

    @property
    def _name(self) -> str:
        """The name of the file in the storage."""
        return f"{self._folder}/{'' if self._path is None else self._path.name}"

    def _load(self, path: Path) -> State | None:
        try:
            state: State = dict(read_npz(path))
        except (OSError, ValueError):
            return None
        found = str(state.pop(SEAL, ""))
        return state if same_text(found, self._seal(state) or "none") else None

    def _seal(self, state: Mapping[str, npt.NDArray[np.generic]]) -> str | None:
        """The user's seal of the key and of everything in a state."""
        digest = hashlib.sha256(self._key.encode())
        for name in sorted(state):
            array = np.ascontiguousarray(state[name])
            digest.update(f"{name} {array.dtype.str} {state[name].shape}\n".encode())
            digest.update(array.reshape(-1).view(np.uint8).data)
        return own_seal(digest.hexdigest())

    def save(self, state: Callable[[], Mapping[str, npt.NDArray[np.generic]]], *, done: bool) -> None:
        """Replaces the file by ``state()`` when it is due or the comparison is done."""
        start = time.monotonic()
        wait = max(self._every, self._save_seconds / MAX_TIME_SHARE) if self._every else 0
        if self._path is None or (not done and start - self._last_saved < wait):
            return
        with replacing(self._path) as file:
            arrays = {name: np.asarray(array) for name, array in state().items()}
            np.savez(file, **{SEAL: np.array(self._seal(arrays) or "")}, **arrays)  # type: ignore[arg-type]
        if self._storage is not None:
            self._storage.upload(self._path, self._name)
        self._last_saved = time.monotonic()
        self._save_seconds = self._last_saved - start
