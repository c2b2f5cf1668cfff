"""What the fuzzer feeds: one target a reader.

A finding is anything but a record, a reject or a SourceError: another exception, a crash, a hang, memory without bound.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from unveil.errors import ImageError, SettingError, SourceError
from unveil.images import LabelRule, decode_rgb, open_source, write_without
from unveil.images.labels import STYLEGAN_LABELS, stylegan_labels

# In memory, where there is a place for that: every input is written.
MEMORY = "/dev/shm"  # noqa: S108
FOLDER = Path(tempfile.mkdtemp(dir=MEMORY if os.access(MEMORY, os.W_OK) else None))
MOST_READ = 8
# Between the files of targets that need several.
SEPARATOR = b"\n--beside--\n"


def read_some(place: str, rule: str = "auto") -> None:
    try:
        source = open_source(place, LabelRule.parse(rule))
    except (SourceError, SettingError):
        return
    for record in source.records[:MOST_READ]:
        with contextlib.suppress(ImageError):
            source.read(record)


def of_form(form: str, name: str, *beside: str, options: str = "") -> Callable[[bytes], None]:
    """A target for a form whose reader also reads the files ``beside``; the ``options`` count when there are any."""
    folder = FOLDER / form

    def target(data: bytes) -> None:
        folder.mkdir(exist_ok=True)
        parts = data.split(SEPARATOR, len(beside))
        (folder / name).write_bytes(parts[0])
        for k, other in enumerate(beside, 1):
            if k < len(parts) and parts[k]:
                (folder / other).write_bytes(parts[k])
            else:
                (folder / other).unlink(missing_ok=True)
        read_some(f"{form}{options if len(parts) > 1 else ''}:{folder / name}")

    return target


def recognised(data: bytes) -> None:
    """Without a form: whatever the first bytes say."""
    (FOLDER / "thing").write_bytes(data)
    read_some(str(FOLDER / "thing"))


def copied(data: bytes) -> None:
    """Copies of the container without its first image: in its own form and as a folder."""
    (FOLDER / "thing").write_bytes(data)
    for as_folder in (False, True):
        shutil.rmtree(FOLDER / "copy", ignore_errors=True)
        with contextlib.suppress(SourceError, SettingError):
            source = open_source(FOLDER / "thing")
            write_without(source, FOLDER / "copy", {source.records[0].id}, as_folder=as_folder)


def image(data: bytes) -> None:
    try:
        decode_rgb(data)
    except ImageError:
        return


def listed(data: bytes) -> None:
    stylegan_labels(data, STYLEGAN_LABELS)
    (FOLDER / "list.txt").write_bytes(data)
    read_some(f"list:{FOLDER / 'list.txt'}")


def sheets(data: bytes) -> None:
    (FOLDER / "sheets").mkdir(exist_ok=True)
    (FOLDER / "sheets/1.png").write_bytes(data)
    read_some(f"grid,cell=24:{FOLDER / 'sheets'}")


TARGETS: dict[str, Callable[[bytes], None]] = {
    "recordio": of_form("recordio", "train.rec", "train.idx", "train.tsv"),
    "bin": of_form("bin", "lfw.bin"),
    "tfrecord": of_form("tfrecord", "x-r06.tfrecords", "x-rxx.labels"),
    "lmdb": of_form("lmdb", "data.mdb", "mask.npy", options=",mask=mask.npy"),
    "tar": of_form("tar", "x.tar"),
    "zip": of_form("zip", "x.zip"),
    "parquet": of_form("parquet", "x.parquet"),
    "arrow": of_form("arrow", "x.arrow"),
    "hdf5": of_form("hdf5", "x.h5"),
    "embeddings": of_form("embeddings", "x.npz", "x.labels.npy"),
    "grid": sheets,
    "list": listed,
    "image": image,
    "recognised": recognised,
    "copied": copied,
}
