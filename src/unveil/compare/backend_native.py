"""The compiled kernel's backend: slabs of quantised gallery rows, panels of queries, threads within each tile.

The kernel (unveil/native/src) multiplies in int8 with a proven bound, and scores every pair that could matter exactly,
from the stored vectors. Here is what it is given and where its answers stay.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from unveil.compare.error_bounds import below
from unveil.compare.pruning import DimensionOrder, choose_dimension_order
from unveil.compare.topk import QuerySpec, TopMatches
from unveil.io.checkpoint import Checkpoint
from unveil.native import FLOAT16, FLOAT32, STATUS, Kernel, Library, NativeJob, NativePacked, NativeVectors
from unveil.types import Floats, Ints

Vectors = npt.NDArray[np.floating]

PANEL_ROWS = 4096
SLAB_BYTES = 1 << 30
CHUNK_ROWS = 4096  # quantised at once
POLL_SECONDS = 0.1


@dataclass(frozen=True)
class NativeBackend:
    """Compares with one kernel of the compiled library on some threads."""

    library: Library
    kernel: Kernel
    threads: int
    panel_rows: int = PANEL_ROWS
    slab_bytes: int = SLAB_BYTES
    order: DimensionOrder | None = None  # None: chosen by a sample

    def run(
        self,
        queries: Vectors,
        gallery: Vectors,
        kept: TopMatches,
        progress: Callable[[int], None],
        checkpoint: Checkpoint,
    ) -> None:
        """Takes into ``kept`` every pair that can matter. Raises SettingError for too many pairs, and MemoryError."""
        queries, gallery = _in_place(queries), _in_place(gallery)
        steps = -(-queries.shape[1] // 16) * 4
        slab_rows = max(1, self.slab_bytes // (4 * steps * self.kernel.width)) * self.kernel.width
        slabs, panels = _cut(len(gallery), slab_rows), _cut(len(queries), self.panel_rows)
        checkpoint = checkpoint.with_key(f"native {slab_rows} {self.panel_rows}")
        if (saved := checkpoint.load()) is not None:
            kept.restore(saved)
            progress(sum(_pairs(slabs[i // len(panels)], panels[i % len(panels)]) for i in range(kept.done)))
        order = self.order or choose_dimension_order(
            queries, gallery, kept.wanted, (self.kernel.height, self.kernel.width)
        )
        with ThreadPoolExecutor(self.threads, thread_name_prefix="unveil") as pool:
            for s in range(kept.done // len(panels), len(slabs)):
                rows = gallery[slabs[s]]
                b = _Quantised(len(rows), steps, self.kernel.width, order, self.kernel.bias, self.kernel.levels)
                b.fill(rows, self.library, self.kernel, pool)
                for p in range(kept.done - s * len(panels), len(panels)):
                    part = queries[panels[p]]
                    a = _Quantised(len(part), steps, self.kernel.height, order, 0, 127)
                    a.fill(part, self.library, self.kernel, pool)
                    tile = _Tile(self, kept, order, panels[p], slabs[s])
                    tile.work(part, rows, a, b, pool, progress)
                    kept.done += 1
                    checkpoint.save(kept.arrays, done=kept.done == len(slabs) * len(panels))

    def settled(self, queries: Vectors, gallery: Vectors, wanted: QuerySpec) -> NativeBackend:
        """The same, with the order of dimensions that a sample says is cheapest."""
        offset = wanted.gallery_offset[: len(gallery)]
        order = choose_dimension_order(
            *(_in_place(queries), _in_place(gallery), replace(wanted, gallery_offset=offset)),
            (self.kernel.height, self.kernel.width),
        )
        return replace(self, order=order)

    def cosines(self, queries: Vectors, gallery: Vectors, q: Ints, g: Ints) -> Floats:
        """Exact cosines (M,) of pairs of rows."""
        queries, gallery = _in_place(queries), _in_place(gallery)
        q, g, out = np.ascontiguousarray(q, np.int64), np.ascontiguousarray(g, np.int64), np.empty(len(q))
        a, b = _stored(queries), _stored(gallery)
        self.library.cosines(self.kernel, a, b, len(q), q.ctypes.data, g.ctypes.data, out.ctypes.data)
        return out


def _cut(n: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


def _pairs(a: slice, b: slice) -> int:
    return int((a.stop - a.start) * (b.stop - b.start))


def _in_place(vectors: Vectors) -> Vectors:
    """The same array when its rows can be read where they are, else a copy."""
    readable = vectors.strides[1] == vectors.itemsize or vectors.shape[1] == 1
    return vectors if readable and vectors.flags.aligned else np.ascontiguousarray(vectors)


def _stored(rows: Vectors) -> NativeVectors:
    kind = FLOAT16 if rows.dtype == np.float16 else FLOAT32
    return NativeVectors(rows.ctypes.data, len(rows), rows.shape[1], rows.strides[0], kind)


class _Quantised:
    """Rows packed for the kernel, with their bounds; whole strips, the last one padded."""

    def __init__(self, n: int, steps: int, width: int, order: DimensionOrder, bias: int, levels: int) -> None:
        self.n, self.width, self.order = n, width, order
        padded = -(-n // width) * width
        self.bytes = np.empty(padded * steps * 4, np.uint8)
        self.scale, self.error, self.norm = (np.empty(padded, np.float32) for _ in range(3))
        self.rest = np.empty((max(1, len(order.looks)), padded), np.float32)
        self.sum = np.empty((1 + len(order.looks), padded), np.int32)
        arrays = (self.bytes, self.scale, self.error, self.norm, self.rest, self.sum)
        self.packed = NativePacked(*(array.ctypes.data for array in arrays), padded, width, steps, bias, levels)

    def fill(self, rows: Vectors, library: Library, kernel: Kernel, pool: ThreadPoolExecutor) -> None:
        """Quantises all rows; raises MemoryError."""
        chunk = max(1, CHUNK_ROWS // self.width) * self.width

        def fill_chunk(first: int) -> int:
            part = self.order.turned(rows[first : first + chunk])
            strips = range(first // self.width, -(-min(first + chunk, self.n) // self.width))
            return library.quantise(kernel, _stored(part), first, self.packed, strips, self.order.look_steps)

        if any(pool.map(fill_chunk, range(0, self.n, chunk))):
            raise MemoryError("quantising vectors")
        # What turning lost belongs to the residual, and to the norm of the row that was turned.
        for bound in (self.error, self.norm):
            np.nextafter(bound + np.float32(self.order.error), np.float32(np.inf), out=bound)


class _Tile:
    """One panel of queries against one slab of the gallery."""

    def __init__(
        self, backend: NativeBackend, kept: TopMatches, order: DimensionOrder, panel: slice, slab: slice
    ) -> None:
        self._backend, self._kept, self._order, self._panel, self._slab = backend, kept, order, panel, slab

    def work(
        self,
        queries: Vectors,
        rows: Vectors,
        a: _Quantised,
        b: _Quantised,
        pool: ThreadPoolExecutor,
        progress: Callable[[int], None],
    ) -> None:
        """Runs the kernel on every thread until the tile is done; an interrupt stops them within milliseconds."""
        floor = below(self._kept.score[self._panel, 0]) if self._kept.wanted.top_k else np.zeros(1, np.float32)
        lock = np.zeros(len(queries), np.uint8)
        job = self._job(queries, rows, a, b, floor, lock)
        library = self._backend.library
        workers = [pool.submit(library.work, job) for _ in range(self._backend.threads)]
        told = 0
        try:
            while wait(workers, timeout=POLL_SECONDS).not_done:
                now = min(job.strips_done * b.width, len(rows)) * len(queries)
                progress(now - told)
                told = now
            self._keep(job, [worker.result() for worker in workers])
        finally:
            job.stop = 1
            wait(workers)
            library.take_pairs(job, 0, 0, 0)
        progress(len(rows) * len(queries) - told)

    def _job(
        self,
        queries: Vectors,
        rows: Vectors,
        a: _Quantised,
        b: _Quantised,
        floor: npt.NDArray[np.float32],
        lock: npt.NDArray[np.uint8],
    ) -> NativeJob:
        kept, wanted, order = self._kept, self._kept.wanted, self._order
        job = NativeJob(kernel=self._backend.kernel.index, query=_stored(queries), gallery=_stored(rows))
        job.a, job.b = a.packed, b.packed
        job.first_query, job.first_row = self._panel.start, self._slab.start
        job.query_offset = wanted.query_offset[self._panel].ctypes.data
        job.gallery_offset = wanted.gallery_offset[self._slab].ctypes.data
        job.slack = float_slack(wanted.reach) + order.defect
        job.wanted = float(below(np.array([wanted.everywhere]))[0])
        job.stages = len(order.looks)
        job.stage_end[: job.stages] = order.look_steps
        if wanted.top_k:
            job.top_k = wanted.top_k
            job.top_score, job.top_row = kept.score[self._panel].ctypes.data, kept.rows[self._panel].ctypes.data
            job.top_floor, job.top_lock = floor.ctypes.data, lock.ctypes.data
        if wanted.best_queries:
            job.best_score = kept.best_query_score[self._slab].ctypes.data
            job.best_query = kept.best_query[self._slab].ctypes.data
        if wanted.top_pairs:
            job.n_overall = wanted.top_pairs
            job.overall_score, job.overall_query = kept.top_score.ctypes.data, kept.top_query.ctypes.data
            job.overall_row = kept.top_row.ctypes.data
            job.overall_floor = float(below(kept.top_score[:1])[0])
        if wanted.threshold is not None:
            job.collect, job.threshold = 1, wanted.threshold
            job.max_pairs = wanted.max_pairs - kept.n_pairs
        job.n_levels, job.levels = len(wanted.tail), wanted.tail.ctypes.data
        job.counts = kept.counts.ctypes.data
        return job

    def _keep(self, job: NativeJob, statuses: list[int]) -> None:
        outcome = STATUS[max(statuses)]
        if outcome == "too many pairs":
            raise self._kept.wanted.too_many_pairs()
        if outcome != "done":
            raise MemoryError(f"the comparison ended: {outcome}")
        if self._kept.wanted.threshold is not None:
            q, g, score = np.empty(job.n_found, np.int64), np.empty(job.n_found, np.int64), np.empty(job.n_found)
            self._backend.library.take_pairs(job, q.ctypes.data, g.ctypes.data, score.ctypes.data)
            self._kept.take_pairs(q, g, score)


def float_slack(reach: float) -> float:
    """Room for the float32 arithmetic of an upper bound: fewer than eight roundings of at most 2^-24 of 2 + reach."""
    return 1e-6 * (2 + reach)
