"""The GPU paths: the torch backend beside plain PyTorch and faiss, and embedding on each device.

    python -m benchmarks.gpu --data ../shared/data --out gpu.json
    python -m benchmarks.gpu --parts ceilings,compare,native --minutes 3
    python -m benchmarks.gpu --sizes 2000,4000 --all-modes-at 2000 --images 64 --crops 64 --minutes 3

It needs one NVIDIA GPU. On a CPU it only shows that the script runs; the third command is such a trial.
The whole ends within ``--minutes``: a row that would take longer than what is left is named and left out, and a row
that takes longer than expected ends the process. Rows are printed as they are measured.

- Ceilings: a float16 matrix product with float32 sums, and a copy within the GPU's memory, in the same run.
- Seconds of a comparison: `compare_all` as a whole. That includes checking the vectors, copying them to the GPU, exact
  scores on the CPU and the moments.
- Native: the native backend compares the same vectors on the CPU. Every field of both results must be equal.
- Plain PyTorch: the ten best rows and the best of each column in float16, without exact scores or an error bound.
- faiss: only if a build for GPUs is installed. It searches one axis.
- Merging: sorting the candidates of one panel by query and score, by NumPy on the CPU and on the device.
- Embedding: needs `lfw_aligned112.zip` and the models of ../shared/data. "Model" is the model alone on crops in memory,
  called by one thread and by eight. "From files" is `unveil.embed` of a zip of JPEG files, without the model's start.
"""

from __future__ import annotations

import argparse
import cProfile
import dataclasses
import faulthandler
import importlib.util
import io
import json
import multiprocessing
import platform
import pstats
import statistics
import tempfile
import time
import traceback
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks.compare import OURS, vectors
from benchmarks.embed import MODELS
from unveil import compare_all, embed
from unveil.compare.backend_torch import TorchProduct
from unveil.compare.topk import worst_first
from unveil.faces.embedding_model import EmbeddingModel
from unveil.io.host import cores, processor

DIMS = 512
BLOCK = 16384
K = 10
CALLERS = 8
HARD_STOP = 20  # seconds after --minutes, when a row that takes too long ends the process
# A product in float16 that is written once and read once: the least traffic unless the decisions are fused with it.
BYTES_PER_PAIR = 4
PARTS = ("ceilings", "compare", "native", "embed", "merging", "peers", "profile", "large")
Vectors = npt.NDArray[np.float32]


@dataclasses.dataclass
class Ceilings:
    """Measured peaks of the GPU: float16 operations/s of a matrix product, bytes/s of a copy."""

    operations: float = float("nan")
    bytes: float = float("nan")


class Deadline:
    """The end of the run. A row starts only if its expected seconds are left."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self.left_out: list[str] = []

    def allows(self, row: str, seconds: float) -> bool:
        """Whether a row can end in time; a row that cannot is noted."""
        left = self._end - time.monotonic()
        if seconds <= left:
            return True
        self.left_out.append(f"{row}: about {seconds:.0f} s needed, {max(0.0, left):.0f} s left")
        return False


def device() -> str:
    """The GPU, or the CPU if there is none."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def wait() -> None:
    """Returns when the GPU is idle."""
    import torch

    if device() == "cuda":
        torch.cuda.synchronize()


