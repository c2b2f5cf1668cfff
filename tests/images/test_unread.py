"""What a container holds is read, counted in a note, or an error: no image is passed over without a word."""

from __future__ import annotations

import base64
import codecs
import io
import pickle
import shutil
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fsspec
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from tests import containers as c
from tests.builders import encoded, write
from tests.containers import Item
from unveil.errors import ImageError, SourceError
from unveil.images import Remark, open_source
from unveil.images.behind import behind_first
from unveil.images.content import HEAD, content_of
from unveil.images.decode import decode_rgb, decode_scaled
from unveil.images.source import IMAGES_WITHIN, MAX_NOTES, Source, complete
from unveil.images.unread import SHOWN_NOTES, Unread, first_notes


def npy(array: np.typing.NDArray[np.generic]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def contents(source: Source) -> list[bytes]:
    return [source.read(record) for record in source.records]


def has_note(source: Source, text: str) -> bool:
    return any(text in note for note in source.notes)


PIXELS = npy(np.zeros((112, 112, 3), np.uint8))
# What each file holds, by its bytes.
FILES = {
    "image.txt": "image",
    "image.npy": "image",
    "pixels.npy": "pixels",
    "stack.npy": "pixels",
    "features.npy": None,
    "more.zip": "container",
    "more.tar": "container",
    "caption.txt": None,
    "jpeg2000.log": "image",
    "icon.txt": "image",
    "paper.txt": "container",
    "film.json": "container",
    "thumbs.log": "container",
    "marked.txt": "within",
    "base64.csv": "within",
    "weights.pkl": "within",
    "numbers.txt": "within",
    "fonts.idx": None,
}


def hidden(item: Item) -> dict[str, bytes]:
    packed, tarred = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.png", item.data)
    with tarfile.open(fileobj=tarred, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("a.png"))
    return {
        "image.txt": item.data,
        "image.npy": item.data,
        "pixels.npy": PIXELS,
        "stack.npy": npy(np.zeros((4, 3, 64, 64), np.float32)),
        "features.npy": npy(np.zeros((68, 3), np.float32)),
        "more.zip": packed.getvalue(),
        "more.tar": tarred.getvalue(),
        "caption.txt": b"P5 1st prize: a photograph",
        "jpeg2000.log": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(100),
        "icon.txt": b"\0\0\1\0\1\0\x40\x40\0\0\1\0\x20\0" + item.data,
        "paper.txt": b"%PDF-1.7\n" + item.data,
        "film.json": b"\0\0\0\x20ftypisom" + bytes(20),
        "thumbs.log": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500),
        "marked.txt": codecs.BOM_UTF8 + item.data,
        "base64.csv": b"name,more\n" * 100 + b"a," + base64.b64encode(item.data),
        "weights.pkl": pickle.dumps([0.5, item.data]),
        "numbers.txt": b"face\n" + b" ".join(b"%d" % v for v in item.pixels[:, :, 0].ravel()),
        "fonts.idx": b"\0\0\1\0\0\x0c\0\x80\0\3\0\x40",
    }


Packer = Callable[[Path, Mapping[str, bytes]], Path]


