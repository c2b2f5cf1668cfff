"""RecordIO: `.rec`, with or without `.idx`, as mxnet, InsightFace, CVLface and DCFace write it."""

from __future__ import annotations

import contextlib
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unveil.errors import ImageError, SourceError
from unveil.images.blob import Blob, LocalBlob, Window
from unveil.images.label_rule import LabelRule, folder_of
from unveil.images.label_values import label_of
from unveil.images.labels import labels_beside, text_lines
from unveil.images.source import MAX_FILE_BYTES, MAX_LIST_BYTES, MAX_RECORDS, Entry, Source, numbered_ids, printable
from unveil.types import ImageRecord, Ints

MAGIC = 0xCED7230A
MAGIC_BYTES = MAGIC.to_bytes(4, "little")
_FRAME = struct.Struct("<II")
_HEADER = struct.Struct("<IfQQ")  # flag, label, id, id2
_PLAIN = struct.Struct("<III")  # a frame, whose length has no part in it, and a flag
_START = struct.Struct("<IIIfQQf")  # a frame, a header and the first of its array labels, if there are any
WHOLE, FIRST, MIDDLE, LAST = range(4)
# Labels of an image; more are no label of a person.
MAX_LABELS = 2**16
# Bytes of a header with as few labels as people need; the ranges of InsightFace have two.
MAX_FEW_LABELS = _HEADER.size + 4 * 16
# Whole numbers beyond this are rounded in the float32 that a label is stored in.
MAX_EXACT_LABEL = 2**24
# Of a number in a list: no 64-bit number has more.
MAX_DIGITS = 20
# The share of the records whose own label has to be that of a list, where keys are not known.
MIN_SAME_LABELS = 0.99
# Of the records, below which labels contradict each other. A list whose labels were corrected has more.
MIN_AGREEMENT = 0.9
# A key of records that is no number of an image.
MAX_KEY = 2**62
# Lists of `key path ...` beside records: DCFace's, and those with the name of their records, as of CVLface and mxnet.
LIST, LIST_SUFFIXES = "list.txt", (".tsv", ".lst")
# The file of records whose lists those of these names are, in nearly every set.
USUAL = "train"


@dataclass(frozen=True)
class _Starts:
    """What the first bytes of records (N,) say: the label of each, not a number for a damaged one, and whether it may
    hold an image. ``n_unlisted`` are the records between them that the index lacks."""

    labels: npt.NDArray[np.float32]
    hold_more: npt.NDArray[np.bool_]
    n_unlisted: int


