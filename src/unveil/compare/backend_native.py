"""The backend of the compiled kernel: slabs of the gallery, panels of queries, threads within each tile.

The kernel (unveil/native/src) multiplies in int8 with a proven error bound. It scores every pair that can belong to the
result exactly, from the stored vectors. This module prepares its input and receives its results.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from unveil import native
from unveil.compare.error_bounds import rounded_down
from unveil.compare.exact import Float32s, PairScorer, UnitRows, exact_cosine
from unveil.compare.forecast import MISSED, Forecast
from unveil.compare.pruning import DimensionOrder, choose_dimension_order
from unveil.compare.scoring import ParallelScorer
from unveil.compare.sizes import BackendSizes
from unveil.compare.topk import QuerySpec, TopMatches, joint_state, restore_joint
from unveil.errors import SettingError
from unveil.io.checkpoint import Checkpoint
from unveil.native import (
    FLOAT16,
    FLOAT32,
    MAX_RANKINGS,
    STATUS,
    Kernel,
    Library,
    NativeJob,
    NativePacked,
    NativeRanking,
    NativeVectors,
)
from unveil.stats.blas import single_blas_thread
from unveil.types import Floats, Ints

PANEL_ROWS, SLAB_BYTES = 2048, 1 << 30
CHUNK_ROWS = 4096  # quantised at once
PILOT_ROWS = 512  # queries that are compared first, without a forecast of where their lists end
WAITING = 0.03  # of a panel's lists that end below their forecast: more are made again at once, so that forecasts adapt
MIN_ROWS_PER_PLACE = 16  # gallery rows for each place of a list from which a forecast pays
POLL_SECONDS = 0.1
# Makes the lists of queries (N, D) in a slab of the gallery, whose free places hold scores (N,) at first.
MakeAgain = Callable[[UnitRows, QuerySpec, Floats], TopMatches]


def open_native(threads: int, sizes: BackendSizes) -> NativeBackend:
    """The backend of the fastest kernel. Raises SettingError when the library is not compiled or does not run here."""
    library, reason = native.load()
    if library is None:
        raise SettingError(f"backend native needs the compiled kernel: {reason}; use --backend auto")
    panel_rows, slab_bytes = sizes.panel_rows or PANEL_ROWS, sizes.slab_bytes or SLAB_BYTES
    return NativeBackend(library, library.best, threads, panel_rows, slab_bytes)


def describe_native() -> str:
    """One line for ``unveil info``."""
    return native.load()[1]


def moments_by_kernel(rows: UnitRows) -> tuple[Floats, Floats] | None:
    """The sum of some rows (D,) and of the products of their columns (D, D); None where there is no kernel.

    Every kernel gives the same bits. Raises MemoryError.
    """
    library, _ = native.load()
    if library is None:
        return None
    rows, dims = _readable(rows), rows.shape[1]
    total, products = np.empty(dims), np.empty((dims, dims))
    if library.moments(library.best, _native_vectors(rows), total.ctypes.data, products.ctypes.data):
        raise MemoryError("not enough memory for the moments of vectors")
    return total, products


def is_native_available() -> bool:
    """Whether the compiled kernel runs here."""
    return native.load()[0] is not None


def exact_scorer(threads: int) -> PairScorer:
    """Exact cosines by the kernel on some threads, or by NumPy when there is no kernel."""
    library, _ = native.load()
    if library is None:
        return exact_cosine
    return ParallelScorer(NativeBackend(library, library.best, 1).cosines, threads)


@dataclass(frozen=True)
class NativeBackend:
    """Compares with one kernel of the compiled library on some threads."""

    library: Library
    kernel: Kernel
    threads: int
    panel_rows: int = PANEL_ROWS
    slab_bytes: int = SLAB_BYTES  # of quantised gallery rows
    order: DimensionOrder | None = None  # None: chosen by a sample
    pilot_rows: int = PILOT_ROWS

    def run(
        self,
        queries: UnitRows,
        gallery: UnitRows,
        matches: Sequence[TopMatches],
        progress: Callable[[int], None],
        checkpoint: Checkpoint,
    ) -> None:
        """Adds to each of ``matches`` (at most MAX_RANKINGS) every pair that can belong to its result, in one pass.

        Raises SettingError for too many pairs, and MemoryError.
        """
        if len(matches) > MAX_RANKINGS:
            raise SettingError(f"one pass should rank by at most {MAX_RANKINGS} scores, got {len(matches)}")
        queries, gallery = _readable(queries), _readable(gallery)
        steps = -(-queries.shape[1] // 16) * 4
        slab_rows = max(1, self.slab_bytes // (4 * steps * self.kernel.width)) * self.kernel.width
        slabs, panels = _slices(len(gallery), slab_rows), self._panels(len(queries))
        checkpoint = checkpoint.with_key(f"native, lists wait, {slab_rows} {self.panel_rows} {self.pilot_rows}")
        if (saved := checkpoint.load()) is not None:
            restore_joint(matches, saved)
            done = matches[0].done
            progress(sum(_pairs(slabs[i // len(panels)], panels[i % len(panels)]) for i in range(done)))
        with single_blas_thread(), ThreadPoolExecutor(self.threads, thread_name_prefix="unveil") as pool:
            order = self.order or choose_dimension_order(queries, gallery, [m.spec for m in matches], self._tile)
            forecasts = [self._forecast(gallery[slabs[0]], m.spec, len(panels)) for m in matches]
            for s in range(matches[0].done // len(panels), len(slabs)):
                rows = gallery[slabs[s]]
                b = _PackedRows(len(rows), steps, self.kernel.width, order, self.kernel.bias, self.kernel.levels)
                b.fill(rows, self.library, self.kernel, pool)
                for p in range(matches[0].done - s * len(panels), len(panels)):
                    part = queries[panels[p]]
                    tile = _Tile(self, matches, order, panels[p], slabs[s])
                    lists = [_Lists(f, m, part, panels[p]) for f, m in zip(forecasts, matches, strict=True)]
                    tile.run(part, rows, self._packed(part, order, pool), b, pool, progress)
                    again = partial(self._again, rows, order, b, pool, slabs[s])
                    for ended in lists:
                        ended.complete(queries, again)
                    if s == 0 and p == len(panels) - 1:
                        for forecast, m in zip(forecasts, matches, strict=True):
                            self._complete_rest(forecast, m, queries, again)
                    for ranking in matches:
                        ranking.done += 1
                    finished = matches[0].done == len(slabs) * len(panels)
                    checkpoint.save(partial(joint_state, matches), done=finished)

    def _panels(self, n_queries: int) -> list[slice]:
        """The panels; if there are enough queries, the first is smaller, and the lists of the others are forecast."""
        pilot = min(self.pilot_rows, self.panel_rows) if n_queries >= 4 * self.pilot_rows else 0
        rest = _slices(n_queries - pilot, self.panel_rows)
        return [slice(0, pilot)][: pilot and 1] + [slice(pilot + s.start, pilot + s.stop) for s in rest]

    def _forecast(self, gallery: UnitRows, spec: QuerySpec, n_panels: int) -> Forecast | None:
        """Forecasts lists in the first slab of the gallery; None where that does not pay."""
        pays = n_panels > 1 and 0 < spec.top_k * MIN_ROWS_PER_PLACE <= len(gallery)
        return Forecast(gallery, replace(spec, gallery_offset=spec.gallery_offset[: len(gallery)])) if pays else None

    def _complete_rest(
        self, forecast: Forecast | None, matches: TopMatches, queries: UnitRows, again: MakeAgain
    ) -> None:
        """Makes the lists again that wait, of all panels together: each time takes the whole gallery through memory."""
        if forecast is not None:
            waiting = np.flatnonzero(matches.rows[:, 0] < 0)
            for some in _slices(len(waiting), self.panel_rows):
                _make_again(forecast, matches, queries, waiting[some], again)

    def _packed(self, queries: UnitRows, order: DimensionOrder, pool: ThreadPoolExecutor) -> _PackedRows:
        packed = _PackedRows(len(queries), -(-queries.shape[1] // 16) * 4, self.kernel.height, order, 0, 127)
        packed.fill(queries, self.library, self.kernel, pool)
        return packed

    def _again(
        self,
        rows: UnitRows,
        order: DimensionOrder,
        b: _PackedRows,
        pool: ThreadPoolExecutor,
        slab: slice,
        queries: UnitRows,
        spec: QuerySpec,
        lowest: Floats,
    ) -> TopMatches:
        """The lists of some queries, and nothing else, in one slab of the gallery; free places hold ``lowest``."""
        matches = TopMatches(len(queries), 0, spec)
        matches.score[:] = lowest[:, None]
        tile = _Tile(self, [matches], order, slice(0, len(queries)), slab)
        tile.run(queries, rows, self._packed(queries, order, pool), b, pool, lambda _: None)
        return matches

    @property
    def _tile(self) -> tuple[int, int]:
        return self.kernel.height, self.kernel.width

    def tuned(self, queries: UnitRows, gallery: UnitRows, spec: QuerySpec) -> NativeBackend:
        """The same backend with the order of dimensions that costs least on a sample of these sets."""
        spec = replace(spec, gallery_offset=spec.gallery_offset[: len(gallery)])
        with single_blas_thread():
            order = choose_dimension_order(_readable(queries), _readable(gallery), [spec], self._tile)
        return replace(self, order=order)

    def cosines(self, queries: UnitRows, gallery: UnitRows, q: Ints, g: Ints) -> Floats:
        """Exact cosines (M,) of pairs of rows."""
        queries, gallery = _readable(queries), _readable(gallery)
        q, g, out = np.ascontiguousarray(q, np.int64), np.ascontiguousarray(g, np.int64), np.empty(len(q))
        a, b = _native_vectors(queries), _native_vectors(gallery)
        self.library.cosines(self.kernel, a, b, len(q), q.ctypes.data, g.ctypes.data, out.ctypes.data)
        return out


def _slices(n: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


def _pairs(a: slice, b: slice) -> int:
    return int((a.stop - a.start) * (b.stop - b.start))


def _readable(vectors: UnitRows) -> UnitRows:
    """The same array if the kernel can read its rows in place, else a copy."""
    in_place = vectors.strides[1] == vectors.itemsize or vectors.shape[1] == 1
    return vectors if in_place and vectors.flags.aligned else np.ascontiguousarray(vectors)


def _native_vectors(rows: UnitRows) -> NativeVectors:
    kind = FLOAT16 if rows.dtype == np.float16 else FLOAT32
    return NativeVectors(rows.ctypes.data, len(rows), rows.shape[1], rows.strides[0], kind)


class _PackedRows:
    """Quantised rows in the kernel's layout with their error bounds: whole strips, the last one padded."""

    def __init__(self, n: int, steps: int, width: int, order: DimensionOrder, bias: int, levels: int) -> None:
        self.n, self.width, self.order = n, width, order
        padded = -(-n // width) * width
        self.bytes = np.empty(padded * steps * 4, np.uint8)
        self.scale, self.error, self.norm = (np.empty(padded, np.float32) for _ in range(3))
        self.rest = np.empty((max(1, len(order.checks)), padded), np.float32)
        self.sum = np.empty((1 + len(order.checks), padded), np.int32)
        arrays = (self.bytes, self.scale, self.error, self.norm, self.rest, self.sum)
        self.packed = NativePacked(*(array.ctypes.data for array in arrays), padded, width, steps, bias, levels)

    def fill(self, rows: UnitRows, library: Library, kernel: Kernel, pool: ThreadPoolExecutor) -> None:
        """Quantises all rows. Raises MemoryError."""
        chunk = max(1, CHUNK_ROWS // self.width) * self.width
        basis = None if self.order.basis is None else self.order.basis.ctypes.data

        def fill_chunk(first: int) -> int:
            part = _native_vectors(rows[first : first + chunk])
            strips = range(first // self.width, -(-min(first + chunk, self.n) // self.width))
            return library.quantise(kernel, part, first, self.packed, strips, self.order.check_steps, basis)

        if any(pool.map(fill_chunk, range(0, self.n, chunk))):
            raise MemoryError("not enough memory to quantise vectors")
        # The error of the rotation adds to the residual, and to the norm of the rotated row.
        for bound in (self.error, self.norm):
            np.nextafter(bound + np.float32(self.order.rotation_error), np.float32(np.inf), out=bound)


class _Lists:
    """The lists of one panel's queries by one ranking, whose free places hold a forecast while they are filled."""

    def __init__(self, forecast: Forecast | None, matches: TopMatches, queries: UnitRows, panel: slice) -> None:
        self._matches, self._panel = matches, panel
        self._score, self._rows = matches.score[panel], matches.rows[panel]
        # Lists that hold pairs of an earlier slab end where those say.
        self._forecast = forecast if forecast is not None and np.isneginf(self._score).all() else None
        if self._forecast is not None:
            self._spread = self._forecast.spread(queries, matches.spec.query_offset[panel])
            self._score[:] = self._forecast.lowest(self._spread)[:, None]

    def complete(self, queries: UnitRows, again: MakeAgain) -> None:
        """Makes the lists again that have free places left, or lets them wait if they are few.

        ``queries`` are those of all panels.
        """
        if self._forecast is None:
            return
        missed, ends = np.flatnonzero(self._rows[:, 0] < 0), self._score[:, 0].copy()
        if len(missed) > WAITING * len(ends):
            _make_again(self._forecast, self._matches, queries, self._panel.start + missed, again)
            ends = self._score[:, 0]
        else:  # they count as ends in the middle of those that are expected to be missed
            mean, deviation = self._spread
            ends[missed] = self._forecast.lowest((mean[missed], deviation[missed]), MISSED / 2)
        self._forecast.learn(self._spread, ends)


def _make_again(forecast: Forecast, matches: TopMatches, queries: UnitRows, which: Ints, again: MakeAgain) -> None:
    """Makes the lists of some queries again that have a free place, which is then the worst and first of its heap.

    The second forecast is the lowest end of all lists so far; the third time there is none.
    """
    for last in (False, True):
        which = which[matches.rows[which, 0] < 0]
        if not len(which):
            break
        some, offset = np.asarray(queries[which]), matches.spec.query_offset[which]
        lowest = np.full(len(which), -np.inf) if last else forecast.lowest(forecast.spread(some, offset), 0.0)
        found = again(some, matches.spec.lists_only(offset), lowest)
        matches.rows[which], matches.score[which] = found.rows, found.score


class _Tile:
    """One panel of queries against one slab of the gallery."""

    def __init__(
        self, backend: NativeBackend, matches: Sequence[TopMatches], order: DimensionOrder, panel: slice, slab: slice
    ) -> None:
        self._backend, self._matches, self._order, self._panel, self._slab = backend, matches, order, panel, slab

    def run(
        self,
        queries: UnitRows,
        rows: UnitRows,
        a: _PackedRows,
        b: _PackedRows,
        pool: ThreadPoolExecutor,
        progress: Callable[[int], None],
    ) -> None:
        """Runs the kernel on every thread until the tile is done; an interrupt stops them within milliseconds."""
        floors = [
            rounded_down(m.score[self._panel, 0]) if m.spec.top_k else np.zeros(1, np.float32) for m in self._matches
        ]
        locks = [np.zeros(len(queries), np.uint8) for _ in self._matches]
        job = self._job(queries, rows, a, b)
        for i, (matches, floor, lock) in enumerate(zip(self._matches, floors, locks, strict=True)):
            self._set_ranking(job.rankings[i], matches, floor, lock)
        library = self._backend.library
        workers = [pool.submit(library.work, job) for _ in range(self._backend.threads)]
        reported = 0
        try:
            while wait(workers, timeout=POLL_SECONDS).not_done:
                done = min(job.strips_done * b.width, len(rows)) * len(queries)
                progress(done - reported)
                reported = done
            self._add_results(job, [worker.result() for worker in workers])
        finally:
            job.stop = 1
            wait(workers)
            library.take_pairs(job, 0, 0, 0)
        progress(len(rows) * len(queries) - reported)

    def _job(
        self,
        queries: UnitRows,
        rows: UnitRows,
        a: _PackedRows,
        b: _PackedRows,
    ) -> NativeJob:
        matches, spec, order = self._matches[0], self._matches[0].spec, self._order
        job = NativeJob(
            kernel=self._backend.kernel.index, query=_native_vectors(queries), gallery=_native_vectors(rows)
        )
        job.a, job.b = a.packed, b.packed
        job.first_query, job.first_row = self._panel.start, self._slab.start
        job.stages, job.n_rankings = len(order.checks), len(self._matches)
        job.stage_end[: job.stages] = order.check_steps
        if spec.threshold is not None:
            job.collect, job.threshold = 1, spec.threshold
            job.max_pairs = spec.max_pairs - matches.n_pairs
        job.n_levels, job.levels = len(spec.tail), spec.tail.ctypes.data
        job.counts = matches.counts.ctypes.data
        return job

    def _set_ranking(
        self, ranking: NativeRanking, matches: TopMatches, floor: Float32s, lock: npt.NDArray[np.uint8]
    ) -> None:
        spec = matches.spec
        ranking.query_offset = spec.query_offset[self._panel].ctypes.data
        ranking.gallery_offset = spec.gallery_offset[self._slab].ctypes.data
        ranking.slack = float_slack(spec.max_offset) + self._order.basis_error
        ranking.floor = float(rounded_down(np.array([spec.floor]))[0])
        if spec.top_k:
            score, rows = matches.score[self._panel], matches.rows[self._panel]
            ranking.top_k, ranking.top_score, ranking.top_row = spec.top_k, score.ctypes.data, rows.ctypes.data
            ranking.top_floor, ranking.top_lock = floor.ctypes.data, lock.ctypes.data
        if spec.best_queries:
            ranking.best_score = matches.best_query_score[self._slab].ctypes.data
            ranking.best_query = matches.best_query[self._slab].ctypes.data
        if spec.top_pairs:
            ranking.n_overall = spec.top_pairs
            ranking.overall_score = matches.top_score.ctypes.data
            ranking.overall_query, ranking.overall_row = matches.top_query.ctypes.data, matches.top_row.ctypes.data
            ranking.overall_floor = float(rounded_down(matches.top_score[:1])[0])

    def _add_results(self, job: NativeJob, statuses: list[int]) -> None:
        outcome = STATUS[max(statuses)]
        if outcome == "too many pairs":
            raise self._matches[0].spec.too_many_pairs()
        if outcome != "done":
            raise MemoryError(f"the comparison ended: {outcome}")
        if self._matches[0].spec.threshold is not None:
            q, g, score = np.empty(job.n_found, np.int64), np.empty(job.n_found, np.int64), np.empty(job.n_found)
            self._backend.library.take_pairs(job, q.ctypes.data, g.ctypes.data, score.ctypes.data)
            self._matches[0].add_pairs(q, g, score)


def float_slack(max_offset: float) -> float:
    """Covers the float32 arithmetic of an upper bound: fewer than eight roundings of 2^-24 of 2 + ``max_offset``."""
    return 1e-6 * (2 + max_offset)
