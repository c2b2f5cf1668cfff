"""`unveil.overlap`, and the result with what a Python program does with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from html import escape
from pathlib import Path
from typing import Any

from unveil.api.data import Data, place_of
from unveil.api.records import Records, with_records
from unveil.choices import Aligned, Device, SetName
from unveil.config.overlap import overlap_settings
from unveil.config.paths import check_places
from unveil.progress import Progress, Silent
from unveil.results import OverlapResult, PeoplePair, SharedImage
from unveil.sharing import OverlapRun, remove_shared, run_overlap


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Overlap(OverlapResult):
    """What two sets of real faces share, with a summary and data frames.

    ``people`` are pairs of a person of A and a person of B who are one person, ``images`` the images that are in both
    sets; ``pairs`` are the people and the closest pairs that do not match. ``.to_frame()`` makes a data frame. ``run``
    is the folder of the overlap.
    """

    run: Path = field(compare=False)
    images: Records[SharedImage]
    people: Records[PeoplePair]
    candidates: Records[PeoplePair]

    @classmethod
    def of(cls, result: OverlapResult, run: Path) -> Overlap:
        """The result of the overlap in the folder ``run``."""
        return cls(run=run, **with_records(result, OverlapResult))

    @property
    def result(self) -> OverlapResult:
        """The result alone, as `overlap.json` holds it."""
        return OverlapResult(**{one.name: getattr(self, one.name) for one in fields(OverlapResult)})

    @property
    def pairs(self) -> Records[PeoplePair]:
        """The shared people, and then the closest pairs of people that do not match."""
        return Records((*self.people, *self.candidates), PeoplePair)

    def summary(self) -> str:
        """The result in a few lines."""
        lines = [self.headline, ""]
        for name, shared in self.shared.items():
            n = self.counts[name]
            rejected = f", {n.rejected:,} rejected" if n.rejected else ""
            lines.append(
                f"{name:<10} {n.embedded:>9,} images, {n.people:,} people{rejected}; shared: {shared.images:,} images, "
                f"{shared.people:,} people"
            )
        if self.threshold is not None:
            lines.append(f"threshold  cosine {self.threshold.cosine:.3f}: {self.threshold.why}")
        return "\n".join([*lines, "", f"run        {self.run}"])

    def remove(self, name: SetName, copy: str | Path, *, only_images: bool = False, as_folder: bool = False) -> Path:
        """Writes a copy of set ``name`` (A or B) without the people and images that it shares. Returns its place.

        ``only_images`` leaves out shared images alone. ``as_folder`` writes a folder, whatever the set is. The copy is
        compared with the set byte for byte. Raises SettingError if nothing is shared, nothing would be left or the copy
        exists, and SourceError if the set has changed or is no longer there.
        """
        run = OverlapRun(self.run)
        source = run.unchanged(name)
        run.check_outside("copy", Path(copy))
        written, _ = remove_shared(self.result, source, name, Path(copy), only_images=only_images, as_folder=as_folder)
        return written

    def __eq__(self, other: object) -> bool:
        return bool(self.result == (other.result if isinstance(other, Overlap) else other))

    __hash__ = None  # type: ignore[assignment]  # like every result

    def __repr__(self) -> str:
        people, images = self.shared["A"].people, self.shared["A"].images
        return f"<unveil.Overlap: {people:,} people and {images:,} images of A are in B; run in {self.run}>"

    def _repr_html_(self) -> str:
        head = f"<p>{escape(self.headline)}</p>"
        return head + self.people[:5]._repr_html_() + f"<p>Run: <code>{escape(str(self.run))}</code></p>"


def overlap(
    a: Data,
    b: Data,
    *,
    out: str | Path,
    threshold: str | float = "significant",
    labels: str | Mapping[SetName, str] | None = None,
    aligned: Aligned | Mapping[SetName, Aligned] | None = None,
    model: str | Path | None = None,
    detector: str | Path | None = None,
    follow_links: bool | None = None,
    fdr: float | None = None,
    top_pairs: int | None = None,
    seed: int | None = None,
    store: str | Path | None = None,
    trust_store: bool | None = None,
    device: Device | None = None,
    backend: str | None = None,
    engine: str | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
    verify: bool = False,
    overwrite: bool = False,
) -> Overlap:
    """Which people and images do two sets of real faces share?

    ``a`` and ``b`` are each a path, an array of images (N, H, W, 3) of uint8, an array of embeddings (N, D) of floats,
    a data frame with such a column, `unveil.Images` or `unveil.Embeddings`. ``threshold`` says from where on two people
    match by face: `significant` (at most ``fdr`` of the pairs that match are expected to be false), `fmr:RATE` or a
    cosine. ``labels`` and ``aligned`` are one value for both sets, or a dictionary with one for A and B; ``top_pairs``
    is the number of closest pairs that do not match in the result. The other settings are those of `unveil.audit`.
    Writes a run directory to ``out``. An overlap that was killed resumes when it is run again, and a finished one
    answers at once if its sets have not changed; ``verify`` reads all files to see that. ``overwrite`` replaces an
    overlap with other settings. Raises InputError for sets that cannot be used.
    """
    values: dict[str, Any] = {
        **{"model": model, "detector": detector, "follow_links": follow_links, "fdr": fdr, "top_pairs": top_pairs},
        **{"seed": seed, "store": store, "trust_store": trust_store, "device": device},
        **{"backend": backend, "engine": engine, "workers": workers},
        **{"threshold": threshold, "labels": labels, "aligned": aligned},
    }
    # The store decides where arrays are written, so settings are read before there is a path for each set.
    settled = overlap_settings(".", ".", out, **values)
    place = settled.store_place
    check_places(settled.out, place, {})
    settings = overlap_settings(place_of(a, "A", place), place_of(b, "B", place), out, **values)
    result = run_overlap(settings, progress or Silent(), verify=verify, overwrite=overwrite)
    return Overlap.of(result, settings.out)