class RecordIOSource(Source):
    """Every image of a `.rec`. Ids are the paths of a list beside it, or keys."""

    kind = "RecordIO"

    def __init__(self, blob: Blob, rule: LabelRule, options: dict[str, str] | None = None) -> None:
        super().__init__(blob.where, rule)
        self.blob = blob
        keys, offsets, known = index_of(blob)
        extents = _extents(offsets, blob.size)
        self._limit = MAX_FILE_BYTES + _HEADER.size + 4 * MAX_LABELS
        # At an address, the starts of neighbouring records come in one request.
        self._read_start = blob.read if isinstance(blob, LocalBlob) else Window(blob).read
        first = self._header(int(offsets[0]), int(extents[0])) if len(offsets) else None
        self.first_not_image = None if first is None else first.header_of
        starts = self._starts(offsets, extents)
        self.left_out = starts.n_unlisted
        if starts.n_unlisted:
            self.notes.append(
                f"{starts.n_unlisted} records that {idx_name(blob)} does not list are not read; remove that file to "
                "read all"
            )
        labels = starts.labels
        if self.first_not_image is not None:
            # InsightFace: record 0 says which keys are images, the others are ranges of people.
            self.first_not_image = first_range(
                self.first_not_image, lambda key: self._is_range(keys, offsets, extents, key)
            )
            images = (keys >= 1) & (keys < self.first_not_image)
            more = starts.hold_more & ~images
            more[0] = images[0] = False
            if more.any():
                self.notes.append(
                    f"{more.sum()} records hold images where the first record states none (keys below 1, or from "
                    f"{self.first_not_image} on); they are read"
                )
            images |= more
            keys, offsets, extents, labels = keys[images], offsets[images], extents[images], labels[images]
        paths = _paths(blob, keys, labels, self.notes, known=known)
        uses_own = rule.may_use_labels and not paths.ids
        entries, n_rounded = [], 0
        rows = zip(numbered_ids(keys.tolist()), offsets.tolist(), extents.tolist(), labels.tolist(), strict=True)
        for number, offset, extent, own in rows:
            label = paths.labels.get(int(number))
            if label is None and uses_own:
                if abs(own) >= MAX_EXACT_LABEL:
                    n_rounded += 1
                else:
                    label = label_of(own)
            entries.append(Entry(paths.ids.get(int(number), number), f"{offset} {extent}", label))
        if n_rounded:
            self.notes.append(
                f"{n_rounded} labels of {MAX_EXACT_LABEL:,} or more are not used: the float32 that stores them is not "
                "exact. List the people in a file beside the records"
            )
        listed = labels_beside(rule, blob)
        if rule.kind == "auto" and len({id.rpartition("/")[0] for id in paths.ids.values()}) > 1:
            # Records that the list does not name have neither a folder nor a label of it.
            self._decide_folders([entry for entry, key in zip(entries, keys.tolist(), strict=True) if key in paths.ids])
        self._set_records(entries, listed=listed, states_labels=uses_own or bool(paths.labels), in_order=True)

    def _starts(self, offsets: Ints, extents: Ints) -> _Starts:
        """What the first bytes of all records say."""
        has_index = self.blob.sibling(idx_name(self.blob)) is not None
        n_unlisted = _count_records(self.blob, 0, int(offsets[0])) if has_index else 0
        labels, hold_more = np.full(len(offsets), np.nan, np.float32), np.ones(len(offsets), bool)
        for i, (offset, extent) in enumerate(zip(offsets.tolist(), extents.tolist(), strict=True)):
            start = self._read_start(offset, min(extent, _START.size))
            magic, length = _FRAME.unpack_from(start) if len(start) >= _FRAME.size else (0, 0)
            # A whole record; any other goes the slow way.
            if has_index and not (magic == MAGIC and length < 1 << 29 and _FRAME.size + length + -length % 4 >= extent):
                with contextlib.suppress(ImageError):  # a damaged record becomes a reject
                    n_unlisted += _count_records(self.blob, _skip(self.blob, offset), offset + extent)
            try:
                header = _header(start[_FRAME.size :], offset, extent - _FRAME.size)
            except ImageError:
                continue
            labels[i] = header.label
            many_labels = header.size > MAX_FEW_LABELS
            if many_labels:
                self.unread.add("records with many labels, of which one is read", f"at byte {offset}")
            # One part with few labels, and nothing behind them but padding, is a range of people.
            hold_more[i] = magic != MAGIC or length - header.size >= 4 or many_labels
        return _Starts(labels, hold_more, n_unlisted)

    def _decide_folders(self, entries: list[Entry]) -> None:
        """The folders of a list as people, where the labels say nothing else: DCFace writes 0 into all records."""
        labels = [entry.label for entry in entries]
        names = [entry.name for entry in entries]
        pairs = set(zip(map(folder_of, names), labels, strict=True))
        folders, stated = {folder for folder, _ in pairs}, {label for _, label in pairs}
        decided, reason = LabelRule().decide(names)
        if len(stated) == 1:
            self.rule, self.reason = decided, f"of the list beside the records, {reason}"
        elif decided.kind == "folder" and len(pairs) == len(folders) == len(stated):
            self.rule, self.reason = decided, "the list beside the records has folders, which are those of its labels"
        elif decided.kind == "folder" and len(stated) == len(entries):
            self.rule, self.reason = decided, "the list beside the records has folders"
            self.notes.append(
                "the stored labels are not used for the people, since each image has one of its own: name the label "
                "rule labels if every image shows another person"
            )

    def _is_range(self, keys: Ints, offsets: Ints, extents: Ints, key: int) -> bool:
        """Whether the record of a key is a range of a person: two labels and no image."""
        (rows,) = np.nonzero(keys == key)
        if not len(rows):
            return False
        header = self._header(int(offsets[rows[0]]), int(extents[rows[0]]))
        return header is not None and header.header_of is not None

    def read(self, record: ImageRecord) -> bytes:
        offset_text, _, extent_text = record.key.partition(" ")
        offset, extent = int(offset_text), int(extent_text)
        if _PLAIN.size <= extent <= self._limit:
            # Nearly all records have one part. Any other record goes the slow way.
            data = self.blob.read(offset, extent)
            if len(data) == extent:
                magic, length, flag = _PLAIN.unpack_from(data)
                start = _HEADER.size + 4 * flag
                if magic == MAGIC and flag <= MAX_LABELS and start <= length <= extent - _FRAME.size:
                    return data[_FRAME.size + start : _FRAME.size + length]
        payload = read_record(self.blob, offset, extent, self._limit)
        return payload[_header(payload, offset).size :]

    def _header(self, offset: int, extent: int) -> _Header | None:
        """The header of the record at ``offset``, from its first bytes; None when it is damaged."""
        start = self._read_start(offset, min(extent, _START.size))
        try:
            return _header(start[_FRAME.size :], offset, extent - _FRAME.size)
        except ImageError:
            return None


