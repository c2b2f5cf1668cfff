"""What a file holds, recognised by its first bytes and never by its name."""

from __future__ import annotations

import re
import zipfile

from unveil.images.blob import Blob, LocalBlob
from unveil.images.decode import is_image
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

HEAD = 1024
_NETPBM = re.compile(rb"P[1-6]\s+(?:#|\d+\s+\d+\s)")
# Forms of files that are no container.
NO_CONTAINER = ("text", "empty", "other", "compressed", "image")


def form_of(blob: Blob) -> str:
    """The form of one file: one of those of `unveil.images.location`, or image, text, compressed, empty or other."""
    head = blob.read(0, HEAD)
    if not head:
        return "empty"
    for form, matches in (
        # An image to every viewer, whatever else its bytes may be. The name of a file in a tar may begin with P5 1.
        ("image", is_image(head) and (head[:1] != b"P" or _NETPBM.match(head) is not None)),
        ("recordio", head.startswith(MAGIC_BYTES)),
        ("lmdb", is_lmdb(head)),
        ("hdf5", head.startswith(HDF5)),
        ("embeddings", head.startswith(NPY)),
        ("arrow", head.startswith(ARROW) or head.startswith(b"\xff\xff\xff\xff")),
        ("tfrecord", begins_record(head)),
        ("tar", is_tar(head)),
        ("bin", head[:1] == b"\x80" and head[1:2] in (b"\2", b"\3", b"\4", b"\5")),
        ("compressed", compression_of(head) is not None),
        ("image", is_image(head)),
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


def _is_zip(blob: Blob) -> bool:
    try:
        return zipfile.is_zipfile(blob.open())
    except zipfile.BadZipFile:
        return False


def described(blob: Blob) -> str:
    """What a file holds that is no container, and what to do, as the end of an error: `an empty file. Get it again`."""
    head = blob.read(0, HEAD)
    form = form_of(blob)
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer. Run `git lfs pull` in its folder"
    if b"/annex/objects/" in head[:HEAD]:
        return "a git-annex pointer. Run `git annex get` in its folder"
    if form == "empty":
        return "an empty file. Get it again, or remove it"
    if not head.strip(b"\0"):
        return "zeros. Get it again, or remove it"
    if head.lstrip()[:9].lower().startswith((b"<!doctype", b"<html")):
        return "a web page. Get the file again: its server answered with a page"
    if form == "image":
        return "an image. Give it the name of one, or remove it"
    if form == "compressed":
        return "a compressed file that is no tar. Unpack it, or remove it"
    return f"bytes that begin with {head[:8]!r}. Get it again, or remove it"
