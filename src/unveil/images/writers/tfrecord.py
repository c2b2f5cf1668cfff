"""A TFRecord file, written without some of its records."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np

from unveil.images.readers import tfrecord
from unveil.io.npy import parse_npy

# A length with its checksum before the data, and a checksum behind.
BEFORE, AROUND = 12, 16


def write_tfrecord(source: tfrecord.TFRecordSource, out: Path, removed: Collection[str]) -> None:
    """The other records as they were; StyleGAN's file of labels without the rows of the removed images."""
    blob = source.blob
    stay = [record.id not in removed for record in source.records]
    with (out / blob.name).open("wb") as file:
        for k, record in enumerate(source.records):
            at, length = (int(v) for v in record.key.split())
            # A record that is too long to be read is not copied.
            stay[k] = stay[k] and length <= tfrecord.MAX_RECORD
            if stay[k]:
                file.write(blob.read_exactly(at - BEFORE, length + AROUND, tfrecord.MAX_RECORD + AROUND))
    stem, _, resolution = blob.name.removesuffix(".tfrecords").rpartition("-r")
    labels = blob.sibling(f"{stem}-rxx.labels") if resolution.isdecimal() else None
    if labels is not None:
        rows = parse_npy(labels.read_all(tfrecord.MAX_LABELS))
        with (out / labels.name).open("wb") as file:
            np.save(file, rows[: len(stay)][np.array(stay)], allow_pickle=False)
