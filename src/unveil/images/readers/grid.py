"""Sheets that show the images of one person side by side, as generators write them before they are cut."""

from __future__ import annotations

from pathlib import PurePosixPath

import numpy as np
import numpy.typing as npt

from unveil.errors import ImageError, SettingError, SourceError
from unveil.images.decode import decode_rgb, image_size, netpbm
from unveil.images.label_rule import LabelRule
from unveil.images.lru import LruCache
from unveil.images.source import MAX_FILE_BYTES, Entry, Source
from unveil.images.unread import SHOWN_CHARACTERS
from unveil.types import ImageRecord

# Sheets that are held, and the bytes that several of them may take.
CACHED_SHEETS, CACHED_BYTES = 4, 2**27
# Cells and gaps that an inspection tries, in pixels; torchvision's make_grid leaves gaps of 2.
CELLS = (64, 96, 112, 128, 160, 192, 224, 256, 512, 1024)
GAPS = (0, 2, 1, 4)
# Of a number of pixels. Python reads none of thousands.
MAX_DIGITS = 6


class GridSource(Source):
    """Every cell of every sheet, row by row: `SHEET#07`. The person is the sheet, unless a rule says otherwise."""

    kind = "grid sheets"

    def __init__(self, sheets: Source, rule: LabelRule, options: dict[str, str]) -> None:
        super().__init__(sheets.where, rule)
        self._sheets = sheets
        self._cell, self._gap = _number(options, "cell", None), _number(options, "gap", 0)
        self._cache: LruCache[str, npt.NDArray[np.uint8]] = LruCache(
            CACHED_SHEETS, CACHED_BYTES, lambda sheet: sheet.nbytes
        )
        self.ignored, self.unread, self.notes = sheets.ignored, sheets.unread, list(sheets.notes)
        self._sheet_records = {record.id: record for record in sheets.records}
        entries = []
        # A list names sheets: who is in a sheet is in each of its cells.
        listed: dict[str, str] | None = {} if rule.kind == "list" else None
        for record in sheets.records:
            try:
                width, height = image_size(sheets.read(record))
            except ImageError:
                entries.append(Entry(record.id, f"-1 {record.id}"))
                continue
            across, down = (self._count(side) for side in (width, height))
            if not across * down:
                raise SourceError(
                    f"{sheets.where}: the sheet {record.id} is {width} x {height} pixels, which cells of {self._cell} "
                    f"with gaps of {self._gap} do not fill; correct cell= and gap="
                )
            person = record.person or str(PurePosixPath(record.id).with_suffix(""))
            cells = [Entry(f"{record.id}#{i:02d}", f"{i} {record.id}", person) for i in range(across * down)]
            entries += cells
            if listed is not None and record.person is not None:
                listed.update((cell.name, record.person) for cell in cells)
        self._set_records(entries, listed=listed, in_order=True)

    def _count(self, side: int) -> int:
        """Cells along a side; 0 when they do not fill it."""
        return cells_along(side, self._cell, self._gap)

    def read(self, record: ImageRecord) -> bytes:
        number, sheet_id = record.key.split(" ", 1)
        if number == "-1":
            return self._sheets.read(self._sheet_records[sheet_id])
        sheet = self._sheet(sheet_id)
        row, column = divmod(int(number), self._count(sheet.shape[1]))
        step, first = self._cell + self._gap, 0 if self._gap and self._frameless(sheet) else self._gap
        top, left = first + row * step, first + column * step
        cell = sheet[top : top + self._cell, left : left + self._cell]
        if cell.nbytes > MAX_FILE_BYTES:
            raise ImageError("read", "unreadable file", f"{cell.nbytes} bytes, at most {MAX_FILE_BYTES} are read")
        if bool((cell == cell[:1, :1]).all()):
            raise ImageError("read", "empty cell", "the sheet has fewer images than cells")
        return netpbm(cell)

    def _frameless(self, sheet: npt.NDArray[np.uint8]) -> bool:
        """Whether there are gaps between cells only, and none around them."""
        height: int = sheet.shape[0]
        return (height + self._gap) % (self._cell + self._gap) == 0

    def _sheet(self, id: str) -> npt.NDArray[np.uint8]:
        return self._cache.get(id, lambda: decode_rgb(self._sheets.read(self._sheet_records[id])))


def cells_along(side: int, cell: int, gap: int) -> int:
    """How many cells fill a side exactly, with gaps around them or between them alone; 0 when they do not."""
    for frame in (gap, -gap):
        count, rest = divmod(side - frame, cell + gap)
        if not rest and count > 0:
            return count
    return 0


def plausible_grids(sizes: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The (cell, gap) that fill sheets of all these sizes (width, height) with two cells or more, likeliest first."""
    return [
        (cell, gap)
        for gap in GAPS
        for cell in sorted(CELLS, key=lambda c: (c not in (112, 128), c))
        if all(cells_along(w, cell, gap) * cells_along(h, cell, gap) > 1 for w, h in sizes)
    ]


def _number(options: dict[str, str], name: str, default: int | None) -> int:
    text = options.get(name, "" if default is None else str(default))
    fits = text.isdecimal() and len(text) <= MAX_DIGITS
    if not fits or (default is None and int(text) < 16):
        what = "the side of a cell" if name == "cell" else "the space between cells"
        shown = text[:SHOWN_CHARACTERS] or "nothing"
        raise SettingError(f"grid needs {name}=PIXELS, {what}, as in grid,cell=112,gap=2:PATH; got {shown}")
    return int(text)


# How much more neighbouring rows of pixels differ across the border of two cells than elsewhere.
SEAM = 2.5


def is_sheet(sheet: npt.NDArray[np.uint8], cell: int, gap: int) -> bool:
    """Whether an image (H, W, 3) has seams between cells: rows of one colour, or unlike their neighbours."""
    return all(_seams(side, cell, gap) for side in (sheet, sheet.transpose(1, 0, 2)) if side.shape[0] > cell + 2 * gap)


def _seams(sheet: npt.NDArray[np.uint8], cell: int, gap: int) -> bool:
    """Whether the rows between cells are seams."""
    height = sheet.shape[0]
    first = gap if (height - gap) % (cell + gap) == 0 else 0
    borders = np.arange(first + cell, height - gap, cell + gap)
    if gap:
        rows = sheet[borders]
        return bool((rows == rows[:1, :1]).all())
    # Row by row: all differences of a large sheet would take a gigabyte. Sums of whole numbers are exact.
    steps = np.array([np.abs(np.diff(sheet[i : i + 2].astype(np.int16), axis=0)).mean() for i in range(height - 1)])
    elsewhere = np.delete(steps, borders - 1)
    return bool(steps[borders - 1].mean() > SEAM * np.median(elsewhere))