def first_range(stated: int, is_range: Callable[[int], bool]) -> int:
    """The first key that is no image, where InsightFace's first record states it.

    The number is a float32. Beyond 2**24 it may be rounded, so that the keys near it decide.
    """
    if not MAX_EXACT_LABEL <= stated <= MAX_RECORDS:
        return stated
    step = int(np.spacing(np.float32(stated)))
    return next((key for key in range(stated - step, stated + step + 1) if is_range(key)), stated)


@dataclass(frozen=True)
class _Header:
    """The ``size`` bytes before an image, with its label. ``header_of`` is the first key that is no image, in
    InsightFace's first record."""

    size: int
    label: float
    header_of: int | None = None


def _header(payload: bytes, offset: int, length: int | None = None) -> _Header:
    """The header of a payload, of which the first bytes suffice when its length in the file is known."""
    if len(payload) < _HEADER.size:
        raise ImageError("read", "damaged record", f"at byte {offset}: too short for its header")
    flag, label, _, _ = _HEADER.unpack_from(payload)
    if flag == 0:
        return _Header(_HEADER.size, label)
    size = _HEADER.size + 4 * flag
    if flag > MAX_LABELS or size > (len(payload) if length is None else length) or len(payload) < _HEADER.size + 4:
        raise ImageError("read", "damaged record", f"at byte {offset}: {flag} labels do not fit into it")
    (label,) = struct.unpack_from("<f", payload, _HEADER.size)
    # InsightFace's first record has two labels and no image, up to the padding.
    whole = length is not None and length - size < 4 and flag == 2 and label >= 1 and float(label).is_integer()
    return _Header(size, label, int(label) if whole else None)


def _frame(head: bytes, at: int, *, first: bool) -> tuple[int, int]:
    """Which part of a record a frame begins, and its length; ImageError with the byte where no frame begins."""
    if len(head) < _FRAME.size:
        raise ImageError("read", "truncated", f"the file ends in a record at byte {at}")
    magic, part_and_length = _FRAME.unpack(head)
    part, length = part_and_length >> 29, part_and_length & 0x1FFFFFFF
    if magic != MAGIC or part not in ((WHOLE, FIRST) if first else (MIDDLE, LAST)):
        raise ImageError("read", "damaged record", f"no record begins at byte {at}")
    return part, length


