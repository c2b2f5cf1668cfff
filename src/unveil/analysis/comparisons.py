"""Comparisons of an audit: shown as they go, and taken up again where a killed one was."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from unveil.compare import Backend, DistributedBackend, compare_all, open_backend
from unveil.config.settings import Settings
from unveil.engine import Engine
from unveil.io.remote import absolute_place
from unveil.io.run_directory import RunDirectory
from unveil.io.storage import open_storage
from unveil.progress import Progress
from unveil.types import Embedded, Floats, Matches

# Closest pairs that are counted against those that chance gives; fewer are shown.
PAIRS_STORED = 10_000


@dataclass(frozen=True)
class Comparisons:
    """Runs `compare_all` for one audit."""

    run: RunDirectory
    settings: Settings
    progress: Progress
    engine: Engine | None = None

    @cached_property
    def backend(self) -> Backend:
        """What compares: as many threads as may work, or the workers of an engine."""
        here = open_backend(self.settings.comparator, self.settings.workers)
        if self.engine is None:
            return here
        folder = f"work/{self.run.seal}"
        return DistributedBackend(
            self.engine, self.settings.comparator, here, absolute_place(self.settings.store_place), folder
        )

    def done(self) -> None:
        """Forgets what a killed comparison would have gone on from."""
        if self.engine is not None:
            open_storage(self.settings.store_place).remove(f"work/{self.run.seal}")

    def ranked(
        self,
        name: str,
        queries: Embedded,
        gallery: Embedded,
        query_offset: Floats | None = None,
        gallery_offset: Floats | None = None,
        *,
        top_k: int | None = None,
    ) -> Matches:
        """All pairs of two sets, with as many matches as the tables hold and as many closest pairs as are counted."""
        return self(
            name,
            queries,
            gallery,
            query_offset,
            gallery_offset,
            top_k=self.settings.top_k if top_k is None else top_k,
            top_pairs=max(PAIRS_STORED, self.settings.top_pairs),
        )

    def __call__(
        self,
        name: str,
        queries: Embedded,
        gallery: Embedded,
        query_offset: Floats | None = None,
        gallery_offset: Floats | None = None,
        *,
        top_k: int = 1,
        top_pairs: int = 0,
    ) -> Matches:
        """All pairs of two sets; ``name`` stands in the progress line and on the checkpoint."""
        seal = hashlib.sha256(f"{queries.fingerprint} {gallery.fingerprint} {top_k} {top_pairs}".encode())
        for offset in (query_offset, gallery_offset):
            seal.update(b"none" if offset is None else np.ascontiguousarray(offset, np.float64).tobytes())
        self.progress.start(f"comparing {name}", len(queries) * len(gallery), "pairs")
        return compare_all(
            queries.vectors,
            gallery.vectors,
            top_k=top_k,
            top_pairs=top_pairs,
            query_offset=query_offset,
            gallery_offset=gallery_offset,
            backend=self.backend,
            moments=False,
            progress=self.progress.advance,
            checkpoint=self.run.checkpoint(name.replace(" ", "-"), seal.hexdigest()),
        )
