"""The seeds of the fuzzer: small containers of drawn faces. `python -m tests.fuzz.corpus FOLDER`."""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.builders import encoded
from tests.containers import WRITERS, Item, drawn_items, grid
from tests.fuzz.targets import SEPARATOR
from unveil.images.decode import FORMATS

# Which target each container is a seed of; the files beside it go behind it.
SEEDS = {
    "zip": ("zip", "StyleGAN zip"),
    "tar": ("tar", "compressed tar", "WebDataset"),
    "recordio": ("RecordIO", "InsightFace"),
    "bin": ("verification set",),
    "tfrecord": ("TFRecord",),
    "lmdb": ("LMDB, msgpack", "LMDB, plain"),
    "parquet": ("Parquet",),
    "arrow": ("Arrow",),
    "hdf5": ("HDF5, raw", "HDF5, encoded"),
}


def small_items(n: int = 4) -> list[Item]:
    """Pictures of 24 pixels: a fuzzer wants small files."""
    return [
        Item(i.number, i.person, encoded(i.pixels[::4, ::4], "JPEG", quality=60), i.pixels[::4, ::4])
        for i in drawn_items(n, each=2)
    ]


def npy(array: npt.NDArray[Any]) -> bytes:
    """An array as the bytes of a `.npy` file."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def make(to: Path) -> None:
    items = small_items()
    for target, containers in SEEDS.items():
        (to / target).mkdir(parents=True, exist_ok=True)
        for name in containers:
            with tempfile.TemporaryDirectory() as folder:
                WRITERS[name](Path(folder), items)
                files = sorted(f for f in Path(folder).rglob("*") if f.is_file() and "lock" not in f.name)
                first = [f for f in files if f.suffix not in (".idx", ".labels", "") or f.name == "data.mdb"][-1]
                beside = [f for f in files if f.suffix in (".idx", ".labels")]
                data = first.read_bytes() + (SEPARATOR + beside[0].read_bytes() if beside else b"")
                (to / target / name.replace(" ", "_").replace(",", "")).write_bytes(data)
    with tempfile.TemporaryDirectory() as folder:
        for target in ("embeddings", "grid", "list", "image", "recognised", "copied"):
            (to / target).mkdir(parents=True, exist_ok=True)
        (to / "lmdb/masked").write_bytes(
            SEPARATOR.join([(to / "lmdb/LMDB_msgpack").read_bytes(), npy(np.array([0, 2]))])
        )
        (to / "recordio/listed").write_bytes(
            SEPARATOR.join([(to / "recordio/RecordIO").read_bytes(), b"0\ta/0.jpg\t7\n1\ta/1.jpg\t7\n2\tb/2.jpg\t8\n"])
        )
        (to / "embeddings/labelled").write_bytes(
            SEPARATOR.join([npy(np.eye(3, dtype=np.float32)), npy(np.array(["a", "a", "b"]))])
        )
        np.savez(to / "embeddings/a", vectors=np.eye(4, dtype=np.float32), ids=["a", "b", "c", "d"], model_id="m")
        np.save(to / "embeddings/b", np.eye(4, dtype=np.float32))
        sheets = grid(Path(folder), items)
        (to / "grid/sheet").write_bytes(next(iter(sorted(sheets.iterdir()))).read_bytes())
    (to / "list/lines").write_text("a/1.png 1\nb/2.png 2\n")
    (to / "list/json").write_text('{"labels": [["00000/img00000000.png", 6], ["b.png", [0, 1]]]}')
    for form in ("JPEG", "PNG", "WEBP", "BMP", "PPM", "TIFF", "GIF", *(["AVIF"] if "AVIF" in FORMATS else [])):
        (to / f"image/{form}").write_bytes(encoded(items[0].pixels, form))
    for target in SEEDS:
        for seed in (to / target).iterdir():
            for target_of_all in ("recognised", "copied"):
                (to / target_of_all / seed.name).write_bytes(seed.read_bytes())


if __name__ == "__main__":
    make(Path(sys.argv[1]))
