"""All pairs, by unveil and by what else can be installed, in one run; answers are checked against each other.

    python benchmarks/compare.py --rows 250000 --queries-of-peers 12500 --repetitions 3

Needs faiss-cpu, usearch and torch beside unveil (`make bench-compare` installs them into .venv-bench). Every method
runs in a process of its own, so that its memory can be told; processes take turns, and medians are printed. Peers are
slow: they compare fewer queries with the same gallery, which does not change their rate. Vectors are made: people of
ten pictures, with the spectrum of a face network (w600k_mbf on LFW: its 512 dimensions hold what 340 could), or the
same in all directions (--flat), which is the hardest case for early exits.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from unveil import native
from unveil.compare import compare_all
from unveil.io.host import cores, processor

THRESHOLD = 0.5
TUNED = "SkylakeX"
Vectors = npt.NDArray[np.float32]

OURS: dict[str, dict[str, Any]] = {  # top-k of rows always with the best of columns
    "top-1": {"top_k": 1},
    "top-10": {"top_k": 10},
    "pairs": {"top_k": 0, "best_queries": False, "threshold": THRESHOLD},
}
PEERS = {
    "faiss, as installed": ("top-1", "pairs"),
    "faiss, tuned": ("top-1", "top-10", "pairs"),
    "torch float32": ("top-1",),
    "NumPy float32": ("top-1",),
    "usearch exact": ("top-1",),
}


def vectors(n: int, dims: int, seed: int, *, flat: bool) -> Vectors:
    """Unit rows of people of ten pictures; every hundredth person is the same for all seeds."""
    shared, rng = np.random.default_rng(0), np.random.default_rng(seed)
    turn = np.linalg.qr(shared.normal(size=(dims, dims)))[0].astype(np.float32)
    k = np.arange(dims + 1)
    share = np.ones(dims) if flat else np.maximum(-np.diff(np.clip(1 - k / (dims * 0.67), 0, None) ** 2.5), 1e-7)
    sd = np.sqrt(share).astype(np.float32)
    rows = np.empty((n, dims), np.float32)
    for start in range(0, n, 10_000):
        people = -(-min(10_000, n - start) // 10)
        means = rng.normal(size=(people, dims)).astype(np.float32)
        known = np.arange(0, people, 100)
        means[known] = shared.normal(size=(len(known), dims)).astype(np.float32)
        part = np.repeat(means, 10, axis=0)[: n - start]
        part += 0.65 * rng.normal(size=part.shape).astype(np.float32)
        turned = part * sd @ turn
        rows[start : start + len(part)] = turned / np.linalg.norm(turned, axis=1, keepdims=True)
    return rows


def faiss_search(queries: Vectors, gallery: Vectors, mode: str, tuned: bool) -> Callable[[], Any]:
    import faiss

    if tuned:
        faiss.cvar.distance_compute_blas_query_bs = 16384
        faiss.cvar.distance_compute_blas_database_bs = 4096
    index = faiss.IndexFlatIP(gallery.shape[1])
    index.add(gallery)
    if mode == "pairs":
        return lambda: index.range_search(queries, THRESHOLD)
    return lambda: index.search(queries, int(mode.removeprefix("top-")))[1]


def by_product(product: Callable[[int, int], Any], n: int, n_gallery: int) -> npt.NDArray[np.int64]:
    """The best of both axes from blocks of a product: what one writes by hand."""
    best, at = np.full(n, -2.0, np.float32), np.zeros(n, np.int64)
    column_best = np.full(n_gallery, -2.0, np.float32)
    for i in range(0, n, 2048):
        for j in range(0, n_gallery, 8192):
            values, places, columns = product(i, j)
            rows = slice(i, i + len(values))
            better = values > best[rows]
            best[rows][better], at[rows][better] = values[better], places[better] + j
            part = column_best[j : j + len(columns)]
            np.maximum(part, columns, out=part)
    return at[:, None]


def by_numpy(queries: Vectors, gallery: Vectors) -> Callable[[], Any]:
    def product(i: int, j: int) -> Any:
        scores = queries[i : i + 2048] @ gallery[j : j + 8192].T
        return scores.max(1), scores.argmax(1), scores.max(0)

    return lambda: by_product(product, len(queries), len(gallery))


def by_torch(queries: Vectors, gallery: Vectors) -> Callable[[], Any]:
    import torch

    q, g = torch.from_numpy(queries), torch.from_numpy(gallery)

    def product(i: int, j: int) -> Any:
        scores = q[i : i + 2048] @ g[j : j + 8192].T
        best = scores.max(1)
        return best.values.numpy(), best.indices.numpy(), scores.amax(0).numpy()

    return lambda: by_product(product, len(queries), len(gallery))


def by_usearch(queries: Vectors, gallery: Vectors) -> Callable[[], Any]:
    from usearch.index import MetricKind, search

    return lambda: np.asarray(search(gallery, queries, 1, MetricKind.IP, exact=True).keys).reshape(-1, 1)


def prepare(method: str, mode: str, queries: Vectors, gallery: Vectors) -> Callable[[], Any]:
    """What is timed: everything but reading the vectors and, for faiss, copying them into its index."""
    if method.startswith("unveil"):
        backend = method.split()[1]
        return lambda: compare_all(queries, gallery, backend=backend, **OURS[mode])
    if method.startswith("faiss"):
        return faiss_search(queries, gallery, mode, method.endswith("tuned"))
    return {"torch float32": by_torch, "NumPy float32": by_numpy, "usearch exact": by_usearch}[method](queries, gallery)


def answer(found: Any, mode: str) -> list[Any]:
    """What two methods must agree on: best rows, or the number of pairs and their sum of indexes."""
    if hasattr(found, "rows"):
        if mode == "pairs":
            return [len(found.pairs), int(found.pairs.sum())]
        return list(map(int, found.rows[:, 0]))
    if mode == "pairs":
        limits, _, rows = found
        of = np.repeat(np.arange(len(limits) - 1), np.diff(limits.astype(np.int64)))
        return [len(rows), int(rows.sum() + of.sum())]
    return list(map(int, found[:, 0]))


def work(folder: Path, method: str, mode: str, n_queries: int) -> None:
    """One measurement, in a process of its own."""
    queries = np.load(folder / "queries.npy", mmap_mode="r")[:n_queries]
    gallery = np.load(folder / "gallery.npy", mmap_mode="r")
    if not method.startswith("unveil"):
        queries, gallery = np.array(queries), np.array(gallery)
    run = prepare(method, mode, queries, gallery)
    warm = np.zeros((64, 64), np.float32)
    (warm @ warm).sum()
    with OwnMemory() as memory:
        wall, cpu = time.perf_counter(), time.process_time()
        found = run()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    got = answer(found, mode)
    print(
        json.dumps(
            {
                "wall": wall,
                "cpu": cpu,
                "pairs": len(queries) * len(gallery),
                "own_gib": memory.peak_gib,
                "first": got[:50_000] if mode != "pairs" else got,
            }
        )
    )


class OwnMemory:
    """The most memory of this process's own within a block, without the page cache behind mapped files; Linux only."""

    def __init__(self) -> None:
        self.peak_gib = float("nan")
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        status, most = Path("/proc/self/status"), 0
        while status.exists() and not self._done.wait(0.1):
            lines = status.read_text().splitlines()
            most = max(most, next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")))
            self.peak_gib = most / 2**20

    def __enter__(self) -> OwnMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()


def peak(dims: int) -> float:
    """Pairs a second of one thread that does nothing but int8 multiply-adds; NaN where peak.c cannot tell."""
    compiler = shutil.which("cc")
    if compiler is None:
        return float("nan")
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(__file__).with_name("peak.c"), Path(folder) / "peak"
        subprocess.run([compiler, "-O2", str(source), "-o", str(program)], check=True)  # noqa: S603
        told = subprocess.run([str(program)], capture_output=True, text=True, check=False)  # noqa: S603
    return float(told.stdout) / dims if told.returncode == 0 else float("nan")


def measure(folder: Path, method: str, mode: str, n_queries: int) -> dict[str, Any]:
    environment = {**os.environ, "OPENBLAS_CORETYPE": TUNED} if method.endswith("tuned") else dict(os.environ)
    if method.endswith("installed"):
        environment.pop("OPENBLAS_CORETYPE", None)
    command = [sys.executable, __file__, "--work", str(folder), method, mode, str(n_queries)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise SystemExit(f"{method} {mode}: {done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    if sys.argv[1:2] == ["--work"]:
        work(Path(sys.argv[2]), sys.argv[3], sys.argv[4], int(sys.argv[5]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=250_000)
    parser.add_argument("--queries-of-peers", type=int, default=12_500)
    parser.add_argument("--queries-of-onnxruntime", type=int, default=50_000)
    parser.add_argument("--queries-of-usearch", type=int, default=4_000)
    parser.add_argument("--dims", type=int, default=512)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--flat", action="store_true", help="no principal directions")
    parser.add_argument("--peers", default=",".join(PEERS), help="comma-separated; empty for none")
    args = parser.parse_args()

    todo = [("unveil native", mode, args.rows) for mode in OURS]
    todo += [("unveil onnxruntime", mode, args.queries_of_onnxruntime) for mode in OURS]
    if has_gpu():
        todo += [("unveil torch", mode, args.rows) for mode in OURS]
    chosen = [name for name in PEERS if name in args.peers]
    fewer = {"usearch exact": args.queries_of_usearch}
    todo += [(name, mode, fewer.get(name, args.queries_of_peers)) for name in chosen for mode in PEERS[name]]
    seen: dict[tuple[str, str], list[dict[str, Any]]] = {(name, mode): [] for name, mode, _ in todo}
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as name:
        folder = Path(name)
        for seed, which in ((1, "queries"), (2, "gallery")):
            np.save(folder / f"{which}.npy", vectors(args.rows, args.dims, seed, flat=args.flat))
        print(header(args), flush=True)
        for _ in range(args.repetitions):
            for method, mode, n in todo:
                seen[method, mode].append(measure(folder, method, mode, min(n, args.rows)))
    report(seen, args.dims)


def has_gpu() -> bool:
    """Whether PyTorch is here and sees a GPU."""
    try:
        import torch
    except ImportError:
        return False
    return bool(torch.cuda.is_available())


def header(args: argparse.Namespace) -> str:
    _, why = native.load()
    return (
        f"{processor()}, {cores()} cores, {platform.system()}, Python {platform.python_version()}; {why}\n"
        f"{args.rows:,} x {args.rows:,} x {args.dims}, {'flat' if args.flat else 'spectrum of a face network'}, "
        f"medians of {args.repetitions}\n"
    )


def report(seen: dict[tuple[str, str], list[dict[str, Any]]], dims: int) -> None:
    rates = {key: statistics.median(one["pairs"] / one["cpu"] for one in found) for key, found in seen.items()}
    most = peak(dims)
    print(f"int8 instruction peak of one thread: {most / 1e9:.3f} Gp/s\n")
    print("| method | mode | Gp/cpu-s | Gp/s wall | to tuned faiss | of the int8 peak | own memory, GiB | agrees |")
    print("|---|---|---|---|---|---|---|---|")
    for (method, mode), found in seen.items():
        wall = statistics.median(one["pairs"] / one["wall"] for one in found)
        base = rates.get(("faiss, tuned", mode), rates.get(("faiss, tuned", "top-1"), float("nan")))
        share = f"{rates[method, mode] / most:.0%}" if method == "unveil native" else ""
        ratio = "" if np.isnan(base) else f"{rates[method, mode] / base:.2f}"
        memory = max(one["own_gib"] for one in found)
        print(
            f"| {method} | {mode} | {rates[method, mode] / 1e9:.3f} | {wall / 1e9:.3f} | {ratio} | {share} | "
            f"{memory:.2f} | {agrees(seen, method, mode)} |"
        )


def agrees(seen: dict[tuple[str, str], list[dict[str, Any]]], method: str, mode: str) -> str:
    """Of the rows that both compared, the share with the same best row as unveil; pairs only among equal sizes."""
    ours, theirs = seen["unveil native", mode][0], seen[method, mode]
    if any(one["first"] != theirs[0]["first"] for one in theirs):
        return "not with itself"
    if mode == "pairs" and ours["pairs"] != theirs[0]["pairs"]:
        return "see check_pairs.py"
    n = min(len(ours["first"]), len(theirs[0]["first"]))
    same = np.mean(np.array(ours["first"][:n]) == np.array(theirs[0]["first"][:n]))
    return f"{same:.2%}"


if __name__ == "__main__":
    main()
