"""A copy of one set without the people and images that it shares with the other."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from unveil.choices import SET_NAMES, SetName
from unveil.errors import SettingError, SourceError
from unveil.images import Source, write_without
from unveil.results import OverlapResult, PeoplePair, SharedImage


def removed_ids(
    source: Source,
    name: SetName,
    people: Iterable[PeoplePair],
    images: Iterable[SharedImage],
    *,
    only_images: bool = False,
) -> tuple[str, ...]:
    """The files that are left out of a set, in its order: the shared images, and all files of shared people.

    Files that were rejected belong to a person by their label too. With ``only_images``, the shared images alone.
    """
    side = SET_NAMES.index(name)
    ids = {(image.a_id, image.b_id)[side] for image in images}
    shared = set() if only_images else {(pair.a_person, pair.b_person)[side] for pair in people}
    return tuple(record.id for record in source.records if record.id in ids or record.person_or_id in shared)


def remove_shared(
    result: OverlapResult,
    source: Source,
    name: SetName,
    copy: Path,
    *,
    only_images: bool = False,
    as_folder: bool = False,
) -> tuple[Path, int]:
    """Writes a copy of a set without what it shares with the other; returns its place and the number of files left out.

    ``source`` is the set. The copy is compared with it byte for byte. With ``as_folder`` it is a folder, whatever the
    set is. Raises SettingError if nothing is shared, nothing would be left or the copy exists, and SourceError if the
    set has changed.
    """
    ids = removed_ids(source, name, result.people, result.images, only_images=only_images)
    side = SET_NAMES.index(name)
    known = {record.id for record in source.records}
    missing = [pair for image in result.images if (pair := (image.a_id, image.b_id)[side]) not in known]
    if missing or len(known) != result.counts[name].images:
        raise SourceError(
            f"{source.where}: expected the {result.counts[name].images:,} files that were compared, found others. Run "
            "the overlap again"
        )
    if not ids:
        what = "images" if only_images else "people or images"
        raise SettingError(f"--remove {name}: expected shared {what}, found none. There is nothing to remove")
    if len(ids) == len(known):
        raise SettingError(
            f"--remove {name}: expected files that are not shared, found none, so nothing would be left. Remove from "
            "the other set"
        )
    return write_without(source, copy, ids, as_folder=as_folder), len(ids)
