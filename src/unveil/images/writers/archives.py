"""Zip and tar archives, written without some of their members."""

from __future__ import annotations

import copy
import io
import tarfile
import zipfile
from collections.abc import Collection
from pathlib import Path

from unveil.errors import SourceError
from unveil.images.readers.tar import SIDE_FILES, TarSource, webdataset_key
from unveil.images.readers.zip import ZipSource
from unveil.images.writers.files import labels_without


def write_zip(source: ZipSource, out: Path, removed: Collection[str]) -> None:
    """The other members as they were, packed as they were; labels without those of what was removed."""
    gone = {int(record.key) for record in source.records if record.id in removed}
    names = {source.members[i].filename for i in gone}
    of_member = {int(record.key): record for record in source.records}
    with zipfile.ZipFile(source.blob.open()) as old, zipfile.ZipFile(out / source.blob.name, "w") as new:
        for i, member in enumerate(source.members):
            if i in gone:
                continue
            data = source.read(of_member[i]) if i in of_member else b"" if member.is_dir() else old.read(member)
            if member.filename in source.label_files:
                data = labels_without(member.filename, data, names)
            info = zipfile.ZipInfo(member.filename, member.date_time)
            info.external_attr, info.compress_type = member.external_attr, member.compress_type
            new.writestr(info, data)


def write_tar(source: TarSource, out: Path, removed: Collection[str]) -> None:
    """The other members as they were. In a WebDataset what belongs to a removed picture goes with it."""
    places = {int(record.key.split()[0]) for record in source.records if record.id in removed}
    with tarfile.open(fileobj=source.blob.open(), mode="r:") as old:
        members = old.getmembers()
        names = {m.name.removeprefix("./") for m in members if m.offset_data in places}
        if len(names) != len(places):
            raise SourceError(f"{source.where}: its members could not be told apart; use --as-folder")
        keys = {webdataset_key(name)[0] for name in names} if source.kind == "WebDataset" else set()
        with tarfile.open(out / source.blob.name, "w", format=tarfile.PAX_FORMAT) as new:
            for member in members:
                key, extension = webdataset_key(member.name.removeprefix("./"))
                if member.offset_data in places or (key in keys and extension in SIDE_FILES):
                    continue
                content = old.extractfile(member) if member.isreg() else None
                data = b"" if content is None else content.read()
                written = copy.copy(member)
                if member.name in source.label_files:
                    data = labels_without(member.name, data, names)
                    written.size = len(data)
                new.addfile(written, io.BytesIO(data) if member.isreg() else None)
