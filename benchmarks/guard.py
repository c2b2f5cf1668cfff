"""A guard's decision after embedding, beside the audit's exact comparison of the same vectors; prints a table.

Milliseconds a picture, medians; the comparison checks and re-scores. Beyond a size the guard leaves its index
packed, in half precision on disk.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from statistics import median

import numpy as np

from unveil.compare import compare_all
from unveil.io.host import cores, processor
from unveil.mitigation.guard import best_rows, ready
from unveil.types import Vectors


def milliseconds(call: Callable[[], object], repetitions: int) -> float:
    """The median time of a call."""
    times = []
    for _ in range(repetitions):
        start = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - start))
    return median(times)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--dimension", type=int, default=512)
    parser.add_argument("--repetitions", type=int, default=5)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    print(f"{processor()}, {cores()} cores; {options.dimension} dimensions\n")
    print("| training pictures | batch | guard, ms a picture | exact, ms | ratio | index on disk | in memory |")
    print("|---|---|---|---|---|---|---|")
    for n in (10_000, 100_000, 500_000, 1_500_000):
        gallery = rng.normal(size=(n, options.dimension)).astype(np.float32)
        gallery /= np.linalg.norm(gallery, axis=1, keepdims=True)
        for batch in (1, 32, 128):
            images = gallery[rng.integers(n, size=batch)]
            print(row(gallery, images, options.repetitions), flush=True)


def row(gallery: Vectors, images: Vectors, repetitions: int) -> str:
    """One line of the table."""
    half, offset = gallery.astype(np.float16), np.zeros(len(gallery), np.float32)
    index = ready(half)
    ours = milliseconds(lambda: best_rows(images, index, offset), repetitions) / len(images)
    exact = partial(compare_all, images, gallery, top_k=1, best_queries=False, moments=False)
    peer = milliseconds(exact, repetitions) / len(images)
    cells = (f"{len(gallery):,}", len(images), f"{ours:.2f}", f"{peer:.2f}", f"{peer / ours:.1f}")
    return "| " + " | ".join(map(str, cells)) + f" | {half.nbytes / 2**20:,.0f} MiB | {index.nbytes / 2**20:,.0f} MiB |"


if __name__ == "__main__":
    main()
