"""One set in many files: WebDataset shards, zips by the thousand people, Parquet in parts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import product

from unveil.errors import SettingError, SourceError
from unveil.images.label_rule import LabelRule
from unveil.images.readers.columns import most_stated
from unveil.images.source import ListedLabels, Source, in_any_form, unique_ids
from unveil.types import ImageRecord

MAX_SHARDS = 100_000
# Of all names together: a settings file of a stranger may repeat a long path.
MAX_CHARACTERS = 2**25
# Names of labels that a message shows.
SHOWN_NAMES = 3
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d{1,18})\.\.(\d{1,18})")


class ShardedSource(Source):
    """Several containers of one kind as one. Ids begin with the name of the file; a label means one person in all.

    ``listed`` maps ids to the labels of a list beside the files.
    """

    def __init__(
        self,
        where: str,
        parts: Sequence[tuple[str, Callable[[LabelRule], Source]]],
        rule: LabelRule,
        listed: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(where, rule)
        self.names = unique_ids([name for name, _ in parts])
        if listed is None:
            self.parts = self._by_one_name([open_part for _, open_part in parts])
            if self.rule.kind == "labels" and len({source.class_names for source in self.parts}) > 1:
                raise SourceError(
                    f"{where}: expected the same names of classes in all of its files, found others, or none, in some. "
                    "Write the files again with one list of names"
                )
            ruling = next(source for source in self.parts if source.rule.kind == self.rule.kind)
            self.reason = ruling.reason and f"in {ruling.where}, {ruling.reason}"
        else:
            # The list has the ids of the whole set, which no part knows.
            self.parts = [open_part(LabelRule("none")) for _, open_part in parts]
        self.states_labels = all(source.states_labels for source in self.parts)
        self.ignored = [
            entry._replace(name=f"{name}/{entry.name}")
            for name, source in zip(self.names, self.parts, strict=True)
            for entry in source.ignored
        ]
        for name, source in zip(self.names, self.parts, strict=True):
            self.unread.add_all(source.unread, f"{name}/")
        self.left_out = sum(source.left_out for source in self.parts)
        first = self.parts[0]
        self.kind = f"{first.kind} in {len(parts)} files"
        self.notes += dict.fromkeys(note for source in self.parts for note in source.notes)
        apart = self.rule.kind == "one-per-image" or (self.rule.kind == "labels" and first.numbers_people)
        if apart and self.rule.kind == "labels":
            self.notes.append("people are numbered within each file: whoever is in two files counts as two people")
        self.records = [
            ImageRecord(
                f"{name}/{record.id}",
                f"{name}/{record.person}" if apart and record.person is not None else record.person,
                f"{i} {record.key}",
            )
            for i, (name, source) in enumerate(zip(self.names, self.parts, strict=True))
            for record in source.records
        ]
        if listed is not None:
            self.notes += listed.notes if isinstance(listed, ListedLabels) else ()
            listed = in_any_form(listed, [record.id for record in self.records], where)
            self._check_list([record.id for record in self.records], listed)
            self.records = [replace(record, person=listed.get(record.id)) for record in self.records]

        else:
            self._note_shared_labels()

    def _note_shared_labels(self) -> None:
        """Notes how many labels are in several files, where they may mean different people, as numbers do."""
        files: dict[str, str] = {}
        shared: set[str] = set()
        for record in self.records:
            if record.person is not None:
                file = record.key.partition(" ")[0]
                if files.setdefault(record.person, file) != file:
                    shared.add(record.person)
        if shared:
            self.notes.append(
                f"{len(shared):,} of {len(files):,} labels are in several files, and each counts as one person: if the "
                f"files number their people anew, give a list of labels"
            )

    def _opened(self, parts: Sequence[Callable[[LabelRule], Source]]) -> list[Source]:
        """The parts under one rule, which ``auto`` may decide anew. SourceError when only some of them store labels."""
        opened = [open_part(self.rule) for open_part in parts]
        if len({source.rule for source in opened}) == 1:
            self.rule = opened[0].rule
            return opened
        # Opened alone, a shard with a single folder would have no people.
        kinds = {source.rule.kind for source in opened}
        self.rule = LabelRule(next(kind for kind in ("labels", "folder", "none") if kind in kinds))
        if self.rule.kind != "labels":
            return [
                source if source.rule == self.rule else open_part(self.rule)
                for source, open_part in zip(opened, parts, strict=True)
            ]
        if not all(source.states_labels for source in opened):
            raise SourceError(f"{self.where}: some of its files store labels and others do not; give one label rule")
        return [
            open_part(self.rule) if source.rule.kind == "folder" else source
            for source, open_part in zip(opened, parts, strict=True)
        ]

    def _by_one_name(self, parts: Sequence[Callable[[LabelRule], Source]]) -> list[Source]:
        """The parts under one rule. Where labels of two names are equal, all are those of one name.

        Raises SourceError where no name can be chosen.
        """
        opened = self._opened(parts)
        if self.rule.kind != "labels":
            return opened
        names = [source.people_name or "" for source in opened]
        if len(set(names)) < 2:
            return opened
        people: dict[str, set[str | None]] = {}
        for name, source in zip(names, opened, strict=True):
            people.setdefault(name, set()).update(source.records.people)
        people = {name: found - {None} for name, found in people.items() if found - {None}}
        first = {name: self.names[names.index(name)] for name in people}
        shown = " and ".join(f"{name or 'others'} in {first[name]}" for name in list(people)[:SHOWN_NAMES])
        if len(set().union(*people.values())) == sum(map(len, people.values())):
            if len(people) > 1:
                self.notes.append(f"the people are those of {shown}: none of these names has a label of another")
            return opened
        stated: Counter[str] = Counter()
        for source in opened:
            stated.update(source.stated)
        if not all(source.stated for source, name in zip(opened, names, strict=True) if name in people):
            raise SourceError(
                f"{self.where}: expected people by one name in all files, found equal labels under {shown}. Choose a "
                "name that all have, as in label=NAME, or give a list of labels"
            )
        chosen = most_stated(stated)
        others = " or ".join(name for name in people if name != chosen)
        self.notes.append(f"in all files, people are those of {chosen}, not of {others}")
        return [
            source
            if name == chosen
            else open_part(LabelRule("labels", chosen) if source.stated.get(chosen) else LabelRule("none"))
            for source, name, open_part in zip(opened, names, parts, strict=True)
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
    if count * len(text) > MAX_CHARACTERS:
        raise SettingError(
            f"{text[:80]}...: expected names of at most {MAX_CHARACTERS} characters together, found {count * len(text)}"
        )
    return ["".join(parts) for parts in product(*pieces)]
