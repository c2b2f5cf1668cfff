"""What lies beside a container may be a stranger's: links are not followed, and files that are no images stay there."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests import containers as c
from tests.builders import write
from tests.containers import Item
from tests.images.conftest import Written
from unveil.errors import ImageError, SourceError
from unveil.images import LabelRule, open_source, write_without

SECRET = b"0 a secret\n1 b secret\n"


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("RecordIO", "property"),
        ("RecordIO", "list.txt"),
        ("RecordIO", "plain.idx"),
        ("Parquet", "state.json"),
        ("Parquet", "dataset_info.json"),
        ("Arrow", "state.json"),
    ],
)
def test_links_beside_a_container_are_refused(name: str, side: str, written: Written, tmp_path: Path) -> None:
    secret = write(tmp_path / "secret", SECRET)
    path = tmp_path / "in" / written(name).name
    path.parent.mkdir()
    shutil.copy(written(name), path)
    (path.parent / side).symlink_to(secret)
    with pytest.raises(SourceError, match=rf"{side}: expected a file, found a link\. .* --follow-links"):
        write_without(open_source(path), tmp_path / "out", set())
    assert not (tmp_path / "out").exists()
    if side in ("property", "state.json"):
        out = write_without(open_source(path, follow_links=True), tmp_path / "out", set())
        assert (out / side).read_bytes() == SECRET


def test_a_list_of_labels_behind_a_link_is_refused(written: Written, tmp_path: Path) -> None:
    path = Path(shutil.copy(written("Parquet"), tmp_path))
    (tmp_path / "labels.txt").symlink_to(write(tmp_path / "elsewhere/labels.txt", SECRET))
    with pytest.raises(SourceError, match=r"labels\.txt: expected a file, found a link"):
        open_source(path, LabelRule("list", "labels.txt"))


def listed(folder: Path, paths: list[str]) -> Path:
    return write(folder / "set.txt", "".join(f"{path}\tp\n" for path in paths).encode())


def in_rows(folder: Path, paths: list[str]) -> Path:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = pa.array([{"bytes": None, "path": path} for path in paths], kind)
    pq.write_table(pa.table({"image": rows}), folder / "set.parquet")
    return folder / "set.parquet"


@pytest.mark.parametrize(("make", "as_folder"), [(listed, True), (listed, False), (in_rows, True)])
def test_files_that_are_no_images_are_not_copied(
    make: Callable[[Path, list[str]], Path], as_folder: bool, items: list[Item], tmp_path: Path
) -> None:
    folder = tmp_path / "home"
    for item in items[:2]:
        write(folder / f"{item.number}.png", item.data)
    write(folder / ".ssh/id_rsa", SECRET)
    source = open_source(make(folder, ["0.png", "1.png", ".ssh/id_rsa"]), LabelRule("none"))
    secret = next(record for record in source.records if "id_rsa" in record.id)
    with pytest.raises(ImageError, match="not an image"):
        source.read(secret)
    out = write_without(source, tmp_path / "out", set(), as_folder=as_folder)
    files = [file.read_bytes() for file in out.rglob("*") if file.is_file()]
    assert SECRET not in files
    assert as_folder is False or sorted(files) == sorted(item.data for item in items[:2])


def test_images_without_a_usual_beginning_are_read(tmp_path: Path) -> None:
    write(tmp_path / "a.ppm", b"P6\n# made by hand\n16 16\n255\n" + bytes(16 * 16 * 3))
    source = open_source(write(tmp_path / "l.txt", b"a.ppm p\n"))
    assert source.read(source.records[0]).startswith(b"P6\n#")


def test_records_keep_their_own_side_files(items: list[Item], tmp_path: Path) -> None:
    path = c.insightface(tmp_path, items)
    out = write_without(open_source(path), tmp_path / "out", set())
    assert (out / "property").read_text() == (tmp_path / "property").read_text()
