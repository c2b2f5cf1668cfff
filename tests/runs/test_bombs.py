"""Bombs in the run of a stranger: each ends within a gibibyte and twenty seconds of processor time, in an error."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import unveil
from unveil.io.checksums import file_sha256

MIB = 2**20
EXPOSURES = "exposures.parquet"
# Opens a run and reads one of its sets, below limits on memory and processor time.
CHILD = """
import resource, sys
from pathlib import Path
import unveil
from unveil.errors import StoreError
from unveil.runs.finished import FinishedRun

def bytes_of(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) * 1024

resource.setrlimit(resource.RLIMIT_AS, (bytes_of("VmSize") + 3 * 2**30,) * 2)
resource.setrlimit(resource.RLIMIT_CPU, (20, 25))
before = bytes_of("VmRSS")
try:
    FinishedRun(Path(sys.argv[1])).embedded("synthetic")
except StoreError as error:
    print("refused:", error)
print("peak", bytes_of("VmHWM") - before)
"""


def _exposures(run: Path, n: int, person: str) -> None:
    """A table of exposures with the columns of an audit and ``n`` equal rows."""
    texts = {"person": person, "role": "training", "channel": "face"}
    values = {
        field.name: pa.array([texts[field.name]] * n if field.name in texts else np.zeros(n), field.type)
        for field in pq.read_schema(run / EXPOSURES)
    }
    pq.write_table(pa.table(values), run / EXPOSURES, compression="zstd")


def one_text(run: Path) -> None:
    """A name of a mebibyte, a thousand times in one group of rows."""
    _exposures(run, 1000, "x" * MIB)


def many_rows(run: Path) -> None:
    """Ten million equal rows in some kilobytes."""
    _exposures(run, 10_000_000, "x")


def hollow_result(run: Path) -> None:
    """An `audit.json` of a terabyte without a single byte on the disk."""
    os.truncate(run / "audit.json", 2**40)


def hollow_vectors(run: Path) -> None:
    """Vectors of a terabyte without a single byte on the disk."""
    with (run / "stores/synthetic.npy").open("wb") as file:
        file.truncate(2**40)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is measured as Linux states it")
@pytest.mark.parametrize("forge", [one_text, many_rows, hollow_result, hollow_vectors])
def test_a_bomb_in_a_run_is_refused(
    forge: Callable[[Path], None], audited: tuple[unveil.AuditResult, Path], tmp_path: Path
) -> None:
    run = Path(shutil.copytree(audited[1], tmp_path / "run"))
    forge(run)
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["parts"][EXPOSURES] = file_sha256(run / EXPOSURES)
    (run / "manifest.json").write_text(json.dumps(manifest))
    assert sum(512 * file.stat().st_blocks for file in run.rglob("*")) < 64 * MIB
    words = [sys.executable, "-c", CHILD, str(run)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"}
    done = subprocess.run(words, capture_output=True, text=True, timeout=250, env=environment)
    assert done.returncode == 0, f"{done.returncode} {done.stderr[-2000:]}"
    assert "refused:" in done.stdout and "is damaged" in done.stdout
    peak = re.search(r"peak (-?\d+)", done.stdout)
    assert peak is not None and int(peak[1]) < 1024 * MIB, done.stdout