def read_record(blob: Blob, offset: int, extent: int, limit: int) -> bytes:
    """The payload of the record at ``offset``, its parts joined.

    ``extent`` bytes are read at once, best the whole record. Raises ImageError with the byte where it is damaged.
    """
    if extent > limit + _FRAME.size:
        extent = _FRAME.size
    chunk = blob.read(offset, extent)
    parts: list[bytes] = []
    at, total = offset, 0
    while True:
        inside = at - offset
        head = chunk[inside : inside + _FRAME.size]
        if len(head) < _FRAME.size:
            head = blob.read(at, _FRAME.size)
        part, length = _frame(head, at, first=not parts)
        total += length + (4 if parts else 0)
        if total > limit:
            raise ImageError("read", "unreadable file", f"the record at byte {offset} holds more than {limit} bytes")
        data = chunk[inside + _FRAME.size : inside + _FRAME.size + length]
        if len(data) < length:
            data = blob.read(at + _FRAME.size, length)
        if len(data) < length:
            raise ImageError("read", "truncated", f"the file ends in a record at byte {at}")
        if part == WHOLE:
            return data
        at += _FRAME.size + length + -length % 4
        parts.append(data)
        if part == LAST:
            # The writer cuts a payload wherever it holds the magic number, and drops the number.
            return MAGIC_BYTES.join(parts)


def index_of(blob: Blob) -> tuple[Ints, Ints, bool]:
    """Keys and offsets, in the order of the file: those of the `.idx` beside it, then of records that it lacks.

    The keys of the latter are those in the records themselves, or where these hold none, numbers in order. Last comes
    whether the keys are known: numbers in order may be those of other records in a list.
    """
    index = _read_idx(blob)
    keys, offsets = np.zeros((2, 0), np.int64) if index is None else index
    at = 0
    if len(offsets):
        try:
            at = _skip(blob, int(offsets[-1]))
        except ImageError:
            at = blob.size
    next_key = int(keys.max()) + 1 if len(keys) else 0
    more = _scan(blob, at) if at < blob.size else []
    if not len(offsets) and not more:
        raise SourceError(f"{blob.where}: no records in it")
    offsets = np.concatenate([offsets, np.array(more, np.int64)])
    in_order = np.concatenate([keys, np.arange(next_key, next_key + len(more))])
    if not more:
        return in_order, offsets, True
    stated, is_insightface = _stated_keys(blob, offsets)
    if is_insightface:  # in order by its format, and what its records state are other numbers
        return in_order, offsets, True
    known = stated is not None and bool((stated[: len(keys)] == keys).all())
    return (stated if known and stated is not None else in_order), offsets, known


def _stated_keys(blob: Blob, offsets: Ints) -> tuple[Ints | None, bool]:
    """The key (N,) that each record states, None unless they are different numbers; and whether the first record is
    InsightFace's."""
    read = blob.read if isinstance(blob, LocalBlob) else Window(blob).read
    extents, stated = _extents(offsets, blob.size), np.full(len(offsets), -1, np.int64)
    for i, (offset, extent) in enumerate(zip(offsets.tolist(), extents.tolist(), strict=True)):
        start = read(offset, min(extent, _START.size))[_FRAME.size :]
        with contextlib.suppress(ImageError):  # a damaged record becomes a reject
            header = _header(start, offset, extent - _FRAME.size)
            if i == 0 and header.header_of is not None:
                return None, True
            stated[i] = min(_HEADER.unpack_from(start)[2], MAX_KEY)
    distinct = len(np.unique(stated)) == len(stated) and int(stated.min()) >= 0
    return (stated if distinct else None), False


def idx_name(blob: Blob) -> str:
    """The name of the index beside a file of records."""
    return blob.name.rpartition(".")[0] + ".idx"


def _count_records(blob: Blob, at: int, end: int) -> int:
    """Records from ``at`` to ``end``; what is damaged counts as one."""
    count = 0
    while at < end:
        count += 1
        try:
            at = _skip(blob, at)
        except ImageError:
            break
    return count


