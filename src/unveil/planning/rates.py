"""A short measurement of this machine: images and pairs per second and core."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from unveil.compare import compare_all, open_backend
from unveil.embedding.pipeline import ImagePreprocessor, embed_partitions, open_stores, split_records
from unveil.errors import ImageError
from unveil.images import Source
from unveil.io.host import cores
from unveil.io.storage import open_storage
from unveil.types import ImageRecord

# Images that are embedded for the measurement, after some that only warm up; the sets that are compared.
SAMPLE, WARM = 192, 32
MEASURED = SAMPLE + WARM
QUERIES, GALLERY = 8_192, 32_768


@dataclass(frozen=True)
class Sample:
    """What is measured: images of ``source``, embedded by ``preprocessor``; vectors, compared by ``backend``."""

    source: Source
    preprocessor: ImagePreprocessor
    backend: str
    description: str


@dataclass(frozen=True)
class Rates:
    """What one core of this machine does in a second while all cores work."""

    images: float
    image_bytes: float  # of an average image file
    pairs: Mapping[str, float]  # by channel
    seconds: float  # duration of the measurement
    images_from: str  # which images were embedded


def measure(sample: Sample) -> Rates:
    """Embeds some images of a sample, and compares random vectors of the dimension of every channel."""
    source, preprocessor = sample.source, sample.preprocessor
    begun = time.perf_counter()
    some = [source.records[i] for i in np.linspace(0, len(source.records) - 1, SAMPLE + WARM).astype(int)]
    sizes = []
    for record in some[:WARM]:
        with suppress(ImageError):
            sizes.append(len(source.read(record)))
    with tempfile.TemporaryDirectory() as folder:
        embed = partial(_embed, source, preprocessor, Path(folder))
        embed(some[:WARM])
        start = time.perf_counter()
        embed(some[WARM:])
        images = SAMPLE / (time.perf_counter() - start) / cores()
    rng = np.random.default_rng(0)
    pairs = {}
    for channel in preprocessor.channels:
        sets = [rng.normal(size=(n, channel.dimension)).astype(np.float32) for n in (QUERIES, GALLERY)]
        queries, gallery = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in sets)
        start = time.perf_counter()
        compare_all(
            queries, gallery, top_k=10, top_pairs=1000, moments=False, backend=open_backend(sample.backend, cores())
        )
        pairs[channel.name] = QUERIES * GALLERY / (time.perf_counter() - start) / cores()
    mean = float(np.mean(sizes)) if sizes else 0.0
    return Rates(images, mean, pairs, time.perf_counter() - begun, sample.description)


def _embed(source: Source, preprocessor: ImagePreprocessor, folder: Path, records: list[ImageRecord]) -> None:
    stores = open_stores(open_storage(folder), preprocessor)
    list(embed_partitions(source, split_records(records, len(records)), preprocessor, stores, cores()))
