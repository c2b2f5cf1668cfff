"""RecordIO fixtures by mxnet's own writer, once: Python 3.11 with `pip install mxnet==1.9.1 numpy==1.23.5`, no unveil.

Writes beside tests/fixtures/pictures: InsightFace's `train.rec`, one in `im2rec`'s way without a header, DCFace's, and
one of a picture that holds the magic number, which the writer cuts.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import mxnet as mx

FIXTURES = Path(__file__).parents[1] / "tests/fixtures"
MAGIC = struct.pack("<I", 0xCED7230A)


def images() -> list[tuple[int, str, bytes]]:
    files = sorted((FIXTURES / "pictures").rglob("*.jpg"), key=lambda f: int(f.stem))
    return [(int(f.parent.name), f"{f.parent.name}/{f.name}", f.read_bytes()) for f in files]


def write(folder: Path, name: str, records: Sequence[tuple[int, bytes]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    writer = mx.recordio.MXIndexedRecordIO(str(folder / f"{name}.idx"), str(folder / f"{name}.rec"), "w")
    for key, payload in records:
        writer.write_idx(key, payload)
    writer.close()


def pack(label: object, key: int, data: bytes, flag: int = 0) -> bytes:
    packed: bytes = mx.recordio.pack(mx.recordio.IRHeader(flag, label, key, 0), data)
    return packed


def insightface(items: list[tuple[int, str, bytes]]) -> None:
    n = len(items) + 1
    people = sorted({person for person, _, _ in items})
    records = [(0, pack([float(n), float(n + len(people))], 0, b"", 1))]
    records += [(k + 1, pack([float(person), 1.0], k + 1, data)) for k, (person, _, data) in enumerate(items)]
    for i, person in enumerate(people):
        own = [k + 1 for k, item in enumerate(items) if item[0] == person]
        records.append((n + i, pack([float(own[0]), float(own[-1] + 1)], n + i, b"", 1)))
    write(FIXTURES / "insightface", "train", records)
    (FIXTURES / "insightface/property").write_text(f"{len(people)},96,96")


def with_magic(data: bytes) -> bytes:
    """A JPEG with a comment of magic numbers, at multiples of four behind its record's header."""
    comment = b"\0" * ((4 - (24 + 6) % 4) % 4) + MAGIC * 3 + b"end"
    return data[:2] + b"\xff\xfe" + struct.pack(">H", len(comment) + 2) + comment + data[2:]


def main() -> None:
    items = images()
    insightface(items)
    write(FIXTURES / "im2rec", "plain", [(k, pack(float(p), k, data)) for k, (p, _, data) in enumerate(items)])
    write(FIXTURES / "dcface/record", "file", [(k, pack(0.0, k, data)) for k, (_, _, data) in enumerate(items)])
    lines = [f"{k}\t{path}\t0\n" for k, (_, path, _) in enumerate(items)]
    (FIXTURES / "dcface/record/list.txt").write_text("".join(lines))
    write(FIXTURES / "parts", "cut", [(k, pack(float(p), k, with_magic(d))) for k, (p, _, d) in enumerate(items[:2])])


if __name__ == "__main__":
    main()
