"""From the sources of an audit to its workload."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from unveil.analysis.identities import MIN_IMAGES
from unveil.images import EmbeddingSource, Source
from unveil.planning.workload import Workload
from unveil.types import Role


def workload_of(sources: Mapping[Role, Source], dimensions: Mapping[str, int], *, top_k: int) -> Workload:
    """The workload of an audit of these sources, whose channels have these dimensions."""
    real = (source for role, source in sources.items() if role != "synthetic")
    people = sum(len({r.id if r.person is None else r.person for r in source.records}) for source in real)
    images = {role: len(source.records) for role, source in sources.items()}
    labels = Counter(r.person for r in sources["synthetic"].records if r.person is not None)
    return Workload(images, people, dimensions, top_k, sum(n >= MIN_IMAGES for n in labels.values()))


def expected_units(work: Workload, sources: Mapping[Role, Source]) -> dict[str, int]:
    """About how many images are embedded and how many pairs are compared, for `unveil.progress.Progress.expect`."""
    precomputed = sum(len(source.records) for source in sources.values() if isinstance(source, EmbeddingSource))
    pairs = sum(c.pairs for c in work.comparisons if c.comparison.shows_progress)
    return {"images": work.n_images - precomputed, "pairs": pairs}
