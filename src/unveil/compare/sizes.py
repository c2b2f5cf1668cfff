"""How a backend divides a comparison."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BackendSizes:
    """Sizes of the parts of a comparison; None stands for the backend's own. Only speed and memory depend on them."""

    panel_rows: int | None = None  # queries that are compared at once
    block_rows: int | None = None  # gallery rows that are multiplied at once
    slab_bytes: int | None = None  # quantised gallery rows that the compiled kernel holds
