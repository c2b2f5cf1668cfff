"""What a location holds before an audit: images, people, sizes, alignment, rejects, and the flags to use."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote

import numpy as np

from unveil.channels import open_detector, quality_features
from unveil.channels.alignment import ImageAlignment
from unveil.embedding.embed import decide_alignment, sample_evenly
from unveil.embedding.pipeline import ImagePreprocessor
from unveil.engine import map_ordered
from unveil.errors import ImageError, SourceError
from unveil.faces.align import ImageArray
from unveil.images import EmbeddingSource, LabelRule, Remark, Source, decode_rgb, decode_scaled, open_source
from unveil.images.candidates import candidates
from unveil.images.readers.grid import is_sheet, plausible_grids
from unveil.inspection.contact_sheet import contact_png, in_cell
from unveil.io.host import cores
from unveil.io.memory import held_memory
from unveil.presets import Preset, resolve
from unveil.types import ImageRecord, Reject, Role

SAMPLE = 200
# People of a contact sheet, and images of each.
SHEET_PEOPLE, IMAGES_PER_ROW = 8, 6
# Prefixes of file names are people only when each has this many images on average.
MIN_IMAGES_PER_PERSON = 1.5


@dataclass(frozen=True)
class Inspection:
    """What a location holds.

    ``sizes`` counts the images of the sample by (width, height). ``rejects`` are those that an audit would reject.
    ``grid`` is (cell, gap) in pixels when the images are sheets of several. ``better_rule`` is the label rule to use
    instead of ``auto``, if any.
    """

    source: Source
    preset: Preset | None
    n_people: int
    n_unlabelled: int
    sampled: int
    sizes: dict[tuple[int, int], int]
    alignment: ImageAlignment | None
    rejects: tuple[Reject, ...]
    grid: tuple[int, int] | None
    better_rule: str | None
    where: str

    @property
    def n_images(self) -> int:
        """The number of images."""
        return len(self.source.records)

    def flags(self, role: Role) -> str:
        """The flags of ``unveil audit`` that read the location in this way."""
        where = self.where
        if self.grid is not None:
            cell, gap = self.grid
            where = f"grid,cell={cell}{f',gap={gap}' if gap else ''}:{self.source.where}"
        words = [f"--{role} {quote(where)}"]
        if self.grid is None and self.better_rule is not None:
            words.append(f"--{role}-labels {quote(self.better_rule)}")
        if self.grid is None and self.alignment is not None:
            words += self._aligned(role)
        return " ".join(words)

    def _aligned(self, role: Role) -> list[str]:
        """The flag for a set of one kind. In a mixed set the size of an image decides, without a flag."""
        sides = None if self.alignment is None else self.alignment.sides
        if sides is None or all(w == h and w in sides for w, h in self.sizes):
            return [f"--aligned {role}=yes"]
        return [] if sides else [f"--aligned {role}=no"]


def candidate_locations(text: str, *, follow_links: bool = False) -> list[str]:
    """Every way to write a location so that its form is clear: one as a rule, several when the form is in doubt."""
    location, _ = resolve(text)
    if location.form is not None or location.remote or not location.path.exists():
        return [text]
    found = candidates(location.path, follow_links=follow_links)
    if len(found) < 2:
        return [text]
    return [f"{one.form}:{one.files[0] if len(one.files) == 1 else location.path}" for one in found]


def inspect(text: str, *, labels: str = "auto", sample: int = SAMPLE, follow_links: bool = False) -> Inspection:
    """Reads a location as an audit would: all its records, and a sample of its images.

    Raises SourceError or SettingError when it cannot be read.
    """
    location, preset = resolve(text)
    rule = LabelRule.parse(labels)
    if rule.kind == "auto" and preset is not None and preset.established and preset.labels is not None:
        rule = LabelRule.parse(preset.labels)
    source = open_source(location, rule, follow_links=follow_links)
    people = Counter(record.person for record in source.records)
    unlabelled = people.pop(None, 0)
    found = Inspection(source, preset, len(people), unlabelled, 0, {}, None, (), None, None, text)
    if isinstance(source, EmbeddingSource):
        return found
    better = _better_rule(source, rule)
    size_of, rejects = _examine(source, sample_evenly(source.records, sample))
    sizes = Counter(size_of.values())
    grid = _grid(source, size_of)
    if grid is None and size_of:
        alignment = decide_alignment(source, (preset.aligned if preset is not None else None) or "auto")
        rejects += _faces(source, sample_evenly(source.records, sample), alignment, {r.id for r in rejects})
        found = replace(found, alignment=alignment)
    order = {record.id: i for i, record in enumerate(source.records)}
    return replace(
        found,
        sampled=min(sample, len(source.records)),
        sizes=dict(sizes.most_common()),
        rejects=tuple(sorted(rejects, key=lambda r: order[r.id])),
        grid=grid,
        better_rule=better,
    )


def _examine(source: Source, records: Sequence[ImageRecord]) -> tuple[dict[ImageRecord, tuple[int, int]], list[Reject]]:
    """Width and height of those images that can be decoded, of which one at a time is held, and the others.

    The source gets a note of each kind of remarkable files.
    """
    size_of, rejects = {}, []
    remarkable: dict[Remark, list[str]] = {remark: [] for remark in Remark}
    for record in records:
        try:
            data = source.read(record)
            pixels, _, remarks = decode_scaled(data, max)
        except ImageError as error:
            rejects.append(Reject(record.id, error.stage, error.reason, error.detail))
        else:
            size_of[record] = (pixels.shape[1], pixels.shape[0])
            for remark in remarks:
                remarkable[remark].append(record.id)
    source.notes += [remark.note(ids) for remark, ids in remarkable.items() if ids]
    return size_of, rejects


def _faces(
    source: Source, records: Sequence[ImageRecord], alignment: ImageAlignment, rejected: set[str]
) -> list[Reject]:
    """The images in which an audit would detect no face."""
    preprocessor = ImagePreprocessor([], alignment, open_detector(None))

    def reject_of(record: ImageRecord) -> Reject | None:
        try:
            with held_memory():
                quality_features(preprocessor.decode(source.read(record)))
        except ImageError as error:
            return Reject(record.id, error.stage, error.reason, error.detail)
        return None

    results = map_ordered(reject_of, [r for r in records if r.id not in rejected], cores())
    return [reject for reject in results if reject is not None]


def _grid(source: Source, size_of: dict[ImageRecord, tuple[int, int]]) -> tuple[int, int] | None:
    """(cell, gap) in pixels when most images are sheets of several; None otherwise."""
    some = list(size_of)[:: max(1, len(size_of) // 20)]
    grids = plausible_grids([size_of[record] for record in some]) if some else []
    if not grids:
        return None
    fits = np.array([_fits(decode_rgb(source.read(record)), grids) for record in some])
    return next((grid for grid, share in zip(grids, fits.mean(0), strict=True) if share > 0.8), None)


def _fits(sheet: ImageArray, grids: Sequence[tuple[int, int]]) -> list[bool]:
    return [is_sheet(sheet, cell, gap) for cell, gap in grids]


def _better_rule(source: Source, rule: LabelRule) -> str | None:
    """The rule that the user gave, or one by file names where ``auto`` finds no people; None when ``auto`` is right."""
    if rule.kind != "auto" or source.rule.kind != "none":
        return str(rule) if rule.kind != "auto" else None
    for separator in ("_", "-"):
        by_name = LabelRule("prefix", separator)
        people = Counter(by_name.people([record.id for record in source.records]))
        alone = people.pop(None, 0)
        if len(people) > 1 and alone == 0 and len(source.records) >= MIN_IMAGES_PER_PERSON * len(people):
            return str(by_name)
    return None


def contact_sheet(source: Source) -> list[tuple[str, list[ImageArray]]]:
    """Some people with some images of each, evenly over the set, reduced; images that cannot be read are left out."""
    of_person: dict[str | None, list[ImageRecord]] = {}
    for record in source.records:
        of_person.setdefault(record.person, []).append(record)
    if set(of_person) == {None}:
        records = sample_evenly(source.records, SHEET_PEOPLE * IMAGES_PER_ROW)
        groups = [("", records[i : i + IMAGES_PER_ROW]) for i in range(0, len(records), IMAGES_PER_ROW)]
    else:
        names = [name for name in of_person if name is not None]
        rows = np.linspace(0, len(names) - 1, min(SHEET_PEOPLE, len(names))).astype(int)
        groups = [(names[i], sample_evenly(of_person[names[i]], IMAGES_PER_ROW)) for i in rows]
    sheet = []
    for name, records in groups:
        images = []
        for record in records:
            with contextlib.suppress(ImageError):
                images.append(in_cell(decode_rgb(source.read(record))))
        sheet.append((name, images))
    return sheet


def write_contact_sheet(source: Source, path: Path) -> None:
    """Writes the contact sheet as a PNG; SourceError for embeddings, which have no images."""
    if isinstance(source, EmbeddingSource):
        raise SourceError(f"{source.where}: a contact sheet needs images, but the source holds embeddings alone")
    contact_png(contact_sheet(source), path)
