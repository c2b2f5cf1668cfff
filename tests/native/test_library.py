"""Finding the compiled kernel, and doing without it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.builders import unit_rows
from unveil import native
from unveil.compare import compare_all, describe, exact_cosine, open_backend
from unveil.compare.backend_native import NativeBackend
from unveil.compare.blockwise import BlockwiseBackend
from unveil.errors import SettingError
from unveil.native import library

ROOT = Path(__file__).parents[2]
KERNEL = library.HERE / library.FILE_NAME
needs_kernel = pytest.mark.skipif(native.load()[0] is None, reason=native.load()[1])


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder in which the kernel is looked for."""
    monkeypatch.setattr(library, "HERE", tmp_path)
    native.load.cache_clear()
    yield tmp_path
    native.load.cache_clear()


def test_without_a_kernel_auto_uses_onnxruntime_and_says_why(elsewhere: Path) -> None:
    assert isinstance(open_backend("auto", 1), BlockwiseBackend)
    described = dict(describe())
    assert "onnxruntime" in described["auto"] and "no C compiler" in described["native"]
    with pytest.raises(SettingError, match="not compiled"):
        open_backend("native", 1)


@pytest.mark.parametrize("content", [b"", b"not a library", b"\x7fELF" + bytes(200)])
def test_a_damaged_kernel_is_not_loaded(elsewhere: Path, content: bytes) -> None:
    (elsewhere / library.FILE_NAME).write_bytes(content)
    assert isinstance(open_backend("auto", 1), BlockwiseBackend)
    assert native.load()[1]


@needs_kernel
def test_a_kernel_of_another_version_is_not_loaded(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(KERNEL, elsewhere / library.FILE_NAME)
    monkeypatch.setattr(library, "VERSION", library.VERSION + 1)
    found, why = native.load()
    assert found is None and "another version" in why


@needs_kernel
def test_a_foreign_library_is_not_taken_for_the_kernel(tmp_path: Path) -> None:
    (tmp_path / "nothing.c").write_text("int nothing(void) { return 0; }")
    subprocess.run(["cc", "-shared", "-fPIC", "nothing.c", "-o", "nothing.so"], cwd=tmp_path, check=True)
    with pytest.raises(OSError, match="not unveil's kernel"):
        native.Library(tmp_path / "nothing.so")


@needs_kernel
def test_the_fastest_kernel_that_runs_is_taken() -> None:
    backend = open_backend("auto", 3)
    assert isinstance(backend, NativeBackend) and backend.threads == 3
    assert backend.kernel == next(k for k in backend.library.kernels if k.available)
    with pytest.raises(KeyError):
        backend.library.kernel("none")


@needs_kernel
@pytest.mark.parametrize("d", [1, 3, 31, 32, 33, 128, 129, 512])
@pytest.mark.parametrize("dtypes", [("f4", "f4"), ("f2", "f4"), ("f4", "f2"), ("f2", "f2")])
def test_every_kernel_scores_to_the_last_bit(d: int, dtypes: tuple[str, str]) -> None:
    rng = np.random.default_rng(d)
    q, g = (unit_rows(rng, 40, d).astype(dtype) for dtype in dtypes)
    q[0] *= np.asarray(1e-7, q.dtype)  # subnormal halves
    rows, columns = rng.integers(40, size=(2, 300))
    want = exact_cosine(q, g, rows, columns)
    found, _ = native.load()
    assert found is not None
    for kernel in found.kernels:
        if kernel.available:
            assert np.array_equal(NativeBackend(found, kernel, 1).cosines(q, g, rows, columns), want), kernel.name


@needs_kernel
def test_an_interrupt_stops_the_threads_at_once(tmp_path: Path) -> None:
    program = """
import signal, sys, threading, time
import numpy as np
from unveil import compare_all
rows = np.random.default_rng(0).normal(size=(60_000, 512)).astype(np.float32)
rows /= np.linalg.norm(rows, axis=1, keepdims=True)
def tell(n, state=[]):
    if n and not state:
        state.append(1)
        print("comparing", flush=True)
try:
    compare_all(rows, rows, progress=tell)
except KeyboardInterrupt:
    print("stopped", threading.active_count(), flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "comparing\n"
        process.send_signal(2)
        assert process.stdout.readline() == "stopped 1\n", "worker threads should have ended"
        assert process.wait(60) == 0


def build(root: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    program = (
        "import sys; from pathlib import Path; from hatch_build import KernelHook;"
        "data = {'artifacts': []};"
        "KernelHook(sys.argv[1], {}, None, None, sys.argv[1], 'wheel').initialize('standard', data); print(data)"
    )
    return subprocess.run(
        [sys.executable, "-c", program, str(root)],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    pytest.importorskip("hatchling")
    shutil.copytree(ROOT / "src/unveil/native/src", tmp_path / "src/unveil/native/src")
    return tmp_path


@needs_kernel
def test_the_build_makes_one_library_for_every_python(sources: Path) -> None:
    built = build(sources)
    assert built.returncode == 0, built.stderr
    assert "'pure_python': False" in built.stdout
    assert "py3-none-" + sysconfig.get_platform().split("-")[0] in built.stdout
    assert native.Library(sources / "src/unveil/native/libunveil.so").kernels


@pytest.mark.parametrize("compiler", ["/nowhere/cc", "false"])
def test_the_build_goes_on_without_a_compiler(sources: Path, compiler: str) -> None:
    built = build(sources, CC=compiler)
    assert built.returncode == 0, built.stderr
    assert "{'artifacts': []}" in built.stdout, "the wheel should be one for every machine"
    assert "no compiled kernel" in built.stderr
    assert not list(sources.rglob("libunveil*"))
    assert build(sources, CC=compiler, UNVEIL_KERNEL="require").returncode != 0


def test_interleaved_comparisons_do_not_disturb_each_other() -> None:
    from concurrent.futures import ThreadPoolExecutor

    rng = np.random.default_rng(0)
    sets = [unit_rows(rng, 400, 64) for _ in range(8)]
    want = [compare_all(x, sets[0], backend="numpy").score for x in sets]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda x: compare_all(x, sets[0], threads=2).score, sets))
    assert all(np.array_equal(a, b) for a, b in zip(want, found, strict=True))
