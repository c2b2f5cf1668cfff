"""A zip archive, written without some of its members."""

from __future__ import annotations

import zipfile
from collections.abc import Collection
from pathlib import Path

from unveil.errors import ImageError
from unveil.images.readers.zip import ZipSource
from unveil.images.source import printable
from unveil.images.writers.base import labels_without


def write_zip(source: ZipSource, out: Path, removed: Collection[str]) -> None:
    """The other members, compressed as they were; labels without those of the removed images.

    A member that cannot be read is not copied.
    """
    gone = {int(record.key) for record in source.records if record.id in removed}
    images = {int(record.key) for record in source.records}
    # Of two members with one name, one may stay, and with it the label.
    staying = {source.members[i].filename for i in images - gone}
    names = {printable(source.members[i].filename) for i in gone} - {printable(name) for name in staying}
    with zipfile.ZipFile(out / source.blob.name, "w") as new:
        for i, member in enumerate(source.members):
            if i in gone:
                continue
            try:
                # Never by zipfile, which unpacks to any size.
                data = b"" if member.filename.endswith("/") and i not in images else source.read_member(i)
            except ImageError:
                continue
            if member.filename in source.label_files:
                data = labels_without(member.filename, data, names)
            info = zipfile.ZipInfo(member.filename, member.date_time)
            info.external_attr, info.compress_type = member.external_attr, member.compress_type
            new.writestr(info, data)
