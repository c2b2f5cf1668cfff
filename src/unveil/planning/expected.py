"""From the sources of an audit to its workload."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from unveil.analysis.identities import MIN_IMAGES
from unveil.choices import PlantedLeaks
from unveil.images import EmbeddingSource, Source
from unveil.planning.workload import Workload, planted_images
from unveil.types import Role


def workload_of(
    sources: Mapping[Role, Source], dimensions: Mapping[str, int], *, top_k: int, planted_leaks: PlantedLeaks
) -> Workload:
    """The workload of an audit of these sources, whose channels have these dimensions."""
    people = {role: len({r.person_or_id for r in s.records}) for role, s in sources.items()}
    images = {role: len(source.records) for role, source in sources.items()}
    labels = Counter(r.person for r in sources["synthetic"].records if r.person is not None)
    # Embeddings cannot be changed, so nothing is planted.
    of_images = not any(isinstance(source, EmbeddingSource) for source in sources.values())
    return Workload(
        images,
        people["training"] + people.get("control", 0),
        dimensions,
        top_k,
        sum(n >= MIN_IMAGES for n in labels.values()),
        planted_images(planted_leaks, people.get("control", 0)) if of_images else 0,
    )


def expected_units(work: Workload, sources: Mapping[Role, Source]) -> dict[str, int]:
    """About how many images are embedded and how many pairs are compared, for `unveil.progress.Progress.expect`."""
    precomputed = sum(len(source.records) for source in sources.values() if isinstance(source, EmbeddingSource))
    pairs = sum(c.pairs for c in work.comparisons if c.comparison.shows_progress)
    return {"images": work.n_images - precomputed + work.planted, "pairs": pairs}