def _read_idx(blob: Blob) -> tuple[Ints, Ints] | None:
    """Keys and offsets of the `.idx`; None when there is none. An incomplete last line is skipped."""
    index = blob.sibling(idx_name(blob))
    if index is None:
        return None
    lines = index.read_all(MAX_LIST_BYTES * 2).split(b"\n")[:-1]
    try:
        flat = np.array(b" ".join(lines).split(), np.int64) if lines else np.zeros(0, np.int64)
        keys, offsets = flat.reshape(-1, 2).T
    except (ValueError, OverflowError):
        raise SourceError(
            f"{index.where}: lines `key offset` were expected; without this file the records are read in order"
        ) from None
    order = np.argsort(offsets, kind="stable")
    keys, offsets = keys[order], offsets[order]
    if len(offsets) and (offsets[0] < 0 or offsets[-1] >= blob.size or (np.diff(offsets) <= 0).any()):
        raise SourceError(
            f"{index.where}: it does not fit {blob.name}, which has {blob.size} bytes: offsets from {offsets[0]} to "
            f"{offsets[-1]}; without this file the records are read in order"
        )
    return keys, offsets


def _scan(blob: Blob, at: int) -> list[int]:
    """Offsets of all records from ``at``; SourceError where one is damaged."""
    offsets: list[int] = []
    while at < blob.size:
        try:
            after = _skip(blob, at)
        except ImageError as error:
            raise SourceError(
                f"{blob.where}: {error} of {blob.size}, after {len(offsets)} good records; get the file again, or its "
                ".idx, with which the records after the damage can be read"
            ) from None
        offsets.append(at)
        at = after
    return offsets


def _skip(blob: Blob, at: int) -> int:
    """The offset of the record after the one at ``at``, by the frames alone."""
    first = True
    while True:
        part, length = _frame(blob.read(at, _FRAME.size), at, first=first)
        at += _FRAME.size + length
        if at > blob.size:
            raise ImageError("read", "truncated", f"the file ends in the record before byte {at}")
        at += -length % 4
        if part in (WHOLE, LAST):
            return at
        first = False


def _extents(offsets: Ints, size: int) -> Ints:
    """How many bytes lie between each record and the next."""
    extents: Ints = np.diff(np.append(offsets, size))
    return extents


@dataclass(frozen=True)
class _Paths:
    """The path and the label of each key in a list beside the records."""

    ids: dict[int, str]
    labels: dict[int, str]


def _paths(blob: Blob, keys: Ints, own: npt.NDArray[np.float32], notes: list[str], *, known: bool) -> _Paths:
    """The list beside the records that names most of their keys; empty when there is none. Others are noted.

    Where the keys are not ``known``, the labels that the records hold of their ``own`` have to be those of the list.
    Keys that only count the records are known if the lines of the list are in their order.
    """
    counted = bool((keys == np.arange(len(keys))).all()) and blob.sibling(idx_name(blob)) is None
    shared = keys_twice(keys)
    if shared:
        notes.append(
            f"{len(shared):,} keys of {idx_name(blob)} are those of several records, as where files were joined: no "
            "list beside them is used for these, and equal labels of theirs may be those of different people"
        )
    for file in lists_beside(blob, notes):
        name = file.name
        ids, labels, several = _rows_beside(file)
        for key in several | shared:
            ids.pop(key, None)
            labels.pop(key, None)
        if several:
            notes.append(
                f"{len(several):,} keys stand in {name} with several paths or labels, which are not used, for example "
                f"{min(several)}: leave one line for each key"
            )
        matched = sum(key in ids for key in keys.tolist())
        sure = known and (not counted or list(ids) == sorted(ids))
        if matched > len(keys) / 2 and not sure and not _same_labels(keys, own, labels):
            notes.append(
                f"{name} beside the records is not used: without {idx_name(blob)}, it is not known which of its lines "
                "belongs to which record. Get that file, too"
            )
            continue
        if matched > len(keys) / 2 and _agreement(keys, own, labels) < MIN_AGREEMENT:
            notes.append(f"the labels of {name} contradict those in the records: it may be the list of other records")
        if matched > len(keys) / 2:
            return _Paths(ids, labels)
        notes.append(f"{name} beside the records names {matched} of {len(keys)} of them and is not used")
    return _Paths({}, {})


