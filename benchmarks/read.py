"""Reading every container, beside a folder of the same images and the library that would otherwise read it.

    python benchmarks/read.py [--images 10000] [--mxnet PYTHON]

Prints images a second of processor time, which other work on the machine changes little: opened and every image read by
its key, and the same until its pixels are there. Medians of repetitions taken in turn. RecordIO's peer is mxnet 1.9.1,
which needs a Python of its own (numpy 1.23): --mxnet.
"""

from __future__ import annotations

import argparse
import json
import pickle
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.builders import drawn_faces, encoded
from tests.containers import WRITERS, Item
from unveil.images import decode_rgb, open_source
from unveil.io.host import cores, processor

DIFFERENT = 1000  # images that are drawn; the set repeats them
QUALITY = 90

MXNET = """
import sys, time, mxnet
start = time.process_time()
record = mxnet.recordio.MXIndexedRecordIO(sys.argv[1][:-3] + "idx", sys.argv[1], "r")
n = sum(len(mxnet.recordio.unpack(record.read_idx(key))[1]) > 0 for key in record.keys)
print(n / (time.process_time() - start))
"""


def of_zipfile(path: Path) -> int:
    with zipfile.ZipFile(path) as archive:
        return sum(len(archive.read(name)) > 0 for name in archive.namelist())


def of_tarfile(path: Path) -> int:
    n = 0
    with tarfile.open(path) as archive:
        for member in archive:
            file = archive.extractfile(member)
            n += file is not None and len(file.read()) > 0
    return n


def of_webdataset(path: Path) -> int:
    import webdataset

    return sum(len(sample["png"]) > 0 for sample in webdataset.WebDataset(str(path), shardshuffle=False))


def of_lmdb(path: Path) -> int:
    import lmdb
    import msgpack

    with lmdb.open(str(path), readonly=True, lock=False, subdir=path.is_dir()) as env, env.begin() as txn:
        keys = [k for k in txn.cursor().iternext(values=False) if not k.startswith(b"_") and k != b"length"]
        if path.is_dir():
            return sum(txn.get(key) is not None for key in keys if key.startswith(b"256"))
        return sum(len(msgpack.loads(txn.get(key))[0]) > 0 for key in keys)


def of_parquet(path: Path) -> int:
    import pyarrow.parquet as pq

    return sum(len(row["bytes"]) > 0 for b in pq.ParquetFile(path).iter_batches(512) for row in b["image"].to_pylist())


def of_arrow(path: Path) -> int:
    import pyarrow as pa

    with pa.memory_map(str(path)) as source:
        return sum(len(data) > 0 for batch in pa.ipc.open_stream(source) for data in batch["jpg"].to_pylist())


def of_h5py(path: Path) -> int:
    import h5py

    with h5py.File(path) as file:
        rows = file["images"] if "images" in file else file["train/images"]
        return sum(len(row) > 0 for row in rows)


def of_pickle(path: Path) -> int:
    with path.open("rb") as file:
        return sum(len(item) > 0 for item in pickle.load(file)[0])  # noqa: S301


PEERS: dict[str, tuple[str, Callable[[Path], int]]] = {
    "zip": ("zipfile", of_zipfile),
    "StyleGAN zip": ("zipfile", of_zipfile),
    "tar": ("tarfile", of_tarfile),
    "compressed tar": ("tarfile", of_tarfile),
    "WebDataset": ("webdataset", of_webdataset),
    "LMDB, msgpack": ("lmdb", of_lmdb),
    "LMDB, plain": ("lmdb", of_lmdb),
    "Parquet": ("pyarrow", of_parquet),
    "Arrow": ("pyarrow", of_arrow),
    "HDF5, raw": ("h5py", of_h5py),
    "HDF5, encoded": ("h5py", of_h5py),
    "verification set": ("pickle", of_pickle),
}
OF_MXNET = ("RecordIO", "InsightFace", "DCFace")


def read_all(path: Path) -> int:
    source = open_source(path)
    return sum(len(source.read(record)) > 0 for record in source.records)


def decode_all(path: Path) -> int:
    source = open_source(path)
    return sum(len(decode_rgb(source.read(record))) > 0 for record in source.records)


def rate(work: Callable[[Path], int], path: Path) -> float:
    start = time.process_time()
    n = work(path)
    return n / (time.process_time() - start)


def by_mxnet(python: str, path: Path) -> float:
    file = path if path.is_file() else next(path.rglob("*.rec"))
    done = subprocess.run([python, "-c", MXNET, str(file)], capture_output=True, text=True, check=True)  # noqa: S603
    return float(done.stdout)


def written(n: int, folder: Path) -> dict[str, Path]:
    faces = drawn_faces(min(n, DIFFERENT))
    data = [encoded(face, "JPEG", quality=QUALITY) for face in faces]
    items: Sequence[Item] = [Item(i, i // 10, data[i % len(data)], faces[i % len(data)]) for i in range(n)]
    paths = {}
    for name, write in WRITERS.items():
        to = folder / name.replace(" ", "-").replace(",", "")
        to.mkdir()
        paths[name] = write(to, items)
    return paths


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--mxnet", metavar="PYTHON", help="a Python with mxnet 1.9.1")
    parser.add_argument("--json", type=Path, help="also write the medians there")
    args = parser.parse_args()
    print(f"{processor()}, {cores()} cores; {args.images} JPEG images of 96 pixels, quality {QUALITY}; one thread,")
    print(f"files in the page cache; medians of {args.repetitions}, taken in turn\n")
    with tempfile.TemporaryDirectory() as folder:
        paths = written(args.images, Path(folder))
        read: dict[str, list[float]] = {name: [] for name in paths}
        pixels: dict[str, list[float]] = {name: [] for name in paths}
        peers: dict[str, list[float]] = {name: [] for name in paths}
        for _ in range(args.repetitions):
            for name, path in paths.items():
                read[name].append(rate(read_all, path))
                pixels[name].append(rate(decode_all, path))
                if name in PEERS and name != "WebDataset":
                    peers[name].append(rate(PEERS[name][1], path))
                elif name == "WebDataset":
                    peers[name].append(rate(of_webdataset, path))
                elif name in OF_MXNET and args.mxnet:
                    peers[name].append(by_mxnet(args.mxnet, path))
    print(
        "| container | opened and read /CPU s | x folder | to pixels /CPU s | x folder | peer | peer /CPU s | x peer |"
    )
    print("|---|---|---|---|---|---|---|---|")
    medians = {name: (statistics.median(read[name]), statistics.median(pixels[name])) for name in paths}
    base = medians["folder"]
    for name, (fast, whole) in medians.items():
        peer = "mxnet" if name in OF_MXNET else PEERS.get(name, ("",))[0]
        other = statistics.median(peers[name]) if peers[name] else None
        print(
            f"| {name} | {fast:,.0f} | {fast / base[0]:.2f} | {whole:,.0f} | {whole / base[1]:.2f} | "
            + (f"{peer} | {other:,.0f} | {fast / other:.2f} |" if other else " | | |")
        )
    if args.json:
        args.json.write_text(json.dumps(medians))


if __name__ == "__main__":
    main()
