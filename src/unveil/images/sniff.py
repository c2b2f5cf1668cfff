"""What a path holds, recognised by its first bytes and never by its name."""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from unveil.errors import SourceError
from unveil.images.blob import Blob, LocalBlob
from unveil.images.decode import AVIF_BRANDS, HEIC_BRANDS
from unveil.images.readers.arrow import FILE_MAGIC as ARROW
from unveil.images.readers.embeddings import is_npz
from unveil.images.readers.hdf5 import SIGNATURE as HDF5
from unveil.images.readers.hdf5 import is_hdf5
from unveil.images.readers.lmdb_pages import is_lmdb
from unveil.images.readers.parquet import is_table_of_vectors
from unveil.images.readers.recordio import MAGIC_BYTES
from unveil.images.readers.tar import is_tar
from unveil.images.readers.tfrecord import begins_record
from unveil.images.unpacked import compression_of, unpacked_head
from unveil.io.npy import MAGIC as NPY
from unveil.io.walk import walk

# Files of a folder whose first bytes are read.
SAMPLE_FILES = 400
HEAD = 1024
# Forms of files that lie beside a container and are none themselves.
NO_CONTAINER = ("text", "empty", "other")
IMAGE_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*")


@dataclass(frozen=True)
class Candidate:
    """One way to read a path: the form, and the file in a folder that has it, unless that is the path itself."""

    form: str
    file: Path | None = None


def form_of(blob: Blob) -> str:
    """The form of one file: one of those of `unveil.images.location`, or image, text, compressed, empty or other."""
    head = blob.read(0, HEAD)
    if not head:
        return "empty"
    for form, matches in (
        ("recordio", head.startswith(MAGIC_BYTES)),
        ("lmdb", is_lmdb(head)),
        ("hdf5", head.startswith(HDF5)),
        ("embeddings", head.startswith(NPY)),
        ("arrow", head.startswith(ARROW) or head.startswith(b"\xff\xff\xff\xff")),
        ("tfrecord", begins_record(head)),
        ("tar", is_tar(head)),
        ("bin", head[:1] == b"\x80" and head[1:2] in (b"\2", b"\3", b"\4", b"\5")),
        ("compressed", compression_of(head) is not None),
        ("image", _is_image(head)),
    ):
        if matches:
            return "tar" if form == "compressed" and is_tar(unpacked_head(blob, HEAD)) else form
    if head.startswith(b"PAR1"):
        vectors = isinstance(blob, LocalBlob) and is_table_of_vectors(blob.path)
        return "embeddings" if vectors else "parquet"
    if head.startswith(b"PK\x03\x04") or _is_zip(blob):
        return "embeddings" if is_npz(blob) else "zip"
    if is_hdf5(blob):
        return "hdf5"
    return "other" if b"\0" in head or not head.strip() else "text"


def _is_image(head: bytes) -> bool:
    """By the formats of `unveil.images.decode`. Two letters alone do not decide: a list may begin with `BMW`."""
    webp = head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    bitmap = head[:2] == b"BM" and head[6:10] == b"\0\0\0\0"
    netpbm = head[:2] in (b"P5", b"P6") and head[2:3].isspace() and head[3:4].isdigit()
    iso = head[4:8] == b"ftyp" and head[8:12] in (*AVIF_BRANDS, *HEIC_BRANDS)
    return head.startswith(IMAGE_SIGNATURES) or webp or bitmap or netpbm or iso


def _is_zip(blob: Blob) -> bool:
    try:
        return zipfile.is_zipfile(blob.open())
    except zipfile.BadZipFile:
        return False


def candidates(path: Path, *, follow_links: bool = False) -> list[Candidate]:
    """The ways to read a path on this machine, usually one.

    A folder is read as images, as the one container in it, or as all its containers of one form. It is in doubt when
    images lie beside a container, or when there are containers of several forms.
    """
    if not path.is_dir():
        form = form_of(LocalBlob(path))
        return [Candidate("list" if form == "text" else form)]
    forms: dict[str, list[Path]] = {}
    for file in islice(_files(path, follow_links), SAMPLE_FILES):
        forms.setdefault(_form_or_other(file), []).append(file)
    containers = {form: files for form, files in forms.items() if form not in (*NO_CONTAINER, "image", "compressed")}
    containers = {form: files for form, files in containers.items() if not _is_side_file(form, files, forms)}
    found = [Candidate(form, files[0] if len(files) == 1 else path) for form, files in sorted(containers.items())]
    if "image" in forms or not found:
        found.insert(0, Candidate("folder"))
    return found


def _is_side_file(form: str, files: list[Path], forms: dict[str, list[Path]]) -> bool:
    """Whether these belong to another container: verification sets and masks lie beside training sets."""
    return (form == "bin" and "recordio" in forms) or (
        form == "embeddings" and ("lmdb" in forms or "tfrecord" in forms)
    )


def _form_or_other(file: Path) -> str:
    try:
        return form_of(LocalBlob(file))
    except SourceError:
        return "other"


def _files(folder: Path, follow_links: bool) -> Iterator[Path]:
    """Files of a folder: its own first, then those of the folders in it."""
    for root, folders, names in walk(folder, follow_links=follow_links):
        folders.sort()
        for name in sorted(names):
            file = Path(root) / name
            with contextlib.suppress(OSError):  # the name is too long for the system
                if file.is_file() and (follow_links or not file.is_symlink()):
                    yield file