def as_folder(to: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        write(to / "set" / name, data)
    return to / "set"


def as_zip(to: Path, files: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(to / "set.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return to / "set.zip"


def as_tar(to: Path, files: Mapping[str, bytes]) -> Path:
    with tarfile.open(to / "set.tar", "w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return to / "set.tar"


class TestFilesThatAreNoImagesByTheirNames:
    def test_are_known_by_their_first_bytes(self, items: list[Item]) -> None:
        assert {name: content_of(data[:HEAD]) for name, data in hidden(items[0]).items()} == FILES

    @pytest.mark.parametrize("writer", [as_folder, as_zip, as_tar], ids=lambda w: w.__name__)
    def test_are_read_rejected_or_counted(self, writer: Packer, items: list[Item], tmp_path: Path) -> None:
        files = {item.name: item.data for item in items}
        place = writer(tmp_path, {**files, **{f"more/{k}": v for k, v in hidden(items[0]).items()}})
        source = open_source(f"folder:{place}" if writer is as_folder else place)
        more = [record for record in source.records if record.id.startswith("more/")]
        assert {r.id for r in more} == {f"more/{name}" for name in FILES if FILES[name] in ("image", "pixels")}
        assert source.read(next(r for r in more if r.id == "more/image.txt")) == items[0].data
        with pytest.raises(ImageError, match="an array of NumPy; convert the images to PNG"):
            decode_rgb(source.read(next(r for r in more if r.id == "more/pixels.npy")))
        for name in ("jpeg2000.log", "icon.txt"):
            with pytest.raises(ImageError, match=r"format not read"):
                decode_rgb(source.read(next(r for r in more if r.id == f"more/{name}")))
        assert has_note(source, "6 files that are no images by their names are read as such: more/")
        assert has_note(source, "not read: 5 archives, documents and videos in it, which are not opened: more/")
        assert has_note(source, f"not read: 4 {IMAGES_WITHIN}: more/")
        ignored = {f"more/{k}" for k in FILES if FILES[k] in (None, "container", "within")}
        assert {e.name for e in source.ignored} == ignored

    def test_are_counted_by_their_names_in_a_zip_at_an_address(self, items: list[Item], tmp_path: Path) -> None:
        path = as_zip(tmp_path, {"a.png": items[0].data, "b.txt": items[1].data})
        fsspec.filesystem("memory").pipe("/names/set.zip", path.read_bytes())
        source = open_source("memory://names/set.zip")
        assert contents(source) == [items[0].data]
        assert has_note(source, "not read: 1 files whose names are those of no images, which were not looked into")

    def test_of_systems_are_counted(self, items: list[Item], tmp_path: Path) -> None:
        files = {items[0].name: items[0].data, "@eaDir/a/thumbnail.jpg": encoded(items[1].pixels, "JPEG")}
        source = open_source(as_folder(tmp_path, files))
        assert len(source.records) == 1
        assert has_note(source, "not read: 1 images among the files of systems and editors: @eaDir/a/thumbnail.jpg")


class TestZip:
    def test_another_archive_before_the_one_that_is_read_is_an_error(self, items: list[Item], tmp_path: Path) -> None:
        first, second = c.zipped(tmp_path, items[:3]).read_bytes(), c.stylegan(tmp_path, items[3:]).read_bytes()
        with pytest.raises(SourceError, match=rf"found {len(first)} further bytes before its first member"):
            open_source(write(tmp_path / "two.zip", first + second))

    def test_a_program_that_unpacks_it_is_an_error_that_says_what_to_do(
        self, items: list[Item], tmp_path: Path
    ) -> None:
        path = c.zipped(tmp_path, items)
        with pytest.raises(SourceError, match=r"program that unpacks it\. Unpack it with all its parts"):
            open_source(write(path, b"MZ" + bytes(10_000) + path.read_bytes()))

    @pytest.mark.parametrize("unlisted", [0, 5, 23])
    def test_a_member_that_the_directory_does_not_list_is_an_error(
        self, unlisted: int, items: list[Item], tmp_path: Path
    ) -> None:
        with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
            for item in items:
                archive.writestr(item.name, item.data)
            del archive.filelist[unlisted]
        with pytest.raises(SourceError, match=r"found \d+ further bytes (before its first member|at byte \d+)"):
            open_source(tmp_path / "set.zip")

    def test_bytes_after_the_end_are_an_error(self, items: list[Item], tmp_path: Path) -> None:
        path = c.zipped(tmp_path, items)
        size = path.stat().st_size
        write(path, path.read_bytes() + items[0].data)
        with pytest.raises(SourceError, match=rf"found {len(items[0].data)} further bytes at byte {size}"):
            open_source(path)

    def test_bytes_behind_the_end_of_a_packed_member_are_a_reject(self, items: list[Item], tmp_path: Path) -> None:
        path = c.zipped(tmp_path, items[:1])
        with zipfile.ZipFile(path) as archive:
            info = archive.infolist()[0]
        data = bytearray(path.read_bytes())
        start = 30 + len(info.filename)
        packed, rest = data[start : start + info.compress_size], data[start + info.compress_size :]
        directory = len(data[:start]) + 2 * len(packed)
        rest[20:24] = (2 * len(packed)).to_bytes(4, "little")
        end = rest.rfind(b"PK\5\6")
        rest[end + 16 : end + 20] = directory.to_bytes(4, "little")
        source = open_source(write(path, bytes(data[:start] + packed * 2 + rest)))
        with pytest.raises(ImageError, match=f"{len(packed)} more bytes after its end"):
            source.read(source.records[0])

    def overlapping(self, to: Path, items: Sequence[Item], n_bytes: int) -> Path:
        """A zip whose first two entries are one member, or whose first reaches into the second by ``n_bytes``."""
        with zipfile.ZipFile(to / "set.zip", "w") as archive:
            for item in items:
                archive.writestr(item.name, item.data)
            first, second = archive.filelist[:2]
            if n_bytes:
                first.compress_size += n_bytes
            else:
                second.header_offset = first.header_offset
        return to / "set.zip"

    @pytest.mark.parametrize("n_bytes", [0, 1, 100])
    def test_members_that_overlap_are_an_error(self, n_bytes: int, items: list[Item], tmp_path: Path) -> None:
        path = self.overlapping(tmp_path, items[:4], n_bytes)
        with pytest.raises(SourceError, match="whose members lie one after the other, found `" + items[0].name):
            open_source(path)

    @pytest.mark.parametrize("damage", ["none", "header", "size", "both"])
    def test_a_text_that_hides_members_is_an_error(self, damage: str, items: list[Item], tmp_path: Path) -> None:
        path = tmp_path / "set.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in [("README.txt", b"hello"), ("hidden.png", items[0].data), ("a.png", items[1].data)]:
                archive.writestr(name, data)
            if damage != "none":
                del archive.filelist[1]
            if damage in ("size", "both"):
                text, shown = archive.filelist
                text.compress_size = text.file_size = shown.header_offset - 30 - len("README.txt")
        if damage in ("header", "both"):
            write(path, b"XXXX" + path.read_bytes()[4:])
        if damage == "none":
            assert len(open_source(path).records) == 2
            return
        with pytest.raises(SourceError, match=r"found \d+ further bytes at|expected a header at byte 0 that states"):
            open_source(path)

    def test_texts_that_cannot_be_unpacked_are_counted(self, items: list[Item], tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
            archive.writestr("a.png", items[0].data)
            archive.writestr("b.txt", items[1].data, zipfile.ZIP_BZIP2)
        assert has_note(open_source(tmp_path / "set.zip"), "not read: 1 files in it that cannot be unpacked: b.txt")

    def test_long_comments_and_extra_fields_are_counted(self, items: list[Item], tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
            for item in items[:2]:
                info = zipfile.ZipInfo(item.name)
                info.extra = b"\x99\x99" + (600).to_bytes(2, "little") + bytes(600) if item.number else b""
                archive.writestr(info, item.data)
            archive.comment = items[0].data[:2000]
        source = open_source(tmp_path / "set.zip")
        assert contents(source) == [item.data for item in items[:2]]
        assert has_note(source, f"not read: 1 long extra fields and comments of members: {items[1].name}")
        assert has_note(source, "not read: 1 long comments in zips")

    def test_what_tools_write_is_no_error(self, items: list[Item], tmp_path: Path) -> None:
        path = tmp_path / "set.zip"

        with path.open("wb") as file:
            # What cannot be sought gets sizes behind the members.
            pipe = SimpleNamespace(write=file.write, flush=file.flush)
            with zipfile.ZipFile(pipe, "w") as archive:
                for item in items[:3]:
                    with archive.open(f"ü{item.number}.png", "w", force_zip64=True) as member:
                        member.write(item.data)
        assert contents(open_source(path)) == [item.data for item in items[:3]]
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("z/", b"")
            archive.writestr("ü3.png", items[3].data)
            archive.comment = b"of the set"
        assert contents(open_source(path)) == [item.data for item in items[:4]]


@pytest.mark.parametrize("kind", ["JPEG", "BMP", "PPM"])
def test_an_image_that_is_a_tar_as_well_is_an_image(kind: str, items: list[Item], tmp_path: Path) -> None:
    """As every viewer takes it: the header of the tar lies in a comment, or before the pixels."""
    data = encoded(items[0].pixels, kind)
    start = {
        "JPEG": b"\xff\xd8\xff\xfe\1\xfc",
        "BMP": data[:10] + struct.pack("<I", 512 + 54) + data[14:54],
        "PPM": b"P6\n#",
    }[kind]
    rest = {"JPEG": data[2:], "BMP": data, "PPM": b"\n" + data[3:]}[kind]
    header = bytearray(tarfile.TarInfo("x").tobuf()[:512])
    header[: len(start)], header[124:136], header[156:157] = start, b"%011o\0" % len(rest), b"g"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    both = bytes(header) + rest + bytes(-len(rest) % 512)
    decoy = tarfile.TarInfo("d.png")
    decoy.size = len(items[1].data)
    write(tmp_path / f"x.{kind}", both + decoy.tobuf() + items[1].data + bytes(2048))
    source = open_source(tmp_path)
    assert source.kind == "folder" and [record.id for record in source.records] == [f"x.{kind}"]
    assert np.abs(np.asarray(Image.open(tmp_path / f"x.{kind}").convert("RGB"), int) - items[0].pixels).mean() < 8
    with pytest.raises(ImageError, match="several images in a file"):
        decode_rgb(source.read(source.records[0]))


class TestTar:
    @pytest.mark.parametrize("kind", [b"K", b"x before L", b"g path", b"g", b"x linkpath", b"at the end"])
    def test_headers_that_name_nothing_are_counted(self, kind: bytes, items: list[Item], tmp_path: Path) -> None:
        """Links, names that another header replaces, and headers of no member have room for images."""
        hidden = base64.b64encode(items[1].data)
        field = {b"x linkpath": b"linkpath", b"g": b"comment"}.get(kind, b"path")
        pax = b" " + field + b"=" + hidden + b"\n"
        pax = b"%d" % (len(pax) + 5) + pax
        headers = [(kind[:1] if kind != b"at the end" else b"K", hidden if kind[:1] in (b"K", b"a") else pax)]
        headers += [(b"L", b"0.png")] if kind == b"x before L" else []
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w") as archive:
            for type_, data in [*headers, (tarfile.REGTYPE, items[0].data)][:: -1 if kind == b"at the end" else 1]:
                info = tarfile.TarInfo("0.png")
                info.type, info.size = type_, len(data)
                archive.addfile(info, io.BytesIO(data))
        source = open_source(write(tmp_path / "x.tar", file.getvalue()))
        assert contents(source) == [items[0].data]
        assert has_note(source, "bytes of extended headers: before byte ")

    @pytest.mark.parametrize("key", ["GNU.sparse.map", "GNU.sparse.major", "SCHILY.realsize", "SUN.holesdata"])
    @pytest.mark.parametrize("kind", [b"x", b"X"])
    def test_a_file_with_holes_is_a_reject(self, key: str, kind: bytes, items: list[Item], tmp_path: Path) -> None:
        """Other programs unpack other bytes than those in the archive, which may be another image."""
        path = tmp_path / "set.tar"
        with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
            for item in items[:3]:
                info = tarfile.TarInfo(item.name)
                info.size, info.pax_headers = len(item.data), {} if item.number != 1 else {key: "0,10"}
                archive.addfile(info, io.BytesIO(item.data))
        data = path.read_bytes()
        at = data.index(b"ustar", data.index(b"PaxHeader"))
        header = bytearray(data[at - 257 : at + 255])
        header[156:157] = kind
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        source = open_source(write(path, data[: at - 257] + bytes(header) + data[at + 255 :]))
        found = {record.id: record for record in source.records}
        assert set(found) == {item.name for item in items[:3]}
        with pytest.raises(ImageError, match="a file with holes"):
            source.read(found[items[1].name])
        assert source.read(found[items[2].name]) == items[2].data

    @pytest.mark.parametrize("size", ["+70", " 70", "7_0", "", "-70", "0x46"])
    def test_a_size_that_programs_read_differently_is_an_error(
        self, size: str, items: list[Item], tmp_path: Path
    ) -> None:
        path = tmp_path / "set.tar"
        with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
            info = tarfile.TarInfo(items[0].name)
            info.size, info.pax_headers = len(items[0].data), {"size": size}
            archive.addfile(info, io.BytesIO(items[0].data))
        with pytest.raises(SourceError, match="expected one size in digits"):
            open_source(path)

    @pytest.mark.parametrize("key", ["size", "GNU.sparse.map"])
    def test_a_header_of_all_members_has_no_sizes(self, key: str, items: list[Item], tmp_path: Path) -> None:
        path = tmp_path / "set.tar"
        for fields in ({"comment": "0123abc"}, {key: "10"}):
            with tarfile.open(path, "w", format=tarfile.PAX_FORMAT, pax_headers=fields) as archive:
                info = tarfile.TarInfo(items[0].name)
                info.size = len(items[0].data)
                archive.addfile(info, io.BytesIO(items[0].data))
            if key in fields:
                with pytest.raises(SourceError, match="expected sizes in the header of each member"):
                    open_source(path)
            else:
                assert contents(open_source(path)) == [items[0].data]

    @pytest.mark.parametrize("size", [1024, 0], ids=str)
    @pytest.mark.parametrize("kind", [tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE], ids=repr)
    def test_bytes_that_an_extended_header_gives_to_what_has_none(
        self, kind: bytes, size: int, items: list[Item], tmp_path: Path
    ) -> None:
        path = tmp_path / "set.tar"
        with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
            info = tarfile.TarInfo("more")
            info.type, info.linkname, info.pax_headers = kind, "0.png", {"size": str(size)}
            archive.addfile(info)
            for item in items[:3]:
                info = tarfile.TarInfo(item.name)
                info.size = len(item.data)
                archive.addfile(info, io.BytesIO(item.data))
        if size:
            with pytest.raises(SourceError, match=r"without bytes at byte 1024, found .* gives it 1024, which may be"):
                open_source(path)
        else:
            records = {record.id for record in open_source(path).records}
            assert records - {"more"} == {item.name for item in items[:3]}


class TestWebDataset:
    def samples(self, items: Sequence[Item], **more: bytes) -> dict[str, bytes]:
        files: dict[str, bytes] = {}
        for item in items:
            files |= {f"{item.number:04d}.png": item.data, f"{item.number:04d}.cls": b"%d" % item.person}
            files |= {f"{item.number:04d}.{extension}": data for extension, data in more.items()}
        return files

    def test_members_that_are_not_read_are_counted(self, items: list[Item], tmp_path: Path) -> None:
        more = {"npy": npy(np.zeros(512, np.float32)), "pth": pickle.dumps([1]), "txt": b"a caption", "json": b"{}"}
        source = open_source(as_tar(tmp_path, self.samples(items, **more)))
        assert source.kind == "WebDataset" and contents(source) == [item.data for item in items]
        found = [note for note in source.notes if note.startswith("not read")]
        assert found == [
            f"not read: 24 members .{extension} of samples: 0000.{extension}, 0001.{extension}, 0002.{extension}, ..."
            for extension in ("npy", "pth", "txt")
        ]

    def test_images_within_members_are_counted(self, items: list[Item], tmp_path: Path) -> None:
        files = self.samples(items[:6], pth=pickle.dumps([items[20].data]), txt=codecs.BOM_UTF8 + items[21].data)
        source = open_source(as_tar(tmp_path, files))
        assert contents(source) == [item.data for item in items[:6]]
        assert has_note(source, f"not read: 12 {IMAGES_WITHIN}: 0000.pth, 0000.txt, 0001.pth, ...")

    @pytest.mark.parametrize("extension", ["npy", "pth", "txt", "cls", "index", "pyd", "pt", "pickle", "dat", "bin"])
    def test_images_in_members_of_any_name_are_read(self, extension: str, items: list[Item], tmp_path: Path) -> None:
        files = self.samples(items[:6])
        files[f"0003.{extension}"] = items[20].data
        assert items[20].data in contents(open_source(as_tar(tmp_path, files)))

    def test_arrays_of_pixels_are_rejects(self, items: list[Item], tmp_path: Path) -> None:
        source = open_source(as_tar(tmp_path, self.samples(items[:6], npy=PIXELS)))
        assert len(source.records) == 12
        with pytest.raises(ImageError, match="an array of NumPy"):
            decode_rgb(source.read(next(r for r in source.records if r.id == "0002.npy")))

    def test_the_notes_of_all_shards_are_one(self, items: list[Item], tmp_path: Path) -> None:
        for k in range(3):
            path = as_tar(tmp_path, self.samples(items[:6], txt=b"a caption"))
            shutil.move(path, tmp_path / f"{k}.tar")
        found = [note for note in open_source(tmp_path).notes if note.startswith("not read")]
        assert found == ["not read: 18 members .txt of samples: 0.tar/0000.txt, 0.tar/0001.txt, 0.tar/0002.txt, ..."]

    def test_bytes_around_headers_are_counted(self, items: list[Item], tmp_path: Path) -> None:
        path = tmp_path / "set.tar"
        with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
            info = tarfile.TarInfo("0.png")
            info.size, info.pax_headers = len(items[0].data), {"comment": "x" * 2000}
            archive.addfile(info, io.BytesIO(items[0].data))
        assert has_note(open_source(path), "bytes of extended headers: before byte ")
        data = bytearray(c.tarred(tmp_path, items[:1]).read_bytes())
        data[-3000:-1000] = b"x" * 2000
        source = open_source(write(tmp_path / "set.tar", bytes(data)))
        assert any(
            note.startswith("not read: ") and note.endswith("bytes after the end of the archive")
            for note in source.notes
        )


class TestRecordIO:
    @pytest.mark.parametrize("keys", [(0, -1), (0, 0), (-7, -8)], ids=str)
    def test_images_below_the_first_key_are_read(
        self, keys: tuple[int, int], items: list[Item], tmp_path: Path
    ) -> None:
        path = c.insightface(tmp_path, items)
        index = path.with_suffix(".idx")
        lines = [line.split("\t") for line in index.read_text().splitlines()]
        for line, key in zip(lines[4:6], keys, strict=True):
            line[0] = str(key)
        write(index, "".join("\t".join(line) + "\n" for line in lines))
        source = open_source(path)
        assert sorted(contents(source)) == sorted(item.data for item in items)
        assert has_note(source, "2 records hold images where the first record states none")

    def test_a_repeated_key_is_another_image(self, items: list[Item], tmp_path: Path) -> None:
        path = c.recordio(tmp_path, items)
        index = path.with_suffix(".idx")
        write(index, "".join(f"7\t{line.split()[1]}\n" for line in index.read_text().splitlines()))
        assert contents(open_source(path)) == [item.data for item in items]

    def test_gaps_of_the_index_are_counted_at_an_address_too(self, items: list[Item], tmp_path: Path) -> None:
        path = c.recordio(tmp_path, items)
        index = path.with_suffix(".idx")
        write(index, "".join(index.read_text().splitlines(keepends=True)[::2]))
        files = fsspec.filesystem("memory")
        for name in ("plain.rec", "plain.idx"):
            files.pipe(f"/gaps/{name}", (tmp_path / name).read_bytes())
        for place in (str(path), "memory://gaps/plain.rec"):
            assert has_note(open_source(place), "11 records that plain.idx does not list are not read")

    def test_many_labels_are_counted(self, items: list[Item], tmp_path: Path) -> None:
        path = c.write_records(tmp_path / "a", [c.labelled(items[0].data, *range(100))])
        source = open_source(path)
        assert contents(source) == [items[0].data]
        assert has_note(source, "not read: 1 records with many labels, of which one is read: at byte 0")


class TestVerificationSets:
    def test_another_pickle_is_an_error(self, items: list[Item], tmp_path: Path) -> None:
        path = c.verification(tmp_path, items)
        more = pickle.dumps(([items[0].data] * 2, [True]))
        with pytest.raises(SourceError, match=f"{len(more)} more bytes, perhaps another pickle after the end"):
            open_source(write(path, path.read_bytes() + more))

    @pytest.mark.parametrize("protocol", [3, 4, 5])
    def test_an_image_elsewhere_in_the_pickle_is_an_error(
        self, protocol: int, items: list[Item], tmp_path: Path
    ) -> None:
        shown, below = (
            pickle.dumps(value, protocol=protocol)
            for value in (([item.data for item in items[:2]], [True]), items[2].data)
        )
        assert len(open_source(write(tmp_path / "a.bin", shown)).records) == 2
        # It is put on the stack below what the pickle returns.
        begin = 2 if protocol < 4 else 11
        with pytest.raises(SourceError, match="more items after the end"):
            open_source(write(tmp_path / "b.bin", below.removesuffix(b".") + shown[begin:]))


class TestArrays:
    def written(self, to: Path, **more: np.typing.NDArray[np.generic]) -> Path:
        np.savez(to / "v.npz", allow_pickle=False, vectors=np.eye(8, dtype=np.float32), people=np.arange(8), **more)
        return to / "v.npz"

    def test_that_are_not_read_are_counted(self, tmp_path: Path) -> None:
        path = self.written(tmp_path, quality=np.ones(8), landmarks=np.zeros((8, 5, 2)))
        source = open_source(path)
        assert "not read: 2 arrays: quality (8,), landmarks (8, 5, 2)" in source.notes

    @pytest.mark.parametrize(
        "array", [np.zeros((8, 112, 112, 3), np.uint8), np.ones((8, 8), np.float32)], ids=["images", "vectors"]
    )
    def test_of_images_or_more_vectors_are_an_error(self, array: np.typing.NDArray[np.generic], tmp_path: Path) -> None:
        path = self.written(tmp_path, other=array)
        with pytest.raises(SourceError, match=r"found another that may hold people, other \(8, .*vectors=NAME"):
            open_source(path)
        source = open_source(f"embeddings,vectors=vectors:{path}")
        assert has_note(source, "not read: 1 arrays: other (8, ")

    def test_of_images_are_no_labels(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "v.npz", vectors=np.eye(8, dtype=np.float32), labels=np.zeros((8, 32, 32, 3), np.uint8))
        with pytest.raises(SourceError, match=r"labels \(N,\) were expected, got \(8, 32, 32, 3\)"):
            open_source(tmp_path / "v.npz")

    def test_of_one_name_are_an_error(self, tmp_path: Path) -> None:
        path = self.written(tmp_path)
        with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(path, "a") as archive:
            archive.writestr("vectors.npy", npy(np.ones((8, 8), np.float32)))
        for place in (path, f"embeddings,vectors=vectors:{path}"):
            with pytest.raises(SourceError, match=r"the vectors may be vectors or vectors|another .* people, vectors"):
                open_source(place)

    def test_bytes_behind_an_array_are_an_error(self, tmp_path: Path) -> None:
        path = write(tmp_path / "v.npy", npy(np.eye(8, dtype=np.float32)) + npy(np.eye(8, dtype=np.float32)))
        with pytest.raises(SourceError, match=r"\d+ bytes follow its array"):
            open_source(path)

    def test_other_members_are_counted(self, tmp_path: Path) -> None:
        path = self.written(tmp_path)
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("a.png", b"x")
        assert has_note(open_source(f"embeddings:{path}"), "not read: 1 members that are no arrays: a.png")


def jpeg(side: int, colour: str, *, thumbnail: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    exif = b"Exif\0\0" + thumbnail if thumbnail else b""
    Image.new("RGB", (side, side), colour).save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


class TestImagesBehindTheFirst:
    """As the MPO files of telephones, and as one file after the other."""

    def mpo(self, side: int) -> bytes:
        buffer = io.BytesIO()
        first, second = Image.new("RGB", (64, 64), "red"), Image.new("RGB", (side, side), "blue")
        first.save(buffer, "MPO", save_all=True, append_images=[second])
        return buffer.getvalue()

    def test_of_the_same_size_are_a_reject(self) -> None:
        for data in (self.mpo(64), jpeg(64, "red") + jpeg(64, "blue"), encoded(np.zeros((32, 32, 3), np.uint8)) * 2):
            with pytest.raises(ImageError, match="several images in a file"):
                decode_rgb(data)

    @pytest.mark.parametrize("first", ["JPEG", "PNG", "WEBP", "BMP", "PPM", "GIF"])
    def test_of_every_kind_are_found(self, first: str) -> None:
        data = encoded(np.zeros((64, 64, 3), np.uint8), first)
        assert remarks(data) == ()
        assert remarks(data + b"\0" * 100) == ()
        assert remarks(data + jpeg(32, "blue")) == (Remark.IMAGES_BEHIND,)
        for kind in ("JPEG", "PNG", "WEBP", "GIF", *(("BMP", "TIFF", "PPM") if first != "GIF" else ())):
            with pytest.raises(ImageError, match="several images in a file"):
                decode_rgb(data + encoded(np.zeros((64, 64, 3), np.uint8), kind))

    @pytest.mark.parametrize("first", ["JPEG", "PNG", "WEBP", "BMP", "PPM"])
    def test_other_bytes_behind_are_remarkable(self, first: str) -> None:
        data = encoded(np.zeros((64, 64, 3), np.uint8), first)
        assert remarks(data + b"PK\3\4 an archive") == (Remark.BYTES_BEHIND,)

    @pytest.mark.parametrize("kind", ["P1", "P1 without spaces", "P2", "P3", "P3 with a comment", "P4", "OS/2"])
    def test_of_rare_forms_are_found(self, kind: str) -> None:
        rng = np.random.default_rng(0)
        header = b"P%d%b64 48\n" % (int(kind[1]), b"\n# a\n" if "comment" in kind else b"\n") if kind[0] == "P" else b""
        bits = rng.integers(0, 2, (48, 64))
        values = b" ".join(b"%d" % v for v in rng.integers(0, 256, 48 * 64 * 3).tolist())
        data = {
            "P1": header + b" ".join(b"%d" % v for v in bits.ravel().tolist()),
            "P1 without spaces": header + b"".join(b"%d" % v for v in bits.ravel().tolist()),
            "P2": header + b"255\n" + b" ".join(values.split()[: 48 * 64]),
            "P3": header + b"255\n" + values,
            "P3 with a comment": header + b"255\n" + values,
            "P4": header + np.packbits(bits, 1).tobytes(),
            "OS/2": b"BM"
            + struct.pack("<IHHIIHHHH", 26 + 48 * 64 * 3, 0, 0, 26, 12, 64, 48, 1, 24)
            + bytes(48 * 64 * 3),
        }[kind] + b"\n"
        assert decode_rgb(data).shape == (48, 64, 3)
        assert not behind_first(data).more and not behind_first(data + bytes(100)).more
        for other in (data, encoded(np.zeros((64, 64, 3), np.uint8), "BMP"), b"P6 64 64 255 " + bytes(64 * 64 * 3)):
            assert max(behind_first(data + other).pixels) >= 48 * 64
            with pytest.raises(ImageError, match=r"several images in a file|damaged image"):
                decode_rgb(data + other)
        for more in (b"7 " * 100, b"PK\3\4 an archive", b"# words"):
            assert behind_first(data + more) == ([], True)

    def test_that_are_smaller_are_known(self) -> None:
        alone = jpeg(64, "red", thumbnail=jpeg(32, "blue"))
        for data, more in ((self.mpo(32), True), (jpeg(64, "red") + jpeg(32, "blue"), True), (alone, False)):
            pixels, size, found = decode_scaled(data, lambda w, h: w)
            assert size == (64, 64) and (Remark.IMAGES_BEHIND in found) is more and pixels[0, 0, 0] > 200

    def test_whose_header_decoders_repair_are_a_reject(self) -> None:
        second = jpeg(64, "blue")
        junk = second[:20] + b"\1" + second[20:]
        assert decode_rgb(junk).shape == (64, 64, 3)
        with pytest.raises(ImageError, match="several images in a file"):
            decode_rgb(jpeg(64, "red") + junk)

    def test_more_than_are_looked_at_are_a_reject(self) -> None:
        for behind in (b"\xff\xd8\xff" * 1000, b"\xff\xd8" + b"\xff\xe2\0\2" * 20_000 + jpeg(32, "blue")[2:]):
            with pytest.raises(ImageError, match="several images in a file"):
                decode_rgb(jpeg(64, "red") + behind)


def remarks(data: bytes) -> tuple[Remark, ...]:
    return decode_scaled(data, lambda w, h: w)[2]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_that_are_turned_are_remarkable(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    for kind in ("JPEG", "TIFF"):
        buffer = io.BytesIO()
        Image.new("RGB", (64, 64), "red").save(buffer, kind, exif=exif)
        assert remarks(buffer.getvalue()) == ((Remark.TURNED,) if orientation > 1 else ())


def chunks(*contents: bytes) -> bytes:
    """Chunks of a PNG from their types and contents."""
    return b"".join(struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in contents)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_orientations_that_viewers_ignore_are_not_applied(kind: str) -> None:
    """Pillow finds them in XMP, in numbers of other types, and behind the pixels."""
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:32] = 200
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="3"/></x:xmpmeta>'
    long = b"Exif\0\0II*\0\x08\0\0\0\1\0" + struct.pack("<HHIII", 0x0112, 4, 1, 3, 0)
    short = b"Exif\0\0II*\0\x08\0\0\0\1\0" + struct.pack("<HHIII", 0x0112, 3, 1, 3, 0)
    if kind == "PNG":
        data = encoded(pixels)
        text = chunks(b"iTXtXML:com.adobe.xmp\0\0\0\0\0" + xmp)
        files = [data[:33] + text + data[33:], data[:33] + chunks(b"eXIf" + long[6:]) + data[33:]]
        files += [data[:-12] + chunks(b"eXIf" + short[6:]) + data[-12:]]
        turned = data[:33] + chunks(b"eXIf" + short[6:]) + data[33:]
    else:
        files = [encoded(pixels, kind, xmp=xmp), encoded(pixels, kind, exif=long)]
        turned = encoded(pixels, kind, exif=short)
    for data in files[: 1 if kind == "AVIF" else None]:  # it has the orientation in its container as well
        assert remarks(data) == (Remark.NOT_TURNED,) and decode_rgb(data)[5, 5, 0] > 150
    assert remarks(turned) == (Remark.TURNED,) and decode_rgb(turned)[5, 5, 0] < 50


def test_a_png_in_which_others_may_see_another_image_is_a_reject() -> None:
    first, second = (encoded(np.full((64, 64, 3), value, np.uint8)) for value in (0, 9))
    pixels = first[33:-12]
    control = b"fcTL" + struct.pack(">IIIIIHHBB", 0, 64, 64, 0, 0, 1, 1, 0, 0)
    of_second = second[second.index(b"IDAT") + 4 : -16]
    for data in (
        first[:33] + chunks(control, b"fdAT" + bytes(4) + of_second) + pixels + first[-12:],
        first[:33] + 2 * chunks(b"acTL" + struct.pack(">II", 1, 0)) + pixels + first[-12:],
        first[:33] + first[8:33] + pixels + first[-12:],
        first[:33] + pixels + chunks(b"tEXta\0b") + second[33:-12] + first[-12:],
        first[:33] + pixels + chunks(b"PLTE" + bytes(3)) + first[-12:],
    ):
        with pytest.raises(ImageError, match="several images in a file"):
            decode_rgb(data)
    half = len(of_second) // 2
    assert (
        decode_rgb(second[:33] + chunks(b"IDAT" + of_second[:half], b"IDAT" + of_second[half:]) + second[-12:])[0, 0, 0]
        == 9
    )


@pytest.mark.parametrize("box", [b"\0\0\0\x28clap" + bytes(32), b"\0\0\0\x0alsel\0\1", b"\0\0\0\x09a1op\0"])
def test_an_avif_of_which_viewers_show_a_part_is_a_reject(box: bytes) -> None:
    data = encoded(np.zeros((64, 64, 3), np.uint8), "AVIF")
    assert decode_rgb(data).shape == (64, 64, 3)
    with pytest.raises(ImageError, match="AVIF of which viewers show a part or a layer"):
        decode_rgb(data + struct.pack(">I", 8 + len(box)) + b"free" + box)


def test_other_brightness_is_remarkable() -> None:
    def png(gamma: float, *more: bytes) -> bytes:
        data = encoded(np.zeros((64, 64, 3), np.uint8))
        return data[:33] + chunks(b"gAMA" + struct.pack(">I", round(1e5 * gamma)), *more) + data[33:]

    for gamma, expected in ((0.45455, ()), (1 / 1.8, ()), (1.0, (Remark.GAMMA,)), (0.05, (Remark.GAMMA,))):
        assert remarks(png(gamma)) == expected and remarks(png(gamma, b"sRGB\0")) == ()


def test_other_colours_are_remarkable() -> None:
    """A profile of the usual kind changes shades; one with tables can show another image, and so can HDR."""
    pixels = np.zeros((64, 64, 3), np.uint8)
    usual = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = usual.replace(b"rXYZ", b"....").replace(b"bXYZ", b"rXYZ").replace(b"....", b"bXYZ")
    dark = usual.replace(struct.pack(">I", round(2.4 * 2**16)), struct.pack(">I", 9 * 2**16))
    for kind in ("PNG", "JPEG", "WEBP", "TIFF"):
        assert remarks(encoded(pixels, kind, icc_profile=usual)) == ()
        for profile in (swapped, dark, usual.replace(b"rTRC", b"A2B0"), usual[:140], usual + bytes(2**16)):
            assert remarks(encoded(pixels, kind, icc_profile=profile)) == (Remark.COLOURS,)
    png, avif = encoded(pixels), encoded(pixels, "AVIF")
    for chunk, expected in (
        *((b"cICP\1\r\0\1", ()), (b"cICP\t\x10\0\1", (Remark.COLOURS,)), (b"cICP\1\r\0\0", (Remark.COLOURS,))),
        (b"cHRM" + struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000), ()),
        (b"cHRM" + struct.pack(">8I", 31270, 32900, 15000, 6000, 30000, 60000, 64000, 33000), (Remark.COLOURS,)),
    ):
        assert remarks(png[:33] + chunks(chunk) + png[33:]) == expected
    at = avif.index(b"nclx") + 6
    assert remarks(avif) == ()
    assert remarks(avif[:at] + b"\0\x10" + avif[at + 2 :]) == (Remark.COLOURS,)


def test_further_samples_of_a_tiff_are_remarkable_or_rejects() -> None:
    pixels = np.zeros((64, 64, 6), np.uint8)

    def tiff(samples: int, **options: Any) -> bytes:
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, pixels[:, :, :samples], photometric="rgb", **options)
        return buffer.getvalue()

    assert remarks(tiff(3)) == () and remarks(tiff(4, extrasamples=["unspecified"])) == (Remark.EXTRA_CHANNEL,)
    with pytest.raises(ImageError, match="a TIFF of 6 samples a pixel"):
        decode_rgb(tiff(6))


def test_bytes_before_the_pixels_of_a_bmp_are_remarkable() -> None:
    data, more = encoded(np.zeros((64, 64, 3), np.uint8), "BMP"), encoded(np.ones((64, 64, 3), np.uint8), "BMP")
    assert remarks(data) == ()
    start = struct.pack("<I", 54 + len(more) + 1)
    hidden = data[:10] + start + data[14:54] + b"\1" + more + data[54:]
    assert remarks(hidden) == (Remark.BYTES_BEHIND,)


@pytest.mark.filterwarnings("ignore:Palette images")
def test_images_that_are_transparent_are_remarkable() -> None:
    pixels = np.full((64, 64, 4), 255, np.uint8)
    opaque = Image.fromarray(pixels.copy())
    pixels[3, 5, 3] = 254
    clear = Image.fromarray(pixels)
    palette = opaque.convert("RGB").quantize(4)
    unused = bytes([0 if n == 0 else 255 for n in palette.histogram()])
    for image, options, expected in (
        (opaque, {}, ()),
        (clear, {}, (Remark.TRANSPARENT,)),
        (clear.convert("LA"), {}, (Remark.TRANSPARENT,)),
        (opaque.convert("LA"), {}, ()),
        (palette, {"transparency": bytes(256)}, (Remark.TRANSPARENT,)),
        (palette, {"transparency": unused}, ()),
        (opaque.convert("RGB"), {"transparency": (255, 255, 255)}, (Remark.TRANSPARENT,)),
        (opaque.convert("RGB"), {"transparency": (1, 2, 3)}, ()),
    ):
        buffer = io.BytesIO()
        image.save(buffer, "PNG", **options)
        assert remarks(buffer.getvalue()) == expected


def test_a_note_names_remarkable_files() -> None:
    for remark in Remark:
        assert remark.note(["a.png", "b.png"]).endswith(": a.png, b.png")
        assert " 2 files" in remark.note(["a.png", "b.png"])


def test_notes_do_not_grow_with_what_a_stranger_wrote() -> None:
    unread = Unread()
    for k in range(1000):
        unread.add("things", f"{k}" * 1000)
    (note,) = unread.notes()
    assert note.startswith("not read: 1,000 things: 0000") and len(note) < 300


def test_notes_that_are_not_shown_are_counted_and_stay_readable(items: list[Item], tmp_path: Path) -> None:
    source = open_source(as_folder(tmp_path, {item.name: item.data for item in items}))
    source.notes = [f"note {k}" for k in range(132)]
    assert complete(source).notes[-1] == "note 131"
    assert first_notes(source.notes, others="; all are there")[SHOWN_NOTES - 1 :] == [
        source.notes[SHOWN_NOTES - 1],
        f"{len(source.notes) - SHOWN_NOTES} of {len(source.notes)} notes are not shown; all are there",
    ]
    source.notes = [f"note {k}" for k in range(2 * MAX_NOTES)]
    assert len(complete(source).notes) == MAX_NOTES + 1
