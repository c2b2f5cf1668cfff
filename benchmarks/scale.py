"""The same comparison and the same embedding by threads here and by the workers of a Ray cluster; prints tables.

Both in one process, repetitions interleaved, medians; a worker a core, bound to as many cores as the row says. Memory
is private to a process (`smaps_rollup`), the most that was seen: what workers of a machine share is not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image

from unveil.compare import DistributedBackend, TileSizes, compare_all, open_backend
from unveil.config.channels import channel_config
from unveil.config.parsing import settings_from
from unveil.demo.faces import drawn_faces
from unveil.embedding.distributed import SourceSpec, WorkerInput, embed_distributed
from unveil.embedding.embed import decide_alignment
from unveil.embedding.embedder import AuditEmbedder
from unveil.embedding.pipeline import PipelineSizes, embed_partitions, split_records
from unveil.embedding.shards import ShardStore
from unveil.engine import open_engine
from unveil.images import open_source
from unveil.io.host import cores, processor
from unveil.io.remote import absolute_place
from unveil.io.storage import LocalStorage
from unveil.io.trust import StoreKey
from unveil.progress import Silent

SEED, BLOCK = 0, 16_384


def vectors(path: Path, n: int, d: int, rng: np.random.Generator) -> Any:
    """Unit rows (n, d) float32 in a file, made block by block."""
    made = np.lib.format.open_memmap(path, "w+", np.float32, (n, d))
    for start in range(0, n, BLOCK):
        block = rng.normal(size=(min(BLOCK, n - start), d)).astype(np.float32)
        made[start : start + BLOCK] = block / np.linalg.norm(block, axis=1, keepdims=True)
    made.flush()
    return np.load(path, mmap_mode="r")


class Memory(threading.Thread):
    """The most private memory of this process and of any worker, in MiB, while it runs."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.here = self.worker = 0.0
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(0.25):
            self.here = max(self.here, private_mib("self"))
            for process in Path("/proc").iterdir():
                try:
                    if process.name.isdigit() and b"_Worker" in (process / "cmdline").read_bytes()[:40]:
                        self.worker = max(self.worker, private_mib(process.name))
                except OSError:
                    continue

    def __enter__(self) -> Memory:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()


