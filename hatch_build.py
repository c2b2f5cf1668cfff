"""Compiles the comparison kernel while a wheel or an editable install is made; without a compiler, goes on without.

One library for every Python: it is loaded by ctypes and knows nothing of Python. CC, CFLAGS, LDFLAGS and, on macOS,
ARCHFLAGS are respected. UNVEIL_KERNEL=require makes a failure an error (for wheels), UNVEIL_KERNEL=skip does not try.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FLAGS = [
    "-O3",
    "-std=c11",
    "-D_GNU_SOURCE",
    "-fPIC",
    "-shared",
    "-fvisibility=hidden",
    "-fno-math-errno",
    "-fno-trapping-math",
]
LIBRARY = "src/unveil/native/libunveil.so"


def compile_kernel(root: Path, out: Path) -> None:
    """Raises OSError or CalledProcessError when there is no compiler or it fails."""
    compiler = shlex.split(os.environ.get("CC", "")) or [
        next((c for c in ("cc", "gcc", "clang") if shutil.which(c)), "cc")
    ]
    given = [shlex.split(os.environ.get(name, "")) for name in ("CFLAGS", "ARCHFLAGS", "LDFLAGS")]
    sources = sorted(str(file) for file in (root / "src/unveil/native/src").glob("*.c"))
    partial = out.with_suffix(".partial")
    command = [*compiler, *FLAGS, *given[0], *given[1], *sources, "-o", str(partial), *given[2], "-lm"]
    try:
        subprocess.run(command, check=True)  # noqa: S603
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)


class KernelHook(BuildHookInterface):  # type: ignore[type-arg]
    """hatchling calls this for every wheel, editable ones included."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root, library = Path(self.root), Path(self.root) / LIBRARY
        library.unlink(missing_ok=True)
        wish = os.environ.get("UNVEIL_KERNEL", "")
        if wish == "skip":
            return
        try:
            compile_kernel(root, library)
        except (OSError, subprocess.CalledProcessError) as error:
            if wish == "require":
                raise
            print(f"unveil: no compiled kernel ({error}); the slower library path will be used", file=sys.stderr)
            return
        build_data["artifacts"].append(LIBRARY)
        build_data["pure_python"] = False
        build_data["tag"] = "py3-none-" + sysconfig.get_platform().replace("-", "_").replace(".", "_")
