"""The run directory: all files of one audit or overlap, and the manifest by which a killed one resumes.

The manifest is signed while the run goes on too. A run continues only if this user began it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from unveil.choices import ROLES
from unveil.errors import SettingError
from unveil.io.atomic import TEMPORARY, is_temporary, remove_stale_temp, write_bytes
from unveil.io.checkpoint import CHECKPOINT_SECONDS, Checkpoint
from unveil.io.documents import read_json
from unveil.io.private import make_private
from unveil.io.regular import read_regular
from unveil.io.storage import RemoteStorage
from unveil.io.trust import is_own, signed

logger = logging.getLogger(__name__)

FORMAT = 4
MANIFEST = "manifest.json"
# The subfolder with checkpoints and temporary vectors; it is removed when the run is finished.
SCRATCH = "work"
# The names of all files there, so that files of the user stay.
SCRATCH_FILES = "unveil-*"
# The folders in a run. A link in place of one would lead writing elsewhere.
FOLDERS = (SCRATCH, "stores", "publish", "clean")
# The end of the name of a file beside vectors, with the images that are being decoded. A killed process leaves it.
IN_PROGRESS = ".in-progress"
# The tables of an audit.
TABLES = ("people", "identities", "label_link", "matches", "images", "exposures", "pairs", "rejects")
# The report and the document that name nobody.
REDACTED = REDACTED_REPORT, REDACTED_DOCUMENT = "report.redacted.html", "audit.redacted.json"
AUDIT_FILES = (
    *("audit.json", "report.html", "report.pairs-[0-9]*.html", *REDACTED),
    *(f"{table}.parquet" for table in TABLES),
    *(f"stores/{role}{end}" for role in ROLES for end in (".npy", ".*.npy", ".parquet", IN_PROGRESS)),
    "stores/state.npz",
    *(f"publish/{name}" for name in ("report.md", "junit.xml", "croissant.json", "datasheet.md")),
    *("clean/removed.txt", "clean/remaining.txt", "clean/clean.json", "clean/removed-[0-9]*.txt"),
    MANIFEST,
)
OVERLAP_FILES = (
    *("overlap.json", "overlap.html", "people.csv", "images.csv", "pairs.csv"),
    *("remove-from-A.txt", "remove-from-B.txt", MANIFEST),
)
# The verdicts of reviewers, in the folder of a run but no part of it.
VERDICTS = "review.sqlite"
# Runs inside a run: the audits of `unveil clean`.
INNER_RUNS = "clean/after-*"
MAX_MANIFEST_BYTES = 16 * 2**20
# Characters of a value in a message, and of the name of a file.
MAX_SHOWN, MAX_NAME = 60, 120


@dataclass(frozen=True)
class RunKind:
    """What a run holds: the mark in its manifest, its name in messages, and its files by their paths there.

    Nothing else in the folder is removed with the run.
    """

    mark: str
    name: str
    files: tuple[str, ...]


AUDIT = RunKind("unveil run", "audit", AUDIT_FILES)
OVERLAP = RunKind("unveil overlap", "overlap", OVERLAP_FILES)


def read_manifest(manifest: Path, kind: RunKind = AUDIT) -> dict[str, Any] | None:
    """The manifest of a run of this kind, or None when the file is not one."""
    try:
        document = read_json(read_regular(manifest, MAX_MANIFEST_BYTES))
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) and document.get("format") == kind.mark else None


def linked_folder(run: Path) -> Path | None:
    """A folder of a run that is a link, if there is one."""
    return next((run / name for name in FOLDERS if (run / name).is_symlink()), None)


def is_finished(folder: Path) -> bool:
    """Whether a folder holds a finished run."""
    manifest = read_manifest(folder / MANIFEST)
    return manifest is not None and manifest.get("status") == "finished"


def is_run_file(name: str) -> bool:
    """Whether a run, or a run inside it, holds files of this name. It is relative to the run and has slashes."""
    parts = name.split("/")
    if _matches(parts[:2], INNER_RUNS):
        parts = parts[2:]
    known = any(_matches(parts, pattern) for pattern in (*AUDIT_FILES, *OVERLAP_FILES, VERDICTS))
    return known and name.isprintable() and max(map(len, parts)) <= MAX_NAME


def _matches(parts: list[str], pattern: str) -> bool:
    patterns = pattern.split("/")
    return len(parts) == len(patterns) and all(map(fnmatchcase, parts, patterns))


def other_files(run: Path, kind: RunKind = AUDIT) -> list[str]:
    """The paths in a folder that do not belong to the run there, relative to it. Temporary files belong to it."""
    own = {file for pattern in kind.files for file in run.glob(pattern)}
    inner = [folder for folder in run.glob(INNER_RUNS) if folder.is_dir() and not folder.is_symlink()]
    others = [f"{folder.relative_to(run).as_posix()}/{name}" for folder in inner for name in other_files(folder)]
    leading = {run / name for name in FOLDERS} | set(inner)
    own |= set((run / SCRATCH).glob(SCRATCH_FILES))
    for folder in (run, *(run / name for name in FOLDERS)):
        others += [
            path.relative_to(run).as_posix()
            for path in (folder.iterdir() if folder.is_dir() else ())
            if not is_temporary(path) and path not in leading and path not in own
        ]
    return sorted(others)


def remove_run(run: Path, kind: RunKind = AUDIT) -> None:
    """Removes a run from its folder: the folders of a run with all that is in them, then its files, the manifest last.

    What a killed process left of these files is removed, too. Files in no such folder stay. `other_files` says what
    would be lost.
    """
    for path in filter(is_temporary, list(run.iterdir())):
        _remove(path)
    for name in FOLDERS:
        folder = run / name
        if folder.is_symlink():
            folder.unlink()
        elif folder.exists():
            shutil.rmtree(folder)
    for pattern in kind.files:
        for file in run.glob(pattern):
            file.unlink()


def _remove_matching(folder: Path, patterns: Iterable[str]) -> None:
    """Removes the files in a folder that have such names, and the folder unless it holds others."""
    if folder.is_dir() and not folder.is_symlink():
        for path in [path for pattern in patterns for path in folder.glob(pattern)]:
            with contextlib.suppress(OSError):
                _remove(path)
        with contextlib.suppress(OSError):
            folder.rmdir()


def _remove(path: Path) -> None:
    """Removes a file, a link or a folder with all that is in it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _changed(before: object, facts: dict[str, Any]) -> str:
    """The settings that differ, with both values."""
    if not isinstance(before, dict):
        return "another version"

    def shown(value: object) -> str:
        text = json.dumps(value, ensure_ascii=True)
        return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "..."

    changed = [k for k in facts if k not in before or before[k] != facts[k]]
    return ", ".join(f"{k}: {shown(before.get(k))} there, {shown(facts[k])} now" for k in changed) or "another version"


