"""One set in many files: WebDataset shards, zips by the thousand people, Parquet in parts."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import product

from unveil.errors import SettingError, SourceError
from unveil.images.label_rule import LabelRule
from unveil.images.source import Source, unique_ids
from unveil.types import ImageRecord

MAX_SHARDS = 100_000
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


class ShardedSource(Source):
    """Several containers of one kind as one. Ids begin with the name of the file; a label means one person in all."""

    def __init__(self, where: str, parts: Sequence[tuple[str, Callable[[LabelRule], Source]]], rule: LabelRule) -> None:
        super().__init__(where, rule)
        self.names = unique_ids([name for name, _ in parts])
        self.parts = [open_part(rule) for _, open_part in parts]
        kinds = {source.rule.kind for source in self.parts}
        if len({source.rule for source in self.parts}) > 1:
            # Opened alone, a shard with a single folder would have no people.
            self.rule = LabelRule(next(kind for kind in ("labels", "folder", "none") if kind in kinds))
            if self.rule.kind == "labels" and not all(source.states_labels for source in self.parts):
                raise SourceError(f"{where}: some of its files store labels and others do not; give one label rule")
            if self.rule.kind != "labels":
                self.parts = [
                    source if source.rule == self.rule else open_part(self.rule)
                    for source, (_, open_part) in zip(self.parts, parts, strict=True)
                ]
        else:
            self.rule = self.parts[0].rule
        ruling = next(source for source in self.parts if source.rule == self.rule)
        self.reason = ruling.reason and f"in {ruling.where}, {ruling.reason}"
        self.states_labels = all(source.states_labels for source in self.parts)
        self.ignored = [
            entry._replace(name=f"{name}/{entry.name}")
            for name, source in zip(self.names, self.parts, strict=True)
            for entry in source.ignored
        ]
        first = self.parts[0]
        self.kind = f"{first.kind} in {len(parts)} files"
        self.notes = list(dict.fromkeys(note for source in self.parts for note in source.notes))
        self.records = [
            ImageRecord(f"{name}/{record.id}", record.person, f"{i} {record.key}")
            for i, (name, source) in enumerate(zip(self.names, self.parts, strict=True))
            for record in source.records
        ]

    def read(self, record: ImageRecord) -> bytes:
        part, key = record.key.split(" ", 1)
        return self.parts[int(part)].read(ImageRecord(record.id, record.person, key))


def expand_braces(text: str) -> list[str]:
    """The names that `shard-{000..010}.tar` and `{a,b}.tar` stand for, in order; SettingError for too many."""
    pieces: list[list[str]] = []
    at = 0
    for found in _BRACES.finditer(text):
        span = _RANGE.fullmatch(found[1])
        if span:
            first, last = int(span[1]), int(span[2])
            if not 0 <= last - first < MAX_SHARDS:
                raise SettingError(f"{text}: an ascending range of at most {MAX_SHARDS} files was expected")
            names = [f"{n:0{len(span[1])}d}" for n in range(first, last + 1)]
        elif "," in found[1]:
            names = found[1].split(",")
        else:
            continue
        pieces += [[text[at : found.start()]], names]
        at = found.end()
    pieces.append([text[at:]])
    count = 1
    for piece in pieces:
        count *= len(piece)
    if count > MAX_SHARDS:
        raise SettingError(f"{text}: stands for {count} files; at most {MAX_SHARDS} are read")
    return ["".join(parts) for parts in product(*pieces)]
