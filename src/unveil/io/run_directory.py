"""The run directory: what belongs to one audit, and how a killed one is taken up again."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from unveil.compare import Checkpoint
from unveil.errors import SettingError
from unveil.io.atomic import remove_stale_temp, write_bytes

FORMAT = 1
MARK = "unveil run"


def read_manifest(manifest: Path) -> dict[str, Any] | None:
    """The manifest of a run, or None when the file is none."""
    try:
        document = json.loads(manifest.read_bytes())
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) and document.get("format") == MARK else None


class RunDirectory:
    """Paths inside a run, and its manifest.

    Opening one that holds an audit with other settings is a SettingError: two audits never mix in one folder.
    """

    def __init__(self, path: Path, facts: dict[str, Any]) -> None:
        self.path = path
        # The same for the same audit in the same folder.
        told = json.dumps([str(path.absolute()), facts], sort_keys=True)
        self.seal = hashlib.sha256(told.encode()).hexdigest()[:24]
        if path.exists() and not path.is_dir():
            raise SettingError(f"-o {path}: a file is there; name a folder")
        manifest = path / "manifest.json"
        if manifest.exists():
            before = read_manifest(manifest)
            if before is None:
                raise SettingError(f"{manifest} is not the manifest of an unveil run; name another folder with -o")
            if before.get("settings") != facts:
                changed = [k for k in facts if before.get("settings", {}).get(k) != facts[k]]
                raise SettingError(
                    f"-o {path} holds an audit with other settings ({', '.join(changed) or 'another version'}); "
                    "give a new folder, or delete this one"
                )
        elif path.exists() and any(path.iterdir()):
            raise SettingError(f"-o {path}: the folder is not empty and holds no audit; name a new one")
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        remove_stale_temp(path)
        self.write_json("manifest.json", {"format": MARK, "version": FORMAT, "status": "running", "settings": facts})

    def vectors(self, role: str) -> Path:
        return self.path / "stores" / f"{role}.npy"

    def scratch(self, name: str) -> Path:
        """A file that goes with the checkpoints when the run is finished."""
        return self.path / "work" / name

    def checkpoint(self, name: str, key: str) -> Checkpoint:
        return Checkpoint(self.path / "work" / f"{name}.npz", hashlib.sha256(key.encode()).hexdigest())

    def write_json(self, name: str, document: object) -> None:
        write_bytes(self.path / name, (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode())

    def finish(self, manifest: dict[str, Any]) -> None:
        """The manifest last, and the checkpoints gone: from here on the run is whole."""
        shutil.rmtree(self.path / "work", ignore_errors=True)
        self.write_json("manifest.json", {"format": MARK, "version": FORMAT, "status": "finished", **manifest})
