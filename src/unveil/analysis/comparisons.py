"""The comparisons of an audit: which ones it makes, and how one is run, shown and resumed."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from unveil.compare import (
    Backend,
    BackendSizes,
    DistributedBackend,
    Ranking,
    TileSizes,
    compare_rankings,
    open_backend,
)
from unveil.engine import Engine
from unveil.io.remote import absolute_place
from unveil.io.run_directory import RunDirectory
from unveil.io.storage import open_storage
from unveil.progress import Progress
from unveil.types import ROLES, Embedded, Floats, Matches, Role

ComparisonKind = Literal[
    "cosine", "overlap", "cohort", "synthetic sample", "hub-corrected", "identities", "search", "changed", "held out"
]
# The channel of the published attack and of the search for people on both sides.
FIRST_CHANNEL = "face"
# The name of the uncorrected cosine of the first channel among the channels of searches.
SEARCH_COSINE = "uncorrected cosine"
# Closest pairs that are stored for the table of false matches; the rankings show fewer.
STORED_PAIRS = 10_000


@dataclass(frozen=True)
class Comparison:
    """All pairs of two sets, by one channel.

    ``cosine`` and ``hub-corrected`` compare synthetic images with the images of ``role``: the first ranks them by the
    uncorrected cosine and hub-corrected in one pass, the second hub-corrected alone. ``overlap`` compares the images of
    ``role`` with training images; ``cohort`` compares the images of ``role`` with the cohort, ``synthetic sample`` with
    a sample of the synthetic images; ``identities`` compares the mean vectors of synthetic identities with the images
    of ``role``; ``search`` compares one image each of training people with all images of ``role``. ``changed`` compares
    synthetic images again with those images of ``role`` whose hub correction near-duplicates change; ``held out``
    compares few of them with control images without the training people. No plan knows these two.
    """

    kind: ComparisonKind
    channel: str
    role: Role

    @property
    def name(self) -> str:
        """The name in the plan, on the progress line and on the checkpoint."""
        if self.kind == "cosine":
            return f"synthetic with {self.role}"
        if self.kind == "overlap":
            return f"{self.role} with training"
        if self.kind == "cohort":
            return f"{self.role} with the cohort by {self.channel}"
        if self.kind == "synthetic sample":
            return f"{self.role} with a sample of the synthetic images by {self.channel}"
        if self.kind == "identities":
            return f"synthetic identities with {self.role} by {self.channel}"
        if self.kind == "search":
            return f"{self.role} people with each other by {self.channel}"
        if self.kind == "changed":
            return f"synthetic with {self.role} by {self.channel}, after near-duplicates"
        if self.kind == "held out":
            return f"synthetic with {self.role} alone by {self.channel}"
        return f"synthetic with {self.role} by {self.channel}, hub-corrected"

    @property
    def shows_progress(self) -> bool:
        """Whether the comparison has a progress line; those of few images are too short for one."""
        return self.kind not in ("cohort", "synthetic sample", "search")

    @property
    def unless_leak(self) -> bool:
        """Whether it is made only where no leak is detected."""
        return self.kind == "search" and self.role == "control"

    @property
    def queries(self) -> Role | Literal["identities", "searches"]:
        """The role whose images are the queries, or the synthetic identities, or the people who are searched for."""
        if self.kind == "identities":
            return "identities"
        if self.kind == "search":
            return "searches"
        return self.role if self.kind in ("overlap", "cohort", "synthetic sample") else "synthetic"

    @property
    def gallery(self) -> Role | Literal["cohort", "sample"]:
        """The role whose images are the gallery, or the cohort, or the sample of the synthetic images."""
        if self.kind == "cohort":
            return "cohort"
        if self.kind == "synthetic sample":
            return "sample"
        return "training" if self.kind == "overlap" else self.role


def comparisons_of_audit(
    roles: Collection[Role], channels: Sequence[str], *, identities: bool = False
) -> Iterator[Comparison]:
    """Every comparison that an audit of these roles can make whose cost grows with the product of two sets, in order.

    With ``identities``, the mean vectors of synthetic identities are compared too, where there is a control set.
    """
    real: list[Role] = [role for role in ROLES if role in roles and role != "synthetic"]
    if "control" in roles:
        yield Comparison("overlap", FIRST_CHANNEL, "control")
    for role in (ROLES[0], *real):
        for channel in channels:
            yield Comparison("cohort", channel, role)
    for role in real if "control" in roles else ():
        yield Comparison("synthetic sample", FIRST_CHANNEL, role)
    for channel in channels:
        for role in real:
            yield Comparison("cosine" if channel == FIRST_CHANNEL else "hub-corrected", channel, role)
            if identities and "control" in roles:
                yield Comparison("identities", channel, role)
    # What chance produces without a control set; with one, by uncorrected cosine alone.
    for channel in (SEARCH_COSINE, *(() if "control" in roles else channels)):
        yield Comparison("search", channel, "training")
    # Whether control people were held out.
    for channel in channels if "control" in roles else ():
        yield Comparison("search", channel, "control")


@dataclass(frozen=True)
class Comparisons:
    """Runs the comparisons of one audit; each has a progress line and a checkpoint in ``directory``.

    ``top_k`` matches of each query are stored, and at least ``top_pairs`` closest pairs where pairs are ranked.
    """

    directory: RunDirectory
    backend: Backend
    progress: Progress
    top_k: int = 10
    top_pairs: int = 100

    @property
    def n_pairs(self) -> int:
        """How many closest pairs are stored where pairs are ranked."""
        return max(STORED_PAIRS, self.top_pairs)

    def matches(
        self,
        comparison: Comparison,
        queries: Embedded,
        gallery: Embedded,
        query_offset: Floats | None = None,
        gallery_offset: Floats | None = None,
        *,
        top_k: int = 1,
        top_pairs: int = 0,
    ) -> Matches:
        """Compares all pairs of queries (Q) and gallery (G); offsets (Q,) and (G,) are added to their cosines."""
        ranking = Ranking(top_k, True, top_pairs, query_offset, gallery_offset)
        return self.rankings(comparison, queries, gallery, [ranking])[0]

    def rankings(
        self, comparison: Comparison, queries: Embedded, gallery: Embedded, rankings: Sequence[Ranking]
    ) -> tuple[Matches, ...]:
        """Compares all pairs of queries (Q) and gallery (G) once; the matches by each ranking."""
        return self.named(comparison.name, queries, gallery, rankings)

    def named(
        self, name: str, queries: Embedded, gallery: Embedded, rankings: Sequence[Ranking]
    ) -> tuple[Matches, ...]:
        """As `rankings`, for a comparison that is none of an audit; ``name`` is that of its checkpoint."""
        seal = hashlib.sha256(f"{queries.fingerprint} {gallery.fingerprint}".encode())
        for ranking in rankings:
            seal.update(f" {ranking.top_k} {ranking.top_pairs}".encode())
            for offset in (ranking.query_offset, ranking.gallery_offset):
                seal.update(b"none" if offset is None else np.ascontiguousarray(offset, np.float64).data)
        self.progress.start(f"comparing {name}", len(queries) * len(gallery), "pairs")
        return compare_rankings(
            queries.vectors,
            gallery.vectors,
            rankings,
            backend=self.backend,
            progress=self.progress.advance,
            checkpoint=self.directory.checkpoint(name.replace(" ", "-"), seal.hexdigest()),
        )


def open_run_backend(
    name: str,
    workers: int,
    engine: Engine | None,
    store: str,
    directory: RunDirectory,
    sizes: BackendSizes,
    tiles: TileSizes,
) -> Backend:
    """The backend of a run: threads of this process, or the workers of an engine with tiles in ``store``.

    Raises SettingError for a backend that is unknown or not available.
    """
    local = open_backend(name, workers, sizes)
    if engine is None:
        return local
    return DistributedBackend(engine, name, local, absolute_place(store), _tiles(directory), tiles)


def remove_tiles(engine: Engine | None, store: str, directory: RunDirectory) -> None:
    """Removes what the workers of an engine stored to resume comparisons of this run."""
    if engine is not None:
        open_storage(store).remove(_tiles(directory))


def _tiles(directory: RunDirectory) -> str:
    return f"work/{directory.seal}"