class RunDirectory:
    """The paths inside a run, and its manifest.

    Opening changes nothing on disk; `begin` does. Raises SettingError for a folder that holds something else or a run
    with other settings, so that two runs never mix.

    ``storage`` is that at the address of the run, if it has one: it holds the checkpoints too, so that another machine
    can resume the run.
    """

    def __init__(
        self,
        path: Path,
        facts: dict[str, Any],
        checkpoint_seconds: float = CHECKPOINT_SECONDS,
        kind: RunKind = AUDIT,
        storage: RemoteStorage | None = None,
    ) -> None:
        self.path, self._facts, self._checkpoint_seconds, self._kind = path, facts, checkpoint_seconds, kind
        self._storage = storage
        # The same for the same audit in the same folder or at the same address.
        identity = json.dumps([str(path.absolute()) if storage is None else storage.where, facts], sort_keys=True)
        self.seal = hashlib.sha256(identity.encode()).hexdigest()[:24]
        if path.exists() and not path.is_dir():
            raise SettingError(f"-o {path} should be a folder and is a file; name a folder")
        linked = linked_folder(path)
        if linked is not None:
            raise SettingError(f"-o {path}: {linked.name} in it is a link, which is not followed; name a new folder")
        manifest = path / MANIFEST
        if manifest.exists() or manifest.is_symlink():
            before = read_manifest(manifest, kind)
            if before is None:
                raise SettingError(f"{manifest} is not the manifest of an unveil run; name another folder with -o")
            if before.get("version") != FORMAT:
                raise SettingError(
                    f"-o {path} holds an {kind.name} of another version of unveil; name a new folder, or delete this "
                    "one"
                )
            if before.get("settings") != facts:
                raise SettingError(
                    f"-o {path} holds an {kind.name} with other settings ({_changed(before.get('settings'), facts)}). "
                    f"Name a new folder, or add --overwrite to replace that {kind.name}"
                )
        elif path.exists() and not all(map(is_temporary, path.iterdir())):
            raise SettingError(
                f"-o {path} should be empty or hold an {kind.name}, and holds other files; name a new folder"
            )

    def begin(self) -> None:
        """Creates the folder, removes what a killed audit left unfinished, and marks the run as running.

        A finished run stays finished until the same audit replaces it: its parts carry the key of their audit. What
        somebody else left unfinished is removed, and the audit starts over.
        """
        make_private(self.path)
        remove_stale_temp(self.path)
        before = read_manifest(self.path / MANIFEST, self._kind)
        finished = before is not None and before.get("status") == "finished"
        if before is not None and not is_own(before):
            logger.warning(
                "%s: this user did not begin the %s there, or its manifest was changed. The %s starts over. If it was "
                "yours, set UNVEIL_KEY to a file that lasts from one start to the next",
                *(self.path, self._kind.name, self._kind.name),
            )
            _remove_matching(self.path / SCRATCH, [SCRATCH_FILES])
            if not finished:
                stored = [Path(pattern) for pattern in self._kind.files]
                _remove_matching(self.path / "stores", [path.name for path in stored if path.parent.name == "stores"])
        if finished:
            return
        running = {"format": self._kind.mark, "version": FORMAT, "status": "running", "settings": self._facts}
        self.write_json(MANIFEST, signed(running))

    def vectors(self, role: str) -> Path:
        """The file for the vectors of a role."""
        return self.path / "stores" / f"{role}.npy"

    def scratch(self, name: str) -> Path:
        """A file that is removed when the run is finished."""
        return self.path / SCRATCH / SCRATCH_FILES.replace("*", name)

    def checkpoint(self, name: str, key: str) -> Checkpoint:
        """The checkpoint of a comparison that ``key`` identifies."""
        seal = hashlib.sha256(key.encode()).hexdigest()
        return Checkpoint(self.scratch(f"{name}.npz"), seal, self._checkpoint_seconds, self._storage, SCRATCH)

    def write_json(self, name: str, document: object) -> None:
        """Writes a JSON file into the run."""
        write_bytes(self.path / name, (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode())

    def finish(self, manifest: dict[str, Any]) -> None:
        """Removes the scratch files, then writes the signed manifest: from here on the run is finished."""
        _remove_matching(self.path / SCRATCH, [SCRATCH_FILES, f".*{TEMPORARY}"])
        finished = {"format": self._kind.mark, "version": FORMAT, "status": "finished", **manifest}
        self.write_json(MANIFEST, signed(finished))