def private_mib(process: str) -> float:
    """Memory that a process shares with nobody and that no file backs."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    sizes = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.endswith("kB")}
    return sizes["Anonymous"] / 1024


@contextmanager
def timed(times: list[float]) -> Iterator[None]:
    start = time.perf_counter()
    yield
    times.append(time.perf_counter() - start)


def measure(n: int, g: int, d: int, repetitions: int, store: str) -> dict[str, float]:
    """Seconds of a comparison, median, by threads and by workers; memory of the driver and of a worker in MiB."""
    rng = np.random.default_rng(SEED)
    asked: dict[str, Any] = {"top_k": 10, "top_pairs": 10_000, "moments": False}
    here: list[float] = []
    there: list[float] = []
    with tempfile.TemporaryDirectory() as folder, open_engine("ray", Silent()) as engine:
        queries, gallery = vectors(Path(folder) / "q.npy", n, d, rng), vectors(Path(folder) / "g.npy", g, d, rng)
        local = open_backend("auto", cores())
        assert engine is not None  # noqa: S101
        tiled = DistributedBackend(
            engine, "auto", local, store or str(Path(folder) / "store"), "work", TileSizes(min_pairs=0)
        )
        some = slice(0, min(n, g, 4096))
        compare_all(queries[some], gallery[some], **asked, backend=tiled)  # workers have started
        with Memory() as memory:  # by itself: who is looked at stands still meanwhile
            compare_all(queries, gallery, **asked, backend=tiled)
        for _ in range(repetitions):
            with timed(there):
                found = compare_all(queries, gallery, **asked, backend=tiled)
            with timed(here):
                same = compare_all(queries, gallery, **asked, backend=local)
        if not (np.array_equal(found.rows, same.rows) and np.array_equal(found.top_pairs, same.top_pairs)):
            raise SystemExit("the results differ")
    return {"here": median(here), "there": median(there), "driver": memory.here, "worker": memory.worker}


def measure_embedding(n: int, repetitions: int) -> dict[str, float]:
    """Seconds to embed drawn aligned faces through the default channels, median, by threads and by workers."""
    here: list[float] = []
    there: list[float] = []
    with tempfile.TemporaryDirectory() as name, open_engine("ray", Silent()) as engine:
        folder = Path(name)
        for i, face in enumerate(drawn_faces(n)):
            Image.fromarray(face).resize((112, 112)).save(folder / f"{i:05d}.jpg", quality=95)
        settings = settings_from({"synthetic": folder, "training": folder, "out": f"{name}-run", "aligned": "yes"})
        source = open_source(folder)
        assert engine is not None  # noqa: S101
        channels = AuditEmbedder(channel_config(settings), {"synthetic": source})
        preprocessor = channels.preprocessor(decide_alignment(source, "yes"))
        recipes = [preprocessor.recipe(channel) for channel in preprocessor.channels]
        worker_input = WorkerInput.create(SourceSpec(settings.synthetic), channels.config, preprocessor)
        partitions = split_records(source.records, PipelineSizes().images_per_shard)
        stores = [f"{name}-there{i}" for i in range(repetitions + 1)]
        with Memory() as memory:  # workers start and load networks
            embed_distributed(engine, source, worker_input, stores[-1], StoreKey.own(), "images", Silent(), 0)
        for i in range(repetitions):
            with timed(there):
                embed_distributed(engine, source, worker_input, stores[i], StoreKey.own(), "images", Silent(), 0)
            storage = LocalStorage(Path(f"{name}-here{i}"))
            shards = [ShardStore(storage, recipe) for recipe in recipes]
            with timed(here):
                list(embed_partitions(source, partitions, preprocessor, shards, cores()))
            shutil.rmtree(storage.where)
        for store in stores:
            shutil.rmtree(store)
    return {"here": median(here), "there": median(there), "driver": memory.here, "worker": memory.worker}


def apart(n_cores: int, call: Callable[..., object], *arguments: object) -> dict[str, float]:
    """What a function of this file returns in a process of its own on so many cores."""
    code = f"from benchmarks.scale import *; print(json.dumps({call.__name__}(*{arguments!r})))"
    mine = sorted(os.sched_getaffinity(0))[:n_cores]
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        preexec_fn=lambda: os.sched_setaffinity(0, mine),
    )
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return answer


def print_row(title: str, n_cores: int, got: dict[str, float], alone: float | None) -> None:
    """A line of a table; ``alone`` is what one core took."""
    efficiency = "" if alone is None else f"{alone / (n_cores * got['there']):.2f}"
    times = f"{got['here']:.1f} | {got['there']:.1f} | {got['there'] / got['here']:.2f}"
    print(f"| {title} | {n_cores} | {times} | {efficiency} | {got['driver']:.0f} | {got['worker']:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=512)
    parser.add_argument("--images", type=int, default=2_048)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--only", choices=("embedding", "comparing"))
    parser.add_argument("--store", default="", help="where tiles are written: a folder or an address")
    options = parser.parse_args()
    print(f"{processor()}, {cores()} cores; medians of {options.repetitions}\n")
    if options.store:
        options.store = absolute_place(options.store)
    if options.only != "comparing":
        embedding(options)
    if options.only != "embedding":
        comparing(options)


def embedding(options: argparse.Namespace) -> None:
    """The table of embedding."""
    print("| pictures | cores | threads, s | workers, s | workers / threads | efficiency | driver MiB | worker MiB |")
    print("|---|---|---|---|---|---|---|---|")
    first = 0.0
    for c in sorted({1, cores()}):
        got = apart(c, measure_embedding, options.images, options.repetitions)
        first = first or got["there"]
        print_row(f"{options.images:,}", c, got, first)
    print()


def comparing(options: argparse.Namespace) -> None:
    """The table of comparison."""
    print("| pairs | cores | threads, s | workers, s | workers / threads | efficiency | driver MiB | worker MiB |")
    print("|---|---|---|---|---|---|---|---|")
    n, alone = options.rows, 0.0
    sizes = [(n, n, c) for c in sorted({1, cores()})]
    # Memory: each side larger by itself.
    sizes += [(n // 4, n // 4, cores()), (2 * n, n // 2, cores()), (n // 2, 2 * n, cores())]
    for q, g, c in sizes:
        got = apart(c, measure, q, g, options.dimension, options.repetitions, options.store)
        alone = alone or got["there"]
        print_row(f"{q:,} x {g:,}", c, got, alone if (q, g) == (n, n) else None)


if __name__ == "__main__":
    main()
