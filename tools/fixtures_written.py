"""Container fixtures by the libraries that write them, once: `pip install datasets lmdb msgpack webdataset h5py`.

Writes beside tests/fixtures/pictures: Hugging Face's Parquet and `save_to_disk`, both LMDB dialects, WebDataset shards,
HDF5, raw and encoded.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import datasets
import h5py
import lmdb
import msgpack
import numpy as np
import webdataset
from PIL import Image

FIXTURES = Path(__file__).parents[1] / "tests/fixtures"


def images() -> list[tuple[int, Path]]:
    files = sorted((FIXTURES / "pictures").rglob("*.jpg"), key=lambda f: int(f.stem))
    return [(int(f.parent.name), f) for f in files]


def fresh(name: str) -> Path:
    folder = FIXTURES / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def hugging_face(items: list[tuple[int, Path]]) -> None:
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["ada", "bo", "cy", "di"])}
    )
    images = [{"bytes": file.read_bytes(), "path": file.name} for _, file in items]
    table = datasets.Dataset.from_dict({"image": images, "label": [person for person, _ in items]}, features)
    table.to_parquet(str(fresh("huggingface") / "train-00000-of-00001.parquet"))
    shutil.rmtree(FIXTURES / "saved", ignore_errors=True)
    datasets.load_dataset("parquet", data_files=str(FIXTURES / "huggingface/*.parquet"), split="train").save_to_disk(
        str(FIXTURES / "saved")
    )


def lightning(items: list[tuple[int, Path]]) -> None:
    with (
        lmdb.open(str(fresh("lmdb") / "hsface.lmdb"), subdir=False, map_size=2**24) as env,
        env.begin(write=True) as txn,
    ):
        for k, (person, file) in enumerate(items):
            txn.put(str(k).encode(), msgpack.dumps((file.read_bytes(), person)))
        txn.put(b"__keys__", msgpack.dumps([str(k).encode() for k in range(len(items))]))
        txn.put(b"__len__", msgpack.dumps(len(items)))
        txn.put(b"__classnum__", msgpack.dumps(4))
    with lmdb.open(str(FIXTURES / "lmdb/rosinality"), map_size=2**24) as env, env.begin(write=True) as txn:
        for k, (_, file) in enumerate(items):
            txn.put(f"96-{k:05d}".encode(), file.read_bytes())
        txn.put(b"length", str(len(items)).encode())
    for lock in (FIXTURES / "lmdb").rglob("*lock*"):
        lock.unlink()


def shards(items: list[tuple[int, Path]]) -> None:
    folder = fresh("webdataset")
    for n in range(2):
        with webdataset.TarWriter(str(folder / f"faces-{n:03d}.tar")) as writer:
            for person, file in items[n * 6 : n * 6 + 6]:
                writer.write({"__key__": f"{int(file.stem):06d}", "jpg": file.read_bytes(), "cls": person})


def hdf5(items: list[tuple[int, Path]]) -> None:
    folder = fresh("hdf5")
    with h5py.File(folder / "raw.h5", "w") as file:
        pixels = np.stack([np.asarray(Image.open(path)) for _, path in items])
        file.create_dataset("images", data=pixels, chunks=(5, 96, 96, 3), compression="gzip", shuffle=True)
        file["labels"] = [person for person, _ in items]
    with h5py.File(folder / "encoded.h5", "w", libver="latest") as file:
        rows = file.create_dataset("train/images", (len(items),), dtype=h5py.vlen_dtype(np.uint8))
        for k, (_, path) in enumerate(items):
            rows[k] = np.frombuffer(path.read_bytes(), np.uint8)
        file["train/label"] = [str(person) for person, _ in items]


def main() -> None:
    items = images()
    hugging_face(items)
    lightning(items)
    shards(items)
    hdf5(items)


if __name__ == "__main__":
    main()