def keys_twice(keys: Ints) -> set[int]:
    """The keys of several records."""
    distinct, counts = np.unique(keys, return_counts=True)
    return set(distinct[counts > 1].tolist())


def _rows_beside(file: Blob) -> tuple[dict[int, str], dict[int, str], set[int]]:
    """The path and the label of each key in a list, and the keys that it has with several of them."""
    ids: dict[int, str] = {}
    labels: dict[int, str] = {}
    several: set[int] = set()
    for _, line in text_lines(file.read_all(MAX_LIST_BYTES), file.where):
        number, *rest = line.split("\t")
        if not number.isdecimal() or len(number) > MAX_DIGITS or not rest:
            continue
        # mxnet's .lst has the path last, the others have it second; the remaining column is the label.
        key, path = int(number), printable(rest.pop(-1 if file.name.endswith(".lst") else 0).strip())
        label = label_of(rest[0]) if rest else None
        if key in ids and (ids[key], labels.get(key)) != (path, label):
            several.add(key)
        ids[key] = path
        if label is not None:
            labels[key] = label
    return ids, labels, several


def _agreement(keys: Ints, own: npt.NDArray[np.float32], labels: dict[int, str]) -> float:
    """The share of the records whose own label goes with the one in a list, or the reverse, by majority."""
    pairs = [(o, labels[k]) for k, o in zip(keys.tolist(), own.tolist(), strict=True) if k in labels]

    def agreeing(column: int) -> int:
        majority: dict[object, Counter[object]] = {}
        for pair in pairs:
            majority.setdefault(pair[column], Counter())[pair[1 - column]] += 1
        return sum(max(counts.values()) for counts in majority.values())

    return max(agreeing(0), agreeing(1)) / len(pairs) if pairs else 1.0


def _same_labels(keys: Ints, own: npt.NDArray[np.float32], labels: dict[int, str]) -> bool:
    """Whether nearly all records hold the label that a list gives to their key, and there are several labels."""
    pairs = [(label_of(o), labels[k]) for k, o in zip(keys.tolist(), own.tolist(), strict=True) if k in labels]
    same = sum(o == label for o, label in pairs)
    return len({label for _, label in pairs}) > 1 and same >= MIN_SAME_LABELS * len(keys)


def lists_beside(blob: Blob, notes: list[str] | None = None) -> Iterator[Blob]:
    """The lists that may be those of these records. Others, which may be those of other records, are noted."""
    stem = blob.name.rpartition(".")[0]
    for name in (LIST, *(f"{s}{suffix}" for s in dict.fromkeys((stem, USUAL)) for suffix in LIST_SUFFIXES)):
        file = blob.sibling(name)
        # Keys are numbers from 0 in every file, so that any list fits any records.
        other = None if file is None or name.startswith(f"{stem}.") else _other_records(blob)
        if file is not None and other is None:
            yield file
        elif other is not None and notes is not None:
            notes.append(
                f"{name} beside the records is not used: it may be that of {other}. If it is theirs, name it "
                f"{stem}{LIST_SUFFIXES[-1] if name.endswith('.lst') else LIST_SUFFIXES[0]}"
            )


def _other_records(blob: Blob) -> str | None:
    """Another file of records beside this one, to which a list of no certain owner may belong; None if there is none.

    The usual one comes first: beside others, it owns such lists.
    """
    if blob.name == f"{USUAL}.rec":
        return None
    if blob.sibling(f"{USUAL}.rec") is not None:
        return f"{USUAL}.rec"
    if not isinstance(blob, LocalBlob):
        return None
    return next((file.name for file in sorted(blob.path.parent.glob("*.rec")) if file.name != blob.name), None)
