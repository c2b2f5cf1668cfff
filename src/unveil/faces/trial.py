"""The first run of a model that nobody vouches for: in a process of its own, within limits of memory and time.

Opening a graph computes its constants, and a few bytes may stand for gigabytes or for hours.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from unveil.errors import ModelError
from unveil.faces.graph_size import check_graph_size
from unveil.faces.models.library import MAX_MODEL_BYTES, find_model, load_detector, load_model
from unveil.faces.models.table import default_spec, model_table
from unveil.faces.onnx_model import OnnxModel, onnxruntime_version
from unveil.io.atomic import write_bytes
from unveil.io.regular import read_regular
from unveil.io.storage import cache_folder
from unveil.io.trust import own_seal

# Processor seconds of the first run, and how much longer it may take on a busy machine.
MAX_SECONDS, PATIENCE = 120, 5
# Memory beside that of the libraries: a start, and a multiple of the file.
SPARE_BYTES, BYTES_PER_WEIGHT = 2**31, 8
# Images that are computed together, as in the probe of an unknown model, and the longest side of a detector's image.
BATCH, DETECTOR_SIDE = 17, 640
SEAL_BYTES = 64
# Parts of the messages of ONNX Runtime and Python that mean that memory is not there.
OUT_OF_MEMORY = ("bad_alloc", "bad allocation", "allocate", "out of memory", "MemoryError")


def try_models(models: Iterable[str | Path | None], detector: str | Path | None = None) -> None:
    """Runs models and a detector once in a process with limits, unless they are known or were run before.

    Raises ModelError for one that exceeds them, and as `load_model` and `load_detector`.
    """
    for model in models:
        if model is not None and str(model) != default_spec().name:
            spec, _ = load_model(model)
            try_model(find_model(model), spec.sha256, spec.input_size)
    if detector is not None and str(detector) != "dlib":
        try_model(find_model(detector), load_detector(detector)[0].sha256, DETECTOR_SIDE)


def try_model(path: Path, sha256: str, side: int) -> None:
    """Runs a file once on images of ``side`` pixels, in a process with limits, unless it is known or was run before.

    Memory is limited on Linux; on other systems time alone is. Raises ModelError if it exceeds the limits.
    """
    if sha256 in model_table():
        return
    seal = own_seal(f"tried {sha256} {side} {onnxruntime_version()}")
    record = cache_folder() / "tried" / sha256
    with contextlib.suppress(OSError):
        if seal is not None and read_regular(record, SEAL_BYTES).decode("ascii", "replace") == seal:
            return
    _run_apart(path, side)
    if seal is not None:
        with contextlib.suppress(OSError):
            write_bytes(record, seal.encode())


def _run_apart(path: Path, side: int) -> None:
    # -P: no module of the current folder is run. The folders from which this process imports are those of the other.
    words = [sys.executable, "-P", "-m", "unveil.faces.trial", str(path.absolute()), str(side)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(place for place in sys.path if place)}
    try:
        done = subprocess.run(  # noqa: S603 (our own program)
            words, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=MAX_SECONDS * PATIENCE
        )
    except subprocess.TimeoutExpired:
        raise _exceeded(path, f"{MAX_SECONDS * PATIENCE} s") from None
    except OSError as error:
        raise ModelError(f"{path}: the process that runs it once did not start ({error.strerror})") from None
    if done.returncode == 0:
        problem = json.loads(done.stdout)["problem"]
    elif done.returncode == -getattr(signal, "SIGXCPU", 0):
        raise _exceeded(path, f"{MAX_SECONDS} s of processor time")
    else:
        problem = OUT_OF_MEMORY[0] if any(part.encode() in done.stderr for part in OUT_OF_MEMORY) else "ended"
    if problem in OUT_OF_MEMORY:
        raise _exceeded(path, f"{SPARE_BYTES // 2**20} MiB and {BYTES_PER_WEIGHT} times its size of memory")
    if problem == "ended":
        raise ModelError(
            f"{path}: expected a model that runs, found that it ends its process (status {done.returncode}). Export it "
            "again, or get it from another place"
        )
    if problem:
        raise ModelError(str(problem))


def _exceeded(path: Path, limit: str) -> ModelError:
    return ModelError(
        f"{path}: expected a model that computes {BATCH} images within {limit}, found one that takes more. Use another "
        "model"
    )


def run_once(path: Path, side: int) -> str:
    """Why a model cannot be run within the limits of this process; empty if it can.

    Other errors are left to the process that uses the model: it knows what the model is for.
    """
    raw = read_regular(path, MAX_MODEL_BYTES)
    _limit(BYTES_PER_WEIGHT * len(raw) + SPARE_BYTES)
    try:
        check_graph_size(raw, str(path))
    except ModelError as error:
        return str(error)
    try:
        model = OnnxModel(raw, str(path))
        if len(model.inputs) != 1 or len(model.inputs[0].shape) != 4:
            return ""
        declared = model.inputs[0].shape
        size = tuple(n if isinstance(n, int) else least for n, least in zip(declared[1:], (3, side, side), strict=True))
        batches = [declared[0]] if isinstance(declared[0], int) else [1, BATCH]
        for batch in batches:
            model.run(np.zeros((batch, *size), np.float32))
    except (ModelError, MemoryError) as error:
        text = f"{type(error).__name__}: {error}"
        return next((part for part in OUT_OF_MEMORY if part in text), "")
    return ""


def _limit(n: int) -> None:
    """Limits the memory that this process may still take, and its processor time."""
    try:
        import resource
    except ImportError:  # Windows
        return
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CPU, (MAX_SECONDS, MAX_SECONDS + 5))
    with contextlib.suppress(ValueError, OSError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + n
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


if __name__ == "__main__":
    print(json.dumps({"problem": run_once(Path(sys.argv[1]), int(sys.argv[2]))}))