def synchronised(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of a call, until the GPU is idle, and its result."""
    wait()
    start = time.perf_counter()
    result = work()
    wait()
    return time.perf_counter() - start, result


def repeated(work: Callable[[], Any], repetitions: int, seconds: float) -> tuple[list[float], Any]:
    """Seconds of each call and the last result; no call starts after ``seconds``."""
    taken: list[float] = []
    result = None
    while len(taken) < repetitions and sum(taken) < seconds:
        one, result = synchronised(work)
        taken.append(one)
    return taken, result


def ceilings() -> Ceilings:
    """Measures the peaks on random operands, because zeros run faster."""
    import torch

    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
    found = Ceilings()
    # On a CPU, small operands show that the script runs.
    side, block, numbers = (8192, BLOCK, 2**29) if device() == "cuda" else (256, 512, 2**20)
    a, b = (torch.randn(side, side, device=device()).half() for _ in range(2))
    print("| product, float16 with float32 sums | TFLOP/s |\n|---|---|")
    for name, x, y in ((f"{side} x {side} x {side}", a, b), (f"{block} x {DIMS} x {block}", *_panels(block))):
        for _ in range(3):
            x @ y
        seconds = statistics.median(synchronised(lambda x=x, y=y: x @ y)[0] for _ in range(20))  # type: ignore[misc]
        rate = 2 * x.shape[0] * x.shape[1] * y.shape[1] / seconds
        found.operations = max(rate, found.operations) if found.operations == found.operations else rate
        print(f"| {name} | {rate / 1e12:.3g} |")
    source = torch.randint(0, 2**31, (numbers,), device=device(), dtype=torch.int32)
    target = torch.empty_like(source)
    target.copy_(source)
    seconds = statistics.median(synchronised(lambda: target.copy_(source))[0] for _ in range(10))
    found.bytes = 2 * source.nbytes / seconds
    print(f"\nCopy within the device's memory: {found.bytes / 1e12:.3g} TB/s, read and written.\n", flush=True)
    return found


def _panels(block: int) -> tuple[Any, Any]:
    import torch

    a, b = (torch.nn.functional.normalize(torch.randn(block, DIMS, device=device())).half() for _ in range(2))
    return a, b.T


def make(folder: Path, which: str, seed: int, n: int) -> None:
    path = folder / f"{which}.npy"
    if not path.exists():
        np.save(path.with_suffix(".partial.npy"), vectors(n, DIMS, seed, flat=False))
        path.with_suffix(".partial.npy").rename(path)


def make_both(folder: Path, n: int) -> None:
    """Queries and gallery as files, by two processes; smaller sets are their first rows."""
    folder.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=make, args=(folder, *what, n)) for what in (("queries", 1), ("gallery", 2))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        if worker.exitcode:
            raise SystemExit("a process that makes vectors failed")


def opened(folder: Path, n: int) -> tuple[Vectors, Vectors]:
    queries, gallery = (np.load(folder / f"{which}.npy", mmap_mode="r")[:n] for which in ("queries", "gallery"))
    return queries, gallery


def warm_up(folder: Path) -> None:
    """Loads kernels and the handles of libraries."""
    compare_all(*opened(folder, 20_000), backend="torch", **OURS["top-10"])


def compare(args: argparse.Namespace, most: Ceilings, deadline: Deadline, sizes: list[int]) -> list[dict[str, Any]]:
    """Times the torch backend at each size and checks it against the native backend."""
    import torch

    warm_up(args.vectors)
    results = []
    print(
        "| backend | size | mode | seconds | Gp/s | of the product's peak | of the memory's rate | GPU memory, GiB | "
        "same as native |\n|---|---|---|---|---|---|---|---|---|"
    )
    per_pair = per_pair_native = 0.0
    for n in sizes:
        queries, gallery = opened(args.vectors, n)
        for mode in OURS if n <= args.all_modes_at else ("top-10",):
            if not deadline.allows(f"torch, {n:,} rows, {mode}", per_pair * n * n):
                continue
            if device() == "cuda":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            taken, found = repeated(
                partial(compare_all, queries, gallery, backend="torch", **OURS[mode]),
                args.repetitions if n <= args.all_modes_at else 1,
                args.seconds,
            )
            per_pair = statistics.median(taken) / n / n
            memory = torch.cuda.max_memory_allocated() / 2**30, torch.cuda.max_memory_reserved() / 2**30
            same, on_cpu = "not checked", float("nan")
            # Every mode at the smallest size, the longest lists at the others.
            checked = "native" in args.parts and n <= args.native_at_most and (n == min(sizes) or mode == "top-10")
            if checked and deadline.allows(f"native, {n:,} rows, {mode}", per_pair_native * n * n):
                start = time.perf_counter()
                theirs = compare_all(queries, gallery, backend="native", **OURS[mode])
                on_cpu = time.perf_counter() - start
                per_pair_native = on_cpu / n / n
                different = [f for f in field_names(found) if not identical(getattr(found, f), getattr(theirs, f))]
                same = ", ".join(different) + " differ" if different else "every field"
            rate = n * n / statistics.median(taken)
            print(
                f"| torch | {n:,} x {n:,} | {mode} | {spread(taken)} | {rate / 1e9:.1f} | "
                f"{rate * 2 * DIMS / most.operations:.1%} | {rate * BYTES_PER_PAIR / most.bytes:.1%} | "
                f"{memory[0]:.1f} ({memory[1]:.1f} reserved) | {same} |"
            )
            if on_cpu == on_cpu:
                print(f"| native | {n:,} x {n:,} | {mode} | {on_cpu:.2f} | {n * n / on_cpu / 1e9:.1f} | | | | |")
            results.append({"n": n, "mode": mode, "seconds": taken, "memory": memory, "native": on_cpu, "same": same})
            print(end="", flush=True)
    print()
    return results


def large(args: argparse.Namespace, most: Ceilings, deadline: Deadline, made: float) -> list[dict[str, Any]]:
    """As `compare` at the sizes above ``all_modes_at``; ``made`` is the seconds that the vectors of the others took."""
    sizes = [n for n in args.sizes if n > args.all_modes_at]
    small = max(n for n in args.sizes if n <= args.all_modes_at)
    if not sizes or not deadline.allows("vectors of the large sets", made * max(sizes) / small):
        return []
    folder = args.vectors
    try:
        args.vectors = folder / "large"
        make_both(args.vectors, max(sizes))
        return compare(args, most, deadline, sizes)
    finally:
        args.vectors = folder


def merging(args: argparse.Namespace, deadline: Deadline) -> list[dict[str, Any]]:
    """Times the sorting of candidates, which merges them into the lists of their queries, on the CPU and the device."""
    product, rng, seconds = TorchProduct.on(), np.random.default_rng(0), 0.0
    results: list[dict[str, Any]] = []
    print(
        f"| candidates of {BLOCK:,} queries | NumPy, ms | {product.device.type}, ms | same order |\n|---|---|---|---|"
    )
    for n in (30_000, 300_000, 3_000_000):
        if not deadline.allows(f"merging of {n:,} candidates", 10 * seconds):
            continue
        place, score, rows = rng.integers(BLOCK, size=n), rng.normal(size=n).round(4), rng.permutation(n)
        product.worst_first(place, score, rows)
        start = time.perf_counter()
        on_cpu, expected = repeated(partial(worst_first, place, score, rows), 5, args.seconds)
        on_device, found = repeated(partial(product.worst_first, place, score, rows), 5, args.seconds)
        same = bool(np.array_equal(found, expected))
        medians = [1000 * statistics.median(taken) for taken in (on_cpu, on_device)]
        print(f"| {n:,} | {medians[0]:.1f} | {medians[1]:.1f} | {'yes' if same else 'NO'} |", flush=True)
        results.append({"n": n, "ms": medians, "same": same})
        seconds = time.perf_counter() - start
    print()
    return results


def field_names(found: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(found)]


def identical(a: Any, b: Any) -> bool:
    """Same bits; NaN equals NaN."""
    return a is b or (a is not None and b is not None and np.array_equal(a, b))


def spread(taken: list[float]) -> str:
    """The median, and the least and most of several."""
    middle = f"{statistics.median(taken):.2f}"
    return middle if len(taken) == 1 else f"{middle} ({min(taken):.2f} to {max(taken):.2f})"


def plain_torch(queries: Vectors, gallery: Vectors) -> tuple[Any, Any]:
    """The ten best rows of each query and the best of each column, by matmul and topk in blocks."""
    import torch

    q, g = (torch.from_numpy(np.array(rows)).to(device()).half() for rows in (queries, gallery))
    best_column = torch.full((len(g),), -2.0, device=device(), dtype=torch.half)
    rows = []
    for i in range(0, len(q), BLOCK):
        values, places = None, None
        for j in range(0, len(g), BLOCK):
            product = q[i : i + BLOCK] @ g[j : j + BLOCK].T
            best = product.topk(K, dim=1)
            column = best_column[j : j + BLOCK]
            torch.maximum(column, product.amax(0), out=column)
            values = best.values if values is None else torch.cat([values, best.values], 1)
            places = best.indices + j if places is None else torch.cat([places, best.indices + j], 1)
            values, order = values.topk(K, dim=1)
            places = places.gather(1, order)
        rows.append(places)
    return torch.cat([part for part in rows if part is not None]).cpu().numpy(), best_column.cpu().numpy()


def faiss_search(queries: Vectors, gallery: Vectors, *, half: bool) -> npt.NDArray[np.int64]:
    """Exact search of the ten best rows by faiss on the GPU."""
    import faiss

    config = faiss.GpuIndexFlatConfig()
    config.useFloat16 = half
    index = faiss.GpuIndexFlatIP(faiss.StandardGpuResources(), DIMS, config)
    index.add(np.array(gallery))
    found: npt.NDArray[np.int64] = index.search(np.array(queries), K)[1]
    return found


def peers(args: argparse.Namespace, deadline: Deadline) -> list[dict[str, Any]]:
    """Times peers on the same vectors and counts how many of their rows equal those of the exact comparison."""
    sizes = [n for n in args.sizes if n <= args.all_modes_at]
    contenders: dict[str, tuple[int, Callable[[Vectors, Vectors], Any]]] = {
        "plain PyTorch, float16": (max(sizes), lambda q, g: plain_torch(q, g)[0])
    }
    if importlib.util.find_spec("faiss") is not None:
        import faiss

        if hasattr(faiss, "GpuIndexFlatIP"):
            name = f"faiss {faiss.__version__}"
            contenders[f"{name}, float16"] = args.faiss_at_most, lambda q, g: faiss_search(q, g, half=True)
            contenders[f"{name}, float32"] = args.faiss_at_most, lambda q, g: faiss_search(q, g, half=False)
    results = []
    print("| peer | size | seconds | Gp/s | same ten rows | same best row |\n|---|---|---|---|---|---|")
    per_pair: dict[str, float] = {}
    for n in sizes:
        queries, gallery = opened(args.vectors, n)
        if not deadline.allows(f"exact rows of {n:,}", per_pair.get("exact", 0.0) * n * n):
            continue
        seconds, exact = synchronised(
            partial(compare_all, queries, gallery, backend="torch", moments=False, **OURS["top-10"])
        )
        per_pair["exact"] = seconds / n / n
        for name, (most, work) in contenders.items():
            if n > most or not deadline.allows(f"{name}, {n:,} rows", 2 * per_pair.get(name, 0.0) * n * n):
                continue
            work(queries[:20_000], gallery[:20_000])  # loads kernels
            taken, rows = repeated(partial(work, queries, gallery), args.repetitions, args.seconds)
            per_pair[name] = statistics.median(taken) / n / n
            ten = float((np.sort(rows, 1) == np.sort(exact.rows, 1)).all(1).mean())
            best = float((rows[:, 0] == exact.rows[:, 0]).mean())
            rate = n * n / statistics.median(taken) / 1e9
            print(f"| {name} | {n:,} x {n:,} | {spread(taken)} | {rate:.1f} | {ten:.2%} | {best:.2%} |", flush=True)
            results.append({"peer": name, "n": n, "seconds": taken, "same_ten": ten, "same_best": best})
    print()
    return results


def profile(args: argparse.Namespace, deadline: Deadline) -> dict[str, Any]:
    """Profiles a comparison: GPU kernels by PyTorch's profiler, the main thread by cProfile."""
    import torch

    if not deadline.allows("profile", args.seconds):
        return {}
    queries, gallery = opened(args.vectors, args.all_modes_at)
    warm_up(args.vectors)
    with torch.profiler.profile(activities=[getattr(torch.profiler.ProfilerActivity, device().upper())]) as kernels:
        wall, _ = synchronised(lambda: compare_all(queries, gallery, backend="torch", **OURS["top-10"]))
    by_kernel = sorted(kernels.key_averages(), key=lambda e: -e.self_device_time_total)
    busy = sum(event.self_device_time_total for event in by_kernel) / 1e6
    print(f"{len(queries):,} x {len(gallery):,} top-10: {wall:.2f} s, of which the GPU works {busy:.2f} s")
    for event in by_kernel[:12]:
        print(f"    {event.self_device_time_total / 1e6:7.3f} s {event.count:6d} times {event.key[:90]}")
    cpu = cProfile.Profile()
    cpu.runcall(compare_all, queries, gallery, backend="torch", **OURS["top-10"])
    text = io.StringIO()
    pstats.Stats(cpu, stream=text).sort_stats("tottime").print_stats(14)
    print("\n".join(line for line in text.getvalue().splitlines()[4:] if line.strip()), flush=True)
    return {"wall": wall, "gpu": busy, "kernels": [(e.key, e.self_device_time_total / 1e6) for e in by_kernel[:12]]}


# --- embedding


def crops_of(archive: Path, size: int, n: int) -> npt.NDArray[np.uint8]:
    """Aligned crops (n, size, size, 3) in memory."""
    with zipfile.ZipFile(archive) as packed:
        names = [name for name in packed.namelist() if name.endswith(".jpg")][:n]
        faces = [Image.open(io.BytesIO(packed.read(name))).convert("RGB").resize((size, size)) for name in names]
    return np.stack([np.asarray(face) for face in faces])


def many(archive: Path, target: Path, n: int) -> None:
    """Writes a zip of ``n`` files that differ: bytes after a JPEG's end change only its hash."""
    with zipfile.ZipFile(archive) as packed, zipfile.ZipFile(target, "w") as out:
        images = [packed.read(name) for name in packed.namelist() if name.endswith(".jpg")]
        for i in range(n):
            out.writestr(f"{i // 20:05d}/{i:06d}.jpg", images[i % len(images)] + i.to_bytes(8, "little"))


def batches(crops: npt.NDArray[np.uint8], size: int) -> Iterator[npt.NDArray[np.uint8]]:
    for start in range(0, len(crops) - size + 1, size):
        yield crops[start : start + size]


def model_rate(loaded: EmbeddingModel, crops: npt.NDArray[np.uint8], callers: int) -> float:
    """Crops/s of a model alone, in its own batches."""
    parts = list(batches(crops, loaded.batch))
    parts *= -(-4 * callers // len(parts))
    with ThreadPoolExecutor(callers) as pool:
        list(pool.map(loaded.embed, parts[: 2 * callers]))
        rates = []
        for _ in range(3):
            start = time.perf_counter()
            list(pool.map(loaded.embed, parts))
            rates.append(len(parts) * loaded.batch / (time.perf_counter() - start))
    return statistics.median(rates)


def embedding(args: argparse.Namespace, deadline: Deadline) -> list[dict[str, Any]]:
    """Times each model on each device and compares its vectors with those of the CPU."""
    archive = args.data / "lfw/lfw_aligned112.zip"
    results, longest = [], 0.0
    print(
        "| model | device | batch | start, s | model, 1 caller | model, 8 callers | from files, images/s | "
        "largest difference of a cosine | largest 1 - cosine to the CPU |\n|---|---|---|---|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as folder:
        large, small = Path(folder) / "large.zip", Path(folder) / "small.zip"
        many(archive, large, args.images)
        many(archive, small, max(1, args.images // 4))
        for name in args.models:
            file = MODELS[name]
            model = None if file is None else args.data / "models" / file
            reference = EmbeddingModel(model, device="cpu")
            crops = crops_of(archive, reference.spec.input_size, args.crops)
            crops = crops[: len(crops) // 8 * 8]
            exact = np.concatenate(list(ThreadPoolExecutor(cores()).map(reference.embed, batches(crops, 8)))).astype(
                np.float64
            )
            for where in args.devices:
                if not deadline.allows(f"{name} on {where}", longest):
                    continue
                start = row = time.perf_counter()
                loaded = EmbeddingModel(model, device=where)
                started = time.perf_counter() - start
                if loaded.runs_on != where:
                    print(f"| {name} | {where} | {loaded.fallback} | | | | | | |")
                    continue
                # Fewer crops for the slower CPU.
                one, several = (
                    model_rate(loaded, crops[: 16 * callers] if where == "cpu" else crops, callers)
                    for callers in (1, CALLERS)
                )
                got = loaded.embed(crops).astype(np.float64)
                pairs = float(np.abs(got @ got.T - exact @ exact.T).max())
                own = float(1 - (got * exact).sum(1).min())
                batch = loaded.batch
                del loaded
                start = time.perf_counter()
                EmbeddingModel(model, device=where)
                again = time.perf_counter() - start
                images, files = (args.images // 4, small) if where == "cpu" else (args.images, large)
                start = time.perf_counter()
                found = embed(files, model=model, device=where, aligned="yes")
                # The model's own start is results apart: it is paid once, whatever the number of images.
                rate = found.n_images / (time.perf_counter() - start - again)
                results.append(
                    {
                        "model": name,
                        "device": where,
                        "start": [started, again],
                        "model_alone": [one, several],
                        "files": rate,
                        "images": images,
                        "difference": [pairs, own],
                        "rejects": len(found.rejects),
                    }
                )
                print(
                    f"| {name} | {where} | {batch} | {started:.1f}, then {again:.1f} | {one:.0f} | {several:.0f} | "
                    f"{rate:.0f} | {pairs:.1e} | {own:.1e} |",
                    flush=True,
                )
                longest = max(longest, time.perf_counter() - row)
    print()
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", type=lambda text: text.split(","), default=list(PARTS))
    parser.add_argument(
        "--sizes", type=lambda text: [int(n) for n in text.split(",")], default=[60_000, 250_000, 10**6]
    )
    parser.add_argument("--all-modes-at", type=int, default=250_000, help="the largest size at which all is measured")
    parser.add_argument("--native-at-most", type=int, default=250_000)
    parser.add_argument("--faiss-at-most", type=int, default=250_000)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=7.5, help="of the whole")
    parser.add_argument("--seconds", type=float, default=20, help="of one row, after which no repetition begins")
    parser.add_argument("--vectors", type=Path, help="a folder where the made vectors stay for the next run")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--models", type=lambda text: text.split(","), default=list(MODELS))
    parser.add_argument("--devices", type=lambda text: text.split(","), default=["cpu", "torch", "cuda", "tensorrt"])
    parser.add_argument("--images", type=int, default=16_384)
    parser.add_argument("--crops", type=int, default=1024)
    parser.add_argument("--out", type=Path, help="a JSON file of every figure")
    args = parser.parse_args()
    if min(args.sizes) > args.all_modes_at:
        parser.error("one of --sizes should be at most --all-modes-at")
    deadline = Deadline(60 * args.minutes)
    faulthandler.dump_traceback_later(60 * args.minutes + HARD_STOP, exit=True)
    import torch

    card = torch.cuda.get_device_properties(0) if torch.cuda.is_available() else None
    print(
        f"{card.name if card else 'no GPU'}, PyTorch {torch.__version__}; {processor()}, {cores()} cores, "
        f"Python {platform.python_version()}\n",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        args.vectors = args.vectors or Path(folder)
        start = time.perf_counter()
        if {"compare", "peers", "profile", "large"} & set(args.parts):
            make_both(args.vectors, max(n for n in args.sizes if n <= args.all_modes_at))
        made = time.perf_counter() - start
        most = Ceilings()
        results: dict[str, Any] = {}
        steps: dict[str, Callable[[], Any]] = {
            "ceilings": ceilings,
            "compare": lambda: compare(args, most, deadline, [n for n in args.sizes if n <= args.all_modes_at]),
            "embed": lambda: embedding(args, deadline),
            "merging": lambda: merging(args, deadline),
            "peers": lambda: peers(args, deadline),
            "profile": lambda: profile(args, deadline),
            "large": lambda: large(args, most, deadline, made),
        }
        for part, step in steps.items():
            if part not in args.parts or not deadline.allows(part, 0):
                continue
            start = time.perf_counter()
            try:
                results[part] = step()
            except Exception:  # the other parts still run
                traceback.print_exc()
                results[part] = traceback.format_exc()
            print(f"{part}: {time.perf_counter() - start:.0f} s\n", flush=True)
            if part == "ceilings" and isinstance(results[part], Ceilings):
                most = results[part]
                results[part] = dataclasses.asdict(most)
            if args.out is not None:
                args.out.write_text(json.dumps({**results, "left out": deadline.left_out}))
    print("\n".join(["Left out for lack of time:", *deadline.left_out] if deadline.left_out else ["Nothing left out."]))
    faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    main()
