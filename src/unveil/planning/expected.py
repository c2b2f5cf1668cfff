"""The workload of an audit, from its sources."""

from __future__ import annotations

from collections.abc import Mapping

from unveil.config.settings import Settings
from unveil.embedding.embedder import AuditEmbedder
from unveil.images import EmbeddingSource, Source
from unveil.planning.workload import Workload
from unveil.types import Role


def workload_of(settings: Settings, sources: Mapping[Role, Source], channels: AuditEmbedder) -> Workload:
    """The workload of an audit of these sources."""
    cohort = sources.get("control", sources["training"])
    people = len({record.id if record.person is None else record.person for record in cohort.records})
    images = {role: len(source.records) for role, source in sources.items()}
    return Workload(images, people, channels.dimensions, settings.top_k, settings.cohort_share)


def whole_run(settings: Settings, sources: Mapping[Role, Source], channels: AuditEmbedder) -> dict[str, int]:
    """The approximate numbers of images to embed and pairs to compare, for `unveil.progress.Progress.expect`."""
    precomputed = sum(len(source.records) for source in sources.values() if isinstance(source, EmbeddingSource))
    work = workload_of(settings, sources, channels)
    pairs = sum(planned.pairs for planned in work.comparisons if planned.comparison.shows_progress)
    return {"images": work.n_images - precomputed, "pairs": pairs}
