"""The work of an audit: images to embed, pairs to compare, bytes to store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from unveil.analysis.cohort import MAX_COHORT_PEOPLE
from unveil.analysis.comparisons import Comparison, comparisons_of_audit
from unveil.analysis.power import N_PEOPLE
from unveil.analysis.searches import MAX_SEARCHES
from unveil.choices import PlantedLeaks
from unveil.io.mapping import IN_MEMORY
from unveil.io.parquet import ROW_GROUP
from unveil.planting import PERTURBATIONS, QUICK
from unveil.types import Role

FLOAT = 4  # bytes
# Bytes of own memory of an image, and more for each channel; and of each image that is compared or written at once, at
# most so many. Measured up to a million images of people of ten (benchmarks/README.md, "Memory by images").
IMAGE, CHANNEL = 260, 100
AT_ONCE, BUFFER = ROW_GROUP, 370
# Bytes of a process with its libraries, and of the models that it opens; measured.
LIBRARIES, MODELS = 200_000_000, 160_000_000
# Bytes of a match in memory: a row and a score.
STORED_MATCH = 16
# Bytes of a run, measured on 140,000 to 240,000 images of 2,000 to 69,000 people: in tables for each image and more for
# each synthetic one, for each match, person and identity, the last two with what `audit.json` says; of the report.
RUN_IMAGE, RUN_SYNTHETIC, RUN_MATCH, RUN_PERSON, RUN_IDENTITY, REPORT = 84, 38, 14, 570, 30, 500_000


@dataclass(frozen=True)
class PlannedComparison:
    """A comparison and the numbers of its query and gallery images."""

    comparison: Comparison
    queries: int
    gallery: int

    @property
    def pairs(self) -> int:
        """The number of pairs."""
        return self.queries * self.gallery


def planted_images(setting: PlantedLeaks, n_control: int) -> int:
    """About how many changed images of ``n_control`` people an audit plants and embeds."""
    if setting == "off":
        return 0
    return min(N_PEOPLE[setting], n_control) * len(PERTURBATIONS if setting == "full" else QUICK)


@dataclass(frozen=True)
class Workload:
    """An audit of ``images`` by role, by channels of these ``dimensions``, that stores ``top_k`` matches an image.

    The cohort holds one image each of at most MAX_COHORT_PEOPLE of the ``people``. The synthetic set has so many
    ``identities`` with several images; their mean vectors are compared where labels hold, which is not known before.
    ``planted`` images are embedded as well and not stored.
    """

    images: Mapping[Role, int]
    people: int  # of the training and of the control set
    dimensions: Mapping[str, int]
    top_k: int
    identities: int = 0
    planted: int = 0

    @property
    def n_images(self) -> int:
        """Images to embed and to store, without planted ones."""
        return sum(self.images.values())

    @property
    def comparisons(self) -> tuple[PlannedComparison, ...]:
        """Every comparison that the audit can make whose cost grows with the product of two sets, with its size."""
        roles = [role for role, n in self.images.items() if n]
        size: dict[str, int] = {role: self.images[role] for role in roles}
        size["identities"] = self.identities
        size["cohort"] = min(MAX_COHORT_PEOPLE, self.people)
        size["sample"] = min(MAX_COHORT_PEOPLE, self.images.get("synthetic", 0))
        # At most: how many of the people are training people is not known here.
        size["searches"] = min(MAX_SEARCHES, self.people)
        return tuple(
            PlannedComparison(comparison, size[comparison.queries], size[comparison.gallery])
            for comparison in comparisons_of_audit(roles, list(self.dimensions), identities=self.identities > 0)
        )

    @property
    def pairs(self) -> int:
        """All pairs of all comparisons."""
        return sum(comparison.pairs for comparison in self.comparisons)

    @property
    def store_bytes(self) -> int:
        """Bytes of the embeddings in the store, which the next audit uses again."""
        return self.n_images * sum(self.dimensions.values()) * FLOAT

    @property
    def run_bytes(self) -> int:
        """Bytes of the run: copies of the vectors and of those of the cohort, tables, `audit.json` and the report."""
        cohort = min(MAX_COHORT_PEOPLE, self.people) * sum(self.dimensions.values()) * FLOAT
        of_synthetic = self.images.get("synthetic", 0) * (RUN_SYNTHETIC + self.top_k * RUN_MATCH)
        of_people = self.people * RUN_PERSON + self.identities * RUN_IDENTITY
        return self.store_bytes + cohort + self.n_images * RUN_IMAGE + of_synthetic + of_people + REPORT

    @property
    def driver_bytes(self) -> int:
        """Bytes of memory of the process that starts the audit, without the vectors that it maps.

        They hold what is known of each image, and the rows and the scores of the closest training images, which are in
        mapped files where there are many.
        """
        lists = self.images.get("synthetic", 0) * self.top_k * STORED_MATCH
        of_images = self.n_images * (IMAGE + CHANNEL * len(self.dimensions))
        buffers = min(max(self.images.values()), AT_ONCE) * BUFFER
        return LIBRARIES + MODELS + of_images + buffers + min(lists, 2 * IN_MEMORY)
