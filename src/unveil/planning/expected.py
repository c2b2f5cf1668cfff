"""From the sources of an audit to its workload."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from unveil.analysis.identities import MIN_IMAGES
from unveil.choices import PlantedLeaks
from unveil.images import EmbeddingSource, Source
from unveil.planning.workload import Workload, planted_images
from unveil.types import Role


def workload_of(
    sources: Mapping[Role, Source], dimensions: Mapping[str, int], *, top_k: int, planted_leaks: PlantedLeaks
) -> Workload:
    """The workload of an audit of these sources, whose channels have these dimensions."""
    people = {role: len(source.records.people_or_ids.coded()[0]) for role, source in sources.items()}
    images = {role: len(source.records) for role, source in sources.items()}
    labels = sources["synthetic"].records.people
    of_label = np.bincount(labels.codes[labels.known])
    # Embeddings cannot be changed, so nothing is planted.
    of_images = not any(isinstance(source, EmbeddingSource) for source in sources.values())
    return Workload(
        images,
        people["training"] + people.get("control", 0),
        dimensions,
        top_k,
        int((of_label >= MIN_IMAGES).sum()),
        planted_images(planted_leaks, people.get("control", 0)) if of_images else 0,
    )


def expected_units(work: Workload, sources: Mapping[Role, Source]) -> dict[str, int]:
    """About how many images are embedded and how many pairs are compared, for `unveil.progress.Progress.expect`."""
    precomputed = sum(len(source.records) for source in sources.values() if isinstance(source, EmbeddingSource))
    pairs = sum(c.pairs for c in work.comparisons if c.comparison.shows_progress and not c.comparison.unless_leak)
    return {"images": work.n_images - precomputed + work.planted, "pairs": pairs}
