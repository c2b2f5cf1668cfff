"""Nothing in a container is passed over silently: what may be images is an error, and the rest is named in a note."""

from __future__ import annotations

import base64
import io
import os
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import msgpack
import numpy as np
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.builders import encoded, write
from tests.containers import Item, example, message, varint, write_lmdb, write_tfrecords
from unveil.errors import ImageError, SourceError
from unveil.images import decode_rgb, open_source
from unveil.images.blob import LocalBlob
from unveil.images.image_like import MAX_OPAQUE, MAX_VECTOR, image_within, may_be_image, may_be_pixels, shows_image
from unveil.images.readers.arrow import BLOCK, _listed

N = 24
NOISE = np.random.default_rng(0).integers(0, 256, (48, 40, 3), np.uint8)
OPAQUE = NOISE.tobytes()[: MAX_OPAQUE // 8]


def encoded_as(form: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(NOISE).save(buffer, form)
    return buffer.getvalue()


# Formats, and whether their signature is found within other bytes too.
FORMATS = {"JPEG": True, "PNG": True, "GIF": True, "WEBP": True, "JPEG2000": True, "BMP": False, "PPM": False}
FORMATS |= {"TIFF": False}
TEXTS: dict[str, Callable[[bytes], bytes]] = {
    "base64": base64.b64encode,
    "base64 for addresses": base64.urlsafe_b64encode,
    "base64 in lines": base64.encodebytes,
    "data address": lambda data: b"data:image/png;base64," + base64.b64encode(data),
}
TEXTS_WITHIN: dict[str, Callable[[bytes], bytes]] = {
    "JSON": lambda data: b'{"a": "' + base64.b64encode(data) + b'"}',
    "hexadecimal digits": lambda data: data.hex().encode(),
    "capital digits": lambda data: data.hex().upper().encode(),
    "bytes of Python": lambda data: repr(data).encode(),
    "Latin-1": lambda data: data.decode("latin-1").encode(),
}


class TestSignatures:
    @pytest.mark.parametrize("form", FORMATS)
    def test_an_image_is_seen_in_every_form(self, form: str) -> None:
        data = encoded_as(form)
        assert shows_image(data) and may_be_image([{"x": data}])
        for name, text in TEXTS.items():
            assert shows_image(text(data)), name
        if FORMATS[form]:
            assert image_within(b"xx" + data)
        if form in ("JPEG", "PNG"):
            for name, text in TEXTS_WITHIN.items():
                assert image_within(text(data)), name

    def test_a_jpeg_of_a_camera_is_seen_too(self) -> None:
        buffer = io.BytesIO()
        exif = Image.Exif()
        exif[0x010E] = "x" * 9000
        Image.fromarray(NOISE).save(buffer, "JPEG", exif=exif)
        data = buffer.getvalue()
        bare = data[:2] + data[4 + int.from_bytes(data[4:6], "big") :]
        comment = data[:2] + b"\xff\xfe\x20\x02" + b"y" * 0x2000 + data[2:]
        assert all(map(shows_image, (data, base64.b64encode(data), bare, comment)))

    def test_other_bytes_and_texts_are_none(self) -> None:
        data = os.urandom(4_000_000)
        for other in (data, base64.b64encode(data), data.hex().encode()):
            assert not image_within(other)
        for text in (b"", b"\xff\xd8\xff", b"\xff\xd8\xff\xe0", b"P5 is a postcode", b"MM", b"II", b"BMW", b"/9j/a/b"):
            assert not shows_image(text)


@pytest.mark.parametrize(
    ("shape", "floats", "expected"),
    [
        ((512,), True, False),
        ((MAX_VECTOR,), True, False),
        ((MAX_VECTOR + 1,), True, True),
        ((18, 512), True, False),  # latent vectors of StyleGAN2
        ((478, 3), True, False),  # points of a mesh
        ((4, 64, 64), True, True),
        ((112, 112, 3), True, True),
        ((3, 32, 32), True, True),
        ((2, 70_000), True, True),
        ((40,), False, False),
        ((512,), False, False),
        ((1024,), False, True),
        ((16, 16), False, True),
        ((5, 2), False, False),
        ((), False, False),
    ],
)
def test_which_numbers_may_be_an_image(shape: tuple[int, ...], floats: bool, expected: bool) -> None:
    assert may_be_pixels(shape, np.dtype(np.float32) if floats else None) is expected


# What honest sets have beside their images.
HONEST: dict[str, Any] = {
    "caption": ["a person, smiling"] * N,
    "embedding": pa.array([[0.5] * 512] * N, pa.list_(pa.float32())),
    "latent": pa.array([[[0.5] * 512] * 18] * N, pa.list_(pa.list_(pa.float32()))),
    "landmarks": pa.array([[[1.0, 2.0]] * 68] * N, pa.list_(pa.list_(pa.float64(), 2))),
    "box": pa.array([[1, 2, 3, 4]] * N, pa.list_(pa.int64())),
    "md5": [os.urandom(16) for _ in range(N)],
    "packed": [OPAQUE] * N,
    "width": [96] * N,
    "points": [[{"x": 0.5, "y": 1.5, "name": "eye"}] * 200] * N,
    "tags": [["a face", "smiling"] * 20] * N,
    "vector as text": [" ".join(["0.123456"] * 512)] * N,
    "numbers as text": [" ".join(["123"] * 512)] * N,
    "boxes as views": pa.array(["10 20 30 40 " * 170] * N, pa.string_view()),
    "day": pa.array([1] * N, pa.timestamp("s")),
    "exif": [{"camera": "x", "iso": 100, "tags": ["a", "b"]}] * N,
    "none": pa.nulls(N),
    "split": pa.array(["train"] * N).dictionary_encode(),
}


def rows(data: bytes) -> dict[str, Any]:
    """Columns that hold an image in the last row alone."""
    few: list[list[Any]] = [[]] * (N - 1)
    pixels = np.zeros((48, 40, 3), np.uint8)
    flat = pixels.ravel().tolist()
    tensor = pa.ExtensionArray.from_storage(
        pa.fixed_shape_tensor(pa.uint8(), (48, 40, 3)), pa.array([flat] * N, pa.list_(pa.uint8(), len(flat)))
    )
    return {
        "bytes": [b"x"] * (N - 1) + [data],
        "behind other bytes": [b"x"] * (N - 1) + [b"garbage" + data],
        "struct": [{"a": 1, "b": {"c": b""}}] * (N - 1) + [{"a": 1, "b": {"c": data}}],
        "list": [*few, [b"", data]],
        "list of structs": [*few, [{"bytes": data, "path": "a"}]],
        "path": [{"bytes": b"", "path": "a.png"}] * (N - 1) + [{"bytes": None, "path": "b.png"}],
        "map": pa.array([*few, [("a", data)]], pa.map_(pa.string(), pa.binary())),
        "fixed": pa.array([data] * N, pa.binary(len(data))),
        "base64": ["none"] * (N - 1) + [base64.b64encode(data).decode()],
        "hex": ["none"] * (N - 1) + [data.hex()],
        "address": ["none"] * (N - 1) + ["data:image/png;base64," + base64.b64encode(data).decode()],
        "json": ["{}"] * (N - 1) + ['{"x": "' + base64.b64encode(data).decode() + '"}'],
        "list of texts": [*few, [base64.b64encode(data).decode()]],
        "dictionary": pa.array([b"x"] * (N - 1) + [data]).dictionary_encode(),
        "pixels": pa.array([*few, flat], pa.list_(pa.uint8())),
        "wide pixels": pa.array([*few, flat], pa.large_list(pa.int64())),
        "floats": pa.array([*few, [0.5] * 12_288], pa.list_(pa.float32())),
        "planes": pa.array([*few, pixels.transpose(2, 0, 1).tolist()], pa.list_(pa.list_(pa.list_(pa.uint8())))),
        "grey floats": pa.array([[[0.5] * 48] * 48] * N, pa.list_(pa.list_(pa.float32(), 48), 48)),
        "tensor": tensor,
        "pixels as structs": [*few, [{"r": 1, "g": 2, "b": 3}] * (48 * 40)],
        "pixels by number": pa.array([*few, [(k, 7) for k in range(48 * 40)]], pa.map_(pa.int32(), pa.uint8())),
        "rows as structs": pa.array(
            [*few, [{"row": [0] * 120}] * 48], pa.list_(pa.struct([pa.field("row", pa.list_(pa.uint8()))]))
        ),
        "rows of bytes": [*few, [os.urandom(336)] * 112],
        "numbers as text": ["70 80"] * (N - 1) + [" ".join(map(str, pixels.ravel().tolist()))],
        "numbers as views": pa.array(["70 80"] * (N - 1) + [" ".join(map(str, flat))], pa.string_view()),
        "lists as text": ["[]"] * (N - 1) + [str(pixels[..., 0].tolist())],
        "long bytes": [os.urandom(MAX_OPAQUE + 1)] * N,
        "long text": [" ".join(map(str, range(20_000)))] * N,
    }


def written(path: Path, table: pa.Table) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(table, path, row_group_size=7)
    else:
        with pa.ipc.new_file(str(path), table.schema) as writer:
            writer.write_table(table, max_chunksize=7)
    return path


class TestTables:
    @pytest.mark.parametrize("suffix", ["parquet", "arrow"])
    @pytest.mark.parametrize("name", rows(b"x"))
    def test_an_image_in_the_last_row_of_another_column_is_an_error(
        self, name: str, suffix: str, items: list[Item], tmp_path: Path
    ) -> None:
        column = rows(items[0].data)[name]
        path = written(tmp_path / f"x.{suffix}", pa.table({"image": [i.data for i in items], "other": column}))
        with pytest.raises(SourceError, match=r"may be (in|image or) other.*image=image"):
            open_source(path)
        source = open_source(f"{suffix},image=image:{path}")
        assert [source.read(record) for record in source.records] == [item.data for item in items]
        assert any(note.startswith(("not read: other (", "the images in other are not read")) for note in source.notes)

    @pytest.mark.parametrize("suffix", ["parquet", "arrow"])
    def test_what_honest_sets_have_is_a_note_with_its_type(
        self, suffix: str, items: list[Item], tmp_path: Path
    ) -> None:
        table = pa.table({"image": [i.data for i in items], "label": [i.person for i in items]} | HONEST)
        source = open_source(written(tmp_path / f"x.{suffix}", table))
        (note,) = (note for note in source.notes if note.startswith("not read: "))
        assert "caption (string), embedding (list<element: float>), " in note.replace("item:", "element:")
        assert all(f"{name} (" in note for name in HONEST) and "label (" not in note and "image (" not in note
        assert [r.person for r in source.records] == [str(i.person) for i in items]

    def test_fields_of_the_column_itself_and_labels(self, items: list[Item], tmp_path: Path) -> None:
        structs = [{"bytes": i.data, "path": f"{i.number}.png", "note": "x", "mask": b""} for i in items]
        path = written(tmp_path / "x.parquet", pa.table({"image": structs}))
        assert "not read: image.note (string), image.mask (binary)" in open_source(path).notes
        structs[-1]["mask"] = items[0].data
        with pytest.raises(SourceError, match=r"images may be in image\.mask \(binary\)"):
            open_source(written(path, pa.table({"image": structs})))
        structs[-1] |= {"mask": b"", "path": base64.b64encode(items[0].data).decode()}
        with pytest.raises(SourceError, match=r"images may be in image\.path"):
            open_source(written(path, pa.table({"image": structs})))
        labels = ["a"] * (N - 1) + [base64.b64encode(items[0].data).decode()]
        with pytest.raises(SourceError, match=r"images may be in label \(string\)"):
            open_source(written(path, pa.table({"image": [i.data for i in items], "label": labels})))

    def test_an_image_in_a_thousand_columns_or_in_metadata(self, items: list[Item], tmp_path: Path) -> None:
        images = {"image": [i.data for i in items]}
        pixels = {f"pixel{k}": np.zeros(N, np.uint8) for k in range(32 * 32)}
        with pytest.raises(SourceError, match="images may be in 1024 columns of numbers"):
            open_source(written(tmp_path / "x.parquet", pa.table(images | pixels)))
        field = pa.field("a", pa.int8(), metadata={"mini": items[0].data.hex()})
        structs = pa.StructArray.from_arrays([pa.array([1] * N, pa.int8())], fields=[field])
        with pytest.raises(SourceError, match="images may be in the metadata mini"):
            open_source(written(tmp_path / "x.parquet", pa.table(images | {"structs": structs})))
        table = pa.table(images).replace_schema_metadata({"thumb": base64.b64encode(items[0].data)})
        with pytest.raises(SourceError, match="images may be in the metadata thumb"):
            open_source(written(tmp_path / "x.parquet", table))

    def test_columns_that_take_far_more_than_the_file_are_not_looked_at_for_hours(
        self, items: list[Item], tmp_path: Path
    ) -> None:
        images = {"image": [i.data for i in items]}
        many = {f"hash{k:03d}": [b"hash"] * N for k in range(300)}
        source = open_source(written(tmp_path / "x.parquet", pa.table(images | many)))
        assert any("hash019 (binary) and 280 more" in note for note in source.notes)
        value = pa.DictionaryArray.from_arrays(pa.array([0] * N, pa.int32()), pa.array(["x" * 60_000]))
        repeated = {f"text{k:03d}": value for k in range(300)}
        pq.write_table(pa.table(images | repeated), tmp_path / "y.parquet", compression="zstd", store_schema=False)
        with pytest.raises(SourceError, match=r"images may be in text\d+ \(string\)"):
            open_source(tmp_path / "y.parquet")

    @pytest.mark.parametrize("new", [pa.ipc.new_stream, pa.ipc.new_file])
    def test_batches_behind_the_last_one(self, new: Any, items: list[Item], tmp_path: Path) -> None:
        table = pa.table({"image": [i.data for i in items]})
        with new(str(tmp_path / "x.arrow"), table.schema) as writer:
            writer.write_table(table, max_chunksize=7)
        data = (tmp_path / "x.arrow").read_bytes()
        assert len(open_source(tmp_path / "x.arrow").records) == N
        write(tmp_path / "x.arrow", data + data)
        with pytest.raises(SourceError, match=r"expected nothing behind its last batch, found \d+ bytes"):
            open_source(tmp_path / "x.arrow")

    @pytest.mark.parametrize("listed", [[0, 1, 2], [0, 1], [1, 2], [0, 2], [0, 1, 1]], ids=str)
    def test_batches_that_the_footer_does_not_list_once(
        self, listed: list[int], items: list[Item], tmp_path: Path
    ) -> None:
        path = tmp_path / "x.arrow"
        polars.DataFrame({"image": [i.data for i in items]}).write_ipc(path, record_batch_size=8)
        data = path.read_bytes()
        # The vector of blocks: how many, then each with its place and lengths.
        start = data.index(struct.pack("<Iq", 3, _listed(LocalBlob(path))[0]))
        blocks = [data[start + 4 + BLOCK.size * k :][: BLOCK.size] for k in listed]
        vector = struct.pack("<I", len(listed)) + b"".join(blocks)
        write(path, data[:start] + vector + data[start + len(vector) :])
        if listed == [0, 1, 2]:
            assert len(open_source(path).records) == N
            return
        with pytest.raises(SourceError, match=r"a footer that lists all batches, once each, found \d+ bytes at byte"):
            open_source(path)

    def test_bytes_of_a_batch_that_no_column_holds(self, items: list[Item], tmp_path: Path) -> None:
        path = tmp_path / "x.arrow"
        table = pa.table({"image": [i.data for i in items]})
        with pa.ipc.new_stream(str(path), table.schema) as writer:
            writer.write_table(table)
        data, reader = path.read_bytes(), pa.ipc.MessageReader.open_stream(path)
        schema, batch = reader.read_next_message(), reader.read_next_message()
        body = struct.pack("<q", batch.body.size)
        at = data.index(body, schema.metadata.size)
        end = 8  # of the stream: no further message
        write(
            path, data[:at] + struct.pack("<q", batch.body.size + 640) + data[at + 8 : -end] + bytes(640) + data[-end:]
        )
        with pytest.raises(SourceError, match=r"hold all of their bytes, found 6[4-9][0-9] others, which may be"):
            open_source(path)

    def test_a_table_without_a_column_of_images_names_those_that_it_has(self, tmp_path: Path) -> None:
        path = written(tmp_path / "x.parquet", pa.table({"pixels": [[1, 2]] * N, "caption": ["a"] * N}))
        with pytest.raises(SourceError, match=r"found pixels \(list<.*>\), caption \(string\)\. Write the images"):
            open_source(path)

    def test_images_beside_embeddings(self, items: list[Item], tmp_path: Path) -> None:
        columns = {"vectors": [[0.5] * 8] * N, "person": ["a"] * N, "photo": [[list(i.data)] for i in items]}
        path = written(tmp_path / "x.parquet", pa.table(columns))
        with pytest.raises(SourceError, match=r"images may be in photo .* Use vectors=vectors to read vectors alone"):
            open_source(path)
        source = open_source(f"embeddings,vectors=vectors:{path}")
        assert any(note.startswith("not read: photo (list<") for note in source.notes)


class TestHDF5:
    def other(self, file: h5py.File, name: str, data: bytes) -> None:
        pixels = np.zeros((N, 48, 40, 3), np.uint8)
        if name == "floats":
            file["other"] = pixels / np.float32(255)
        elif name == "four channels":
            file["other"] = np.concatenate([pixels, pixels[..., :1]], 3)
        elif name == "flattened":
            file["other"] = pixels.reshape(N, -1)
        elif name == "flattened floats":
            file["other"] = pixels.reshape(N, -1).astype(np.float64)
        elif name == "one image":
            file["group/other"] = pixels[0].astype(np.float32)
        elif name == "compound":
            file["other"] = np.array([(1, b""), *[(2, data)] * (N - 1)], [("a", "i4"), ("b", f"S{len(data)}")])
        elif name == "opaque":
            file["other"] = np.array([b"", *[data] * (N - 1)], f"V{len(data)}")
        elif name == "fixed texts":
            file["other"] = np.array([b"", *[base64.b64encode(data)] * (N - 1)])
        elif name in ("texts", "last of texts"):
            texts = file.create_dataset("other", (N,), h5py.string_dtype(), chunks=(5,), compression="gzip")
            texts[-1] = base64.b64encode(data)
        elif name == "bytes":
            values = file.create_dataset("other", (N,), h5py.vlen_dtype(np.uint8))
            values[-1] = np.frombuffer(data, np.uint8)
        elif name == "sequences":
            values = file.create_dataset("other", (N,), h5py.vlen_dtype(np.int32))
            values[-1] = np.zeros(3000, np.int32)
        elif name == "scalar":
            file["other"] = base64.b64encode(data).decode()
        elif name == "reference":
            hidden = file.create_dataset(None, data=pixels)
            file["other"] = np.array([hidden.ref] * N, h5py.ref_dtype)
        elif name == "attribute":
            file["image"].attrs["other"] = np.frombuffer(data, np.uint8)
        elif name == "attribute of a group":
            file.create_group("g").attrs["other"] = pixels[0, :32, :32, 0]
        elif name == "compact":
            plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            plan.set_layout(h5py.h5d.COMPACT)
            space = h5py.h5s.create_simple((40, 48))
            h5py.h5d.create(file.id, b"other", h5py.h5t.NATIVE_UINT8, space, plan)
        elif name == "many datasets":
            for k in range(1100):
                file[f"other/{k}"] = np.zeros(N, np.uint8)
        elif name == "array type":
            file["other"] = np.zeros(N, [("a", "u1", (48, 40))])

    @pytest.mark.parametrize(
        "name",
        [
            *("floats", "four channels", "flattened", "flattened floats", "one image", "compound", "opaque"),
            *("fixed texts", "texts", "bytes", "sequences", "scalar", "reference", "attribute"),
            *("attribute of a group", "compact", "array type", "many datasets"),
        ],
    )
    def test_other_images_are_an_error_in_every_form(self, name: str, items: list[Item], tmp_path: Path) -> None:
        with h5py.File(tmp_path / "x.h5", "w") as file:
            file["image"], file["label"] = np.stack([i.pixels for i in items]), [i.person for i in items]
            self.other(file, name, items[0].data)
        with pytest.raises(SourceError, match=r"(may be|is stored).*image=(image|NAME)") as raised:
            open_source(tmp_path / "x.h5")
        assert ("other" in str(raised.value)) or name == "many datasets"
        source = open_source(f"hdf5,image=image:{tmp_path / 'x.h5'}")
        assert len(source.records) == N
        assert any("other" in note for note in source.notes)

    def test_what_honest_sets_have_is_a_note(self, items: list[Item], tmp_path: Path) -> None:
        with h5py.File(tmp_path / "x.h5", "w") as file:
            file["images"], file["label"] = np.stack([i.pixels for i in items]), [i.person for i in items]
            file["embedding"] = np.zeros((N, 512), np.float32)
            file["latent"] = np.zeros((N, 18, 512), np.float32)
            file["landmarks"] = np.zeros((N, 68, 2))
            file["attributes"] = np.zeros((N, 40), np.uint8)
            file["pose"] = np.zeros(N, [("yaw", "f4"), ("pitch", "f4"), ("name", "S20")])
            file["caption"] = ["a person"] * N
            file["points"] = file.create_dataset("p", (N,), h5py.vlen_dtype(np.float32))
            file["refs"] = np.array([file["images"].ref] * N, h5py.ref_dtype)
            file["planned"] = file.create_dataset("unwritten", (N, 64, 64), np.float32)
            file.attrs["title"] = "a set"
            file["images"].attrs["source"] = file["label"].ref
        source = open_source(tmp_path / "x.h5")
        (note,) = (note for note in source.notes if note.startswith("not read: "))
        for part in (
            "embedding (512 float32)",
            "caption (text)",
            "pose (compound)",
            "attributes (2)",
            "refs (reference)",
        ):
            assert part in note
        assert "label (" not in note

    @pytest.mark.parametrize("block", [0, 512])
    def test_bytes_around_the_data(self, block: int, items: list[Item], tmp_path: Path) -> None:
        path = tmp_path / "x.h5"
        with h5py.File(path, "w", userblock_size=block) as file:
            file["image"] = np.stack([i.pixels for i in items])
        plain = path.read_bytes()
        notes = [note for note in open_source(path).notes if note.startswith("not read")]
        assert notes == (["not read: bytes before the data (512)"] if block else [])
        write(path, plain + b"made by us")
        assert any("bytes behind the data (10)" in note for note in open_source(path).notes)
        write(path, plain + items[0].data)
        with pytest.raises(SourceError, match="images may be in bytes behind the data"):
            open_source(path)
        if block:
            write(path, base64.b64encode(items[0].data)[:block] + plain[block:])
            with pytest.raises(SourceError, match="images may be in bytes before the data"):
                open_source(path)

    def test_captions_in_the_heap_of_small_images(self, tmp_path: Path) -> None:
        data = encoded_as("JPEG")
        with h5py.File(tmp_path / "x.h5", "w") as file:
            images = file.create_dataset("images", (N,), h5py.vlen_dtype(np.uint8))
            captions = file.create_dataset("captions", (N,), h5py.string_dtype())
            empty = file.create_dataset("empty", (N,), h5py.string_dtype())
            for k in range(N):
                images[k], captions[k], empty[k] = np.frombuffer(data[:1000], np.uint8), f"person {k}", ""
        source = open_source(tmp_path / "x.h5")
        assert "not read: captions (text), empty (text)" in source.notes
        assert source.read(source.records[5]) == data[:1000]


class TestTFRecord:
    def floats(self, name: bytes, n: int) -> bytes:
        return message(1, message(1, name) + message(2, message(2, message(1, np.zeros(n, "<f4").tobytes()))))

    def values(self, name: bytes, *values: bytes) -> bytes:
        return message(1, message(1, name) + message(2, message(1, b"".join(message(1, v) for v in values))))

    def test_other_images_of_an_example(self, items: list[Item], tmp_path: Path) -> None:
        data = items[0].data
        image = self.values(b"image", data)
        numbers = message(3, message(1, b"".join(varint(7) for _ in range(48 * 40))))
        others = {
            "third value": self.values(b"image", data, b"", data),
            "base64": image + self.values(b"other", base64.b64encode(data)),
            "floats": image + self.floats(b"other", 48 * 48 * 3),
            "many floats": image + self.floats(b"other", 2**17),
            "numbers": image + message(1, message(1, b"other") + message(2, numbers)),
            "raw": image + self.values(b"other", os.urandom(112 * 112 * 3)),
        }
        rows = message(1, image + b"".join(self.values(b"row%d" % k, os.urandom(900)) for k in range(90)))
        columns = message(1, image + b"".join(self.floats(b"x%d" % k, 1) for k in range(1100)))
        for together in (rows, columns):
            with pytest.raises(SourceError, match=r"found image, (90|1100) features together"):
                open_source(write_tfrecords(tmp_path / "x.tfrecord", [together]))
        for name, features in others.items():
            path = write_tfrecords(tmp_path / "x.tfrecord", [message(1, features)])
            with pytest.raises(SourceError, match=r"found image, (other|image\[2\])"):
                open_source(path)
            # In one record alone, it is a reject.
            path = write_tfrecords(tmp_path / "x.tfrecord", [message(1, image)] * 2 + [message(1, features)])
            source = open_source(path)
            assert source.read(source.records[1]) == data, name
            with pytest.raises(ImageError, match="several images in the record"):
                source.read(source.records[2])
            assert open_source(f"tfrecord,image=image:{path}").read(source.records[2]) == data

    def test_images_in_fields_that_are_dropped_are_rejects(self, items: list[Item], tmp_path: Path) -> None:
        data, hidden = items[0].data, items[1].data
        name, of_bytes = message(1, b"image"), message(1, message(1, data))
        image = message(1, message(1, name + message(2, of_bytes)))
        dropped = {
            "unknown in the example": image + message(7, hidden),
            "unknown in the features": image + message(1, message(9, hidden)),
            "unknown in an entry": message(1, message(1, name + message(2, of_bytes) + message(9, hidden))),
            "unknown in a feature": message(1, message(1, name + message(2, of_bytes + message(9, hidden)))),
            "unknown in a list": message(
                1, message(1, name + message(2, message(1, message(1, data) + message(9, hidden))))
            ),
            "another kind": message(
                1, message(1, name + message(2, message(1, message(1, hidden)) + message(3, b"") + of_bytes))
            ),
            "another name": message(1, message(1, message(1, hidden) + name + message(2, of_bytes))),
        }
        for what, record in dropped.items():
            source = open_source(write_tfrecords(tmp_path / "x.tfrecord", [image, record]))
            assert source.read(source.records[0]) == data
            with pytest.raises(ImageError, match=r"expected features alone, found \d+ bytes that"):
                source.read(source.records[1])
                pytest.fail(what)

    def test_numbers_that_are_not_packed_are_read(self, items: list[Item], tmp_path: Path) -> None:
        """Some writers state the field before each number; no room is left for anything else."""
        data = items[0].data
        for n in (3, 64, 500):
            features = {
                b"image": message(1, message(1, data)),
                b"whole": message(3, b"".join(varint(8) + varint(k) for k in range(n))),
                b"floats": message(2, b"".join(varint(13) + np.float32(k).tobytes() for k in range(n))),
            }
            entries = b"".join(message(1, message(1, name) + message(2, value)) for name, value in features.items())
            more = message(1, entries) + message(9, items[1].data)
            source = open_source(write_tfrecords(tmp_path / "x.tfrecord", [message(1, entries), more]))
            assert source.read(source.records[0]) == data
            with pytest.raises(ImageError, match="expected features alone"):
                source.read(source.records[1])

    def test_features_that_are_not_read_are_noted(self, items: list[Item], tmp_path: Path) -> None:
        examples = [
            message(1, self.values(b"image", i.data) + self.values(b"caption", b"x") + self.floats(b"embedding", 512))
            for i in items
        ]
        examples[-1] = message(1, self.values(b"image", items[-1].data) + self.values(b"id", b"7"))
        source = open_source(write_tfrecords(tmp_path / "x.tfrecord", examples))
        assert "not read: caption (bytes), embedding (list of float)" in source.notes
        assert [source.read(record) for record in source.records] == [item.data for item in items]

    def test_a_label_of_thousands_of_classes_is_no_image(self, items: list[Item], tmp_path: Path) -> None:
        one_hot = [[int(k == item.person) for k in range(2000)] for item in items]
        examples = [example({"image": i.data, "label": label}) for i, label in zip(items, one_hot, strict=True)]
        source = open_source(write_tfrecords(tmp_path / "x.tfrecord", examples))
        assert [record.person for record in source.records] == [str(item.person) for item in items]
        assert source.read(source.records[5]) == items[5].data
        examples[0] = example({"image": items[0].data, "label": [7] * 2000})
        with pytest.raises(SourceError, match="found image, label"):
            open_source(write_tfrecords(tmp_path / "x.tfrecord", examples))

    def test_a_large_feature_that_no_earlier_record_has_is_a_reject(
        self, items: list[Item], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("unveil.images.readers.tfrecord.MAX_UNLABELLED", 5)
        examples = [example({"image": item.data}) for item in items]
        examples[-1] = example({"image": items[0].data, "more": OPAQUE})
        source = open_source(write_tfrecords(tmp_path / "x.tfrecord", examples))
        with pytest.raises(ImageError, match=r"found image, more"):
            source.read(source.records[-1])


class TestLMDB:
    @pytest.mark.parametrize("names", [(b"data", "data"), ("data", b"data"), (b"data", b"data"), ("x", "x")], ids=repr)
    def test_a_key_that_a_map_has_twice(
        self, names: tuple[str | bytes, ...], items: list[Item], tmp_path: Path
    ) -> None:
        array = {b"nd": True, b"type": "|u1", b"kind": b"", b"shape": [48, 40, 3]}
        pairs = [*array.items(), *((name, NOISE.tobytes()) for name in names)]
        packer = msgpack.Packer()
        twice = packer.pack_array_header(2) + packer.pack_map_pairs(pairs) + packer.pack(1)
        once = msgpack.packb([{**array, b"data": NOISE.tobytes()}, 1])
        for k in range(2):
            values = {b"%d" % k: once, b"%d" % (1 - k): twice}
            source = open_source(write_lmdb(tmp_path / f"{k}.lmdb", values))
            assert np.array_equal(decode_rgb(source.read(source.records[k])), NOISE)
            with pytest.raises(ImageError, match="a map has a key twice"):
                source.read(source.records[1 - k])

    def test_other_images_of_a_value(self, items: list[Item], tmp_path: Path) -> None:
        data = items[0].data
        array = {b"nd": True, b"type": "|u1", b"kind": b"", b"shape": [48, 40, 3], b"data": NOISE.tobytes()}
        others: list[Any] = [
            data,
            [data],
            {"a": {"b": data}},
            base64.b64encode(data).decode(),
            [0.5] * 5000,
            [7] * 1200,
        ]
        others += [array, msgpack.ExtType(5, data), os.urandom(MAX_OPAQUE + 1)]
        for k, other in enumerate(others):
            first, second = msgpack.dumps((data, other, 1)), msgpack.dumps((data, [0.5] * 512, 1))
            path = write_lmdb(tmp_path / f"{k}.lmdb", {b"0": first, b"1": second}, subdir=False)
            with pytest.raises(SourceError, match=r"several images in the record: .*found 0, 1; say which"):
                open_source(path)
            path = write_lmdb(tmp_path / f"{k}b.lmdb", {b"0": second, b"1": first}, subdir=False)
            source = open_source(path)
            assert "not read: item 1 of the values (list of float)" in source.notes
            assert source.read(source.records[0]) == data
            with pytest.raises(ImageError, match="several images in the record"):
                source.read(source.records[1])
            assert open_source(f"lmdb,image=0:{path}").read(source.records[1]) == data
        more = {b"0": msgpack.dumps((data, 1)), b"1": msgpack.dumps((data, 1, OPAQUE))}
        source = open_source(write_lmdb(tmp_path / "more.lmdb", more, subdir=False))
        with pytest.raises(ImageError, match="several images in the record"):
            source.read(source.records[1])
        fields = {b"0": msgpack.dumps((array | {b"mask": data}, 1))}
        with pytest.raises(SourceError, match="several images in the record"):
            open_source(write_lmdb(tmp_path / "fields.lmdb", fields, subdir=False))

    @pytest.mark.parametrize("key", [b"__meta_info__", b"length"])
    def test_images_under_keys_of_metadata(self, key: bytes, items: list[Item], tmp_path: Path) -> None:
        values = {f"{k}".encode(): item.data for k, item in enumerate(items)}
        for k, hidden in enumerate((items[0].data, b"x" * 100_000)):
            path = write_lmdb(tmp_path / f"{k}.lmdb", values | {key: hidden}, subdir=False)
            with pytest.raises(SourceError, match=rf"in {key.decode()}, found \d+ bytes that may hold images"):
                open_source(path)

    def test_an_image_that_is_stored_small_alone(self, items: list[Item], tmp_path: Path) -> None:
        values = {f"256-{k:05d}".encode(): item.data for k, item in enumerate(items)}
        values |= {f"128-{k:05d}".encode(): encoded(item.pixels[::2, ::2]) for k, item in enumerate(items)}
        del values[b"256-00023"]
        path = write_lmdb(tmp_path / "x.lmdb", values, subdir=False)
        with pytest.raises(SourceError, match=r"expected every image in 256 pixels, found 1 .* such as `128-00023`"):
            open_source(path)


def test_what_lies_behind_or_between_the_pages_of_an_lmdb(items: list[Item], tmp_path: Path) -> None:
    """To other programs, a zip behind the pages is the file."""
    path = write_lmdb(tmp_path / "x.lmdb", {b"%05d" % i.number: i.data for i in items}, subdir=False)
    data = path.read_bytes().rstrip(b"\0")
    data += bytes(-len(data) % 4096)
    assert len(open_source(write(path, data + bytes(2**20))).records) == N
    for more in (items[0].data, bytes(2**25) + b"PK\5\6" + bytes(18)):
        with pytest.raises(SourceError, match=r"expected the end of the LMDB at byte \d+ of \d+, found more bytes"):
            open_source(write(path, data + more))
    assert not any("no key leads" in note for note in open_source(write(path, data)).notes)
    # A last page that is stated too high takes what is behind into the database.
    pages = (len(data) + 2**20) // 4096 - 1
    stated = bytearray(data + items[0].data + bytes(2**20 - len(items[0].data)))
    for at in (0, 4096):
        stated[at + 16 + 24 + 96 : at + 16 + 24 + 104] = pages.to_bytes(8, "little")
    assert any("bytes of pages to which no key leads" in note for note in open_source(write(path, bytes(stated))).notes)


class TestResolutions:
    """Sets that hold each image in several resolutions, of which the highest is read."""

    def lower(self, items: list[Item], others: int) -> list[bytes]:
        small = [encoded(item.pixels[::2, ::2]) for item in items]
        return [*small[len(small) - others :], *small[others:]]

    @pytest.mark.parametrize("others", [0, 4])
    def test_of_lmdb(self, others: int, items: list[Item], tmp_path: Path) -> None:
        values = {f"256-{k:05d}".encode(): item.data for k, item in enumerate(items)}
        values |= {f"128-{k:05d}".encode(): data for k, data in enumerate(self.lower(items, others))}
        source = open_source(write_lmdb(tmp_path / "x.lmdb", values, subdir=False))
        notes = [note for note in source.notes if note.startswith("not read")]
        assert [source.read(record) for record in source.records] == [item.data for item in items]
        expected = "not read: 24 images of 128 pixels, in which 3 of 16 are other images than in 256 pixels"
        assert notes == ([expected] if others else [])

    @pytest.mark.parametrize("others", [0, 4])
    def test_of_tfrecords(self, others: int, items: list[Item], tmp_path: Path) -> None:
        write_tfrecords(tmp_path / "a-r07.tfrecords", [example({"image": item.data}) for item in items])
        lower = [example({"image": data}) for data in self.lower(items, others)]
        write_tfrecords(tmp_path / "a-r06.tfrecords", lower)
        source = open_source(tmp_path)
        notes = [note for note in source.notes if note.startswith("not read")]
        expected = "not read: a-r06.tfrecords, in which 3 of 16 are other images than in a-r07.tfrecords"
        assert len(source.records) == N and notes == ([expected] if others else [])
        for n in (N - 1, N + 1):
            write_tfrecords(tmp_path / "a-r06.tfrecords", (lower * 2)[:n])
            with pytest.raises(SourceError, match=rf"the {N} images of a-r07\.tfrecords in fewer pixels, found {n}\."):
                open_source(tmp_path)

    def test_most_of_which_are_other_images(self, items: list[Item], tmp_path: Path) -> None:
        values = {f"256-{k:05d}".encode(): item.data for k, item in enumerate(items)}
        values |= {f"128-{k:05d}".encode(): data for k, data in enumerate(self.lower(items, 20))}
        with pytest.raises(SourceError, match="expected the images of 256 pixels in fewer pixels, found others"):
            open_source(write_lmdb(tmp_path / "x.lmdb", values, subdir=False))

    @pytest.mark.parametrize("low", ["same size", "animated"])
    def test_names_that_the_images_contradict(self, low: str, items: list[Item], tmp_path: Path) -> None:
        """Persons and images, or parts of a set, are no resolutions: all are read."""
        frames = [Image.fromarray(item.pixels[::2, ::2]) for item in items[:2]]
        buffer = io.BytesIO()
        frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
        others = [item.data if low == "same size" else buffer.getvalue() for item in items[:6]]
        values = {f"{p}-{k}".encode(): items[6 * p + k].data for p in (2, 3) for k in range(6)}
        values |= {f"1-{k}".encode(): data for k, data in enumerate(others)}
        assert len(open_source(write_lmdb(tmp_path / "x.lmdb", values, subdir=False)).records) == 18
        (tmp_path / "t").mkdir()
        write_tfrecords(tmp_path / "t/a-r01.tfrecords", [example({"image": item.data}) for item in items[:6]])
        write_tfrecords(tmp_path / "t/a-r00.tfrecords", [example({"image": data}) for data in others[:5]])
        assert len(open_source(tmp_path / "t").records) == 11


def test_rows_without_an_image_are_rejects(items: list[Item], tmp_path: Path) -> None:
    data = items[0].data
    structs = [{"bytes": data, "path": None}, {"bytes": b"", "path": None}, None, {"bytes": None, "path": None}]
    places = [written(tmp_path / f"x.{form}", pa.table({"image": structs})) for form in ("parquet", "arrow")]
    with h5py.File(tmp_path / "x.h5", "w") as file:
        rows = file.create_dataset("image", (2,), h5py.vlen_dtype(np.uint8))
        rows[0] = np.frombuffer(data, np.uint8)
    places += [tmp_path / "x.h5"]
    places += [write_tfrecords(tmp_path / "x.tfrecord", [example({"image": d}) for d in (data, b"")])]
    places += [write_lmdb(tmp_path / "plain.lmdb", {b"0": data, b"1": b""}, subdir=False)]
    packed = {b"0": msgpack.dumps((data, 1)), b"1": msgpack.dumps((b"", 1))}
    for place in (*places, write_lmdb(tmp_path / "packed.lmdb", packed, subdir=False)):
        first, *others = open_source(place).records
        assert decode_rgb(open_source(place).read(first)).shape == items[0].pixels.shape and others
        for record in others:
            with pytest.raises(ImageError, match=r"empty file|no image in the row"):
                decode_rgb(open_source(place).read(record))


def test_more_rows_than_images_have_room_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of a byte or less would cost five hundred times their bytes in memory."""
    monkeypatch.setattr("unveil.images.source.SPARE_RECORDS", 100)
    monkeypatch.setattr("unveil.images.readers.tfrecord.CHECKED", 50)
    n, data = 1000, encoded(np.zeros((32, 32, 3), np.uint8))
    table = pa.table({"image": pa.array([data] + [None] * (n - 1), pa.binary())})
    pq.write_table(table.replace_schema_metadata({"more": "x" * n}), tmp_path / "x.parquet")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["image"] = np.zeros((20 * n, 1, 1), np.uint8)
    write_tfrecords(tmp_path / "x.tfrecord", [b""] * n)
    write_lmdb(tmp_path / "x.lmdb", {b"%d" % k: b"" for k in range(5 * n)}, subdir=False)
    for name in ("x.parquet", "x.h5", "x.tfrecord", "x.lmdb"):
        with pytest.raises(
            SourceError, match=r"expected at most [\d,]+ images in a file of [\d,]+ bytes, found [\d,]+ rows"
        ):
            open_source(tmp_path / name)


def test_more_members_of_a_packed_tar_than_images_have_room_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unveil.images.readers.tar.SPARE_MEMBERS", 100)
    monkeypatch.setattr("unveil.images.readers.tar.CHECKED", 50)
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as archive:
        for k in range(1000):
            archive.addfile(tarfile.TarInfo(f"{k}.png"))
    with pytest.raises(
        SourceError, match=r"expected at most [\d,]+ images in a file of [\d,]+ bytes, found [\d,]+ rows"
    ):
        open_source(tmp_path / "x.tar.gz")


def test_lists_of_many_lines_and_columns_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unveil.images.labels.SPARE_LINES", 100)
    with pytest.raises(SourceError, match=r"expected at most 250 lines in a list of 2,000 bytes, found 1,000\. Leave"):
        open_source(write(tmp_path / "x.txt", "a\n" * 1000))
    for delimiter in ",;|\t":
        with pytest.raises(SourceError, match="found more than 10,000 columns on line 1"):
            open_source(write(tmp_path / "x.txt", "a.png" + delimiter * 20_000))


class TestLists:
    def test_comments_and_rows_without_a_path_are_counted(self, items: list[Item], tmp_path: Path) -> None:
        write(tmp_path / "a.png", items[0].data)
        text = "path,person\n# a comment\na.png,x\n#b.png,y\n,z\n"
        source = open_source(write(tmp_path / "list.csv", text))
        assert [record.id for record in source.records] == ["a.png"]
        assert "2 lines of the list that begin with # are not read, although line 4 names an image" in source.notes
        assert "1 rows of the list have no path, the first on line 5: they are not read" in source.notes
        source = open_source(write(tmp_path / "plain.txt", "# made by us\na.png\n"))
        assert "1 lines of the list that begin with # are not read" in source.notes

    @pytest.mark.parametrize("delimiter", [",", "\t", ";"])
    def test_a_second_column_of_images_is_asked_for(self, delimiter: str, items: list[Item], tmp_path: Path) -> None:
        for k in range(3):
            write(tmp_path / f"{k}.png", items[k].data)
        lines = [("path", "person", "other"), ("0.png", "x", ""), ("1.png", "x", "2.png")]
        path = write(tmp_path / "list.csv", "\n".join(delimiter.join(line) for line in lines))
        with pytest.raises(SourceError, match=r"found `path`, `other`\. Say which by its header, as in list"):
            open_source(path)
        source = open_source(f"list,image=path:{path}")
        assert [source.read(record) for record in source.records] == [items[0].data, items[1].data]
        assert any(note.startswith("of the list, `other` is ignored") for note in source.notes)
        other = open_source(f"list,image=Other:{path}")
        assert [other.read(record) for record in other.records] == [items[2].data]
        assert "1 rows of the list have no path, the first on line 2: they are not read" in other.notes
        with pytest.raises(SourceError, match="expected a header that names the column mask, found none"):
            open_source(f"list,image=mask:{path}")

    def test_an_image_in_a_cell(self, items: list[Item], tmp_path: Path) -> None:
        write(tmp_path / "a.png", items[0].data)
        cell = base64.b64encode(items[0].data).decode()
        with pytest.raises(SourceError, match="found column 1, column 3"):
            open_source(write(tmp_path / "list.tsv", f"a.png\tx\t{cell}\n"))
