"""Pictures in a zip archive, read where they lie: nothing is unpacked."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

from unveil.errors import PictureError, SourceError
from unveil.images.identity import IdentityRule
from unveil.images.listing import labels_from
from unveil.images.source import MAX_FILE_BYTES, MAX_LIST_BYTES, Source, printable
from unveil.types import ImageRecord

DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError, ValueError)


class ZipSource(Source):
    """Every member of a zip. Sizes in its headers are not believed: reading stops at the limit."""

    kind = "zip"

    def __init__(self, path: Path, rule: IdentityRule) -> None:
        super().__init__(path, rule)
        try:
            self._zip = zipfile.ZipFile(path)
        except DAMAGED as error:
            raise SourceError(f"{path}: a damaged zip ({error})") from None
        self._members = self._zip.infolist()
        names = {i: m.filename for i, m in enumerate(self._members) if not m.is_dir()}
        labels = None
        if rule.kind == "list":
            listed = [i for i, name in names.items() if name == rule.argument]
            if not listed:
                raise SourceError(f"{path}: no member {rule.argument}, which the identity rule names")
            try:
                labels = labels_from(self._bytes(listed[0], MAX_LIST_BYTES), f"{path}:{rule.argument}")
            except PictureError as error:
                raise SourceError(f"{path}:{rule.argument}: {error.reason} {error.detail}") from None
            for i in listed:
                del names[i]
        self._set_records(((printable(name), f"{i:012d}") for i, name in names.items()), labels)

    def _bytes(self, member: int, limit: int) -> bytes:
        info = self._members[member]
        if info.flag_bits & 1:
            raise PictureError("read", "encrypted", "unpack the archive with its password first")
        try:
            with self._zip.open(info) as stream:
                data = stream.read(limit + 1)
        except DAMAGED as error:
            raise PictureError("read", "damaged zip member", str(error)) from None
        if len(data) > limit:
            raise PictureError("read", "unreadable file", f"more than {limit} bytes")
        return data

    def read(self, record: ImageRecord) -> bytes:
        return self._bytes(int(record.key), MAX_FILE_BYTES)
