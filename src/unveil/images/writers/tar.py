"""A tar archive, written without some of its members."""

from __future__ import annotations

import bz2
import copy
import gzip
import io
import lzma
import tarfile
from collections.abc import Callable, Collection
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from unveil.errors import SourceError
from unveil.images.readers.tar import SIDE_FILES, TarSource, webdataset_key
from unveil.images.source import printable
from unveil.images.unpacked import SIGNATURE_BYTES, compression_of
from unveil.images.writers.base import labels_without

# How a file of each compression is opened for writing.
OUTPUTS: dict[str | None, Callable[[str], Any]] = {
    None: lambda path: io.FileIO(path, "wb"),
    "gzip": lambda path: gzip.GzipFile(path, "wb"),
    "bzip2": lambda path: bz2.BZ2File(path, "wb"),
    "xz": lambda path: lzma.LZMAFile(path, "wb"),  # noqa: SIM115 (the caller closes it)
    "zstd": lambda path: pa.CompressedOutputStream(path, "zstd"),
}


def write_tar(source: TarSource, out: Path, removed: Collection[str]) -> None:
    """The other members as they were. In a WebDataset, the side files of a removed image are removed with it.

    A compressed archive is compressed in the same way.
    """
    gone = {int(record.key.split()[0]) for record in source.records if record.id in removed}
    staying = {int(record.key.split()[0]) for record in source.records} - gone
    # Another archive may follow the end of the first; the reader reads both.
    with tarfile.open(fileobj=source.blob.open(), mode="r:", ignore_zeros=True) as old:
        members = _members(source, old)
        name_of = {member.offset_data: member.name.removeprefix("./") for member in members}
        if not gone | staying <= name_of.keys():
            raise SourceError(f"{source.where}: tarfile finds other members in it; use --as-folder")
        stay = {name_of[at] for at in staying}
        names = {name_of[at] for at in gone} - stay
        keys = {webdataset_key(name)[0] for name in names} if source.kind == "WebDataset" else set()
        keys -= {webdataset_key(name)[0] for name in stay}
        printed = {printable(name) for name in names}
        with (
            _output(source, out / source.blob.name) as file,
            tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as new,
        ):
            for member in members:
                key, extension = webdataset_key(member.name.removeprefix("./"))
                if member.offset_data in gone or (key in keys and extension in SIDE_FILES):
                    continue
                content: IO[bytes] | None = old.extractfile(member) if member.isreg() else None
                written = copy.copy(member)
                if content is not None and member.name in source.label_files:
                    data = labels_without(member.name, content.read(), printed)
                    written.size, content = len(data), io.BytesIO(data)
                new.addfile(written, content)


def _members(source: TarSource, old: tarfile.TarFile) -> list[tarfile.TarInfo]:
    """The members as tarfile finds them; SourceError when it finds none or holes, which it would fill up."""
    try:
        members = old.getmembers()
    except (tarfile.TarError, ValueError, OverflowError) as error:
        raise SourceError(f"{source.where}: tarfile cannot list it ({error}); use --as-folder") from None
    if any(member.issparse() for member in members):
        raise SourceError(f"{source.where}: it holds files with holes; use --as-folder")
    return members


def _output(source: TarSource, path: Path) -> IO[bytes]:
    """The file of the copy, compressed as the original is."""
    compression = compression_of(source.packed.read(0, SIGNATURE_BYTES))
    output: IO[bytes] = OUTPUTS[compression](str(path))
    return output
