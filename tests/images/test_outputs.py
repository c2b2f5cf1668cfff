"""Nothing is written into images that are read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.builders import encoded, write
from tests.cli.runner import unveil as command_line
from unveil.errors import SettingError
from unveil.images.location import Location
from unveil.images.outputs import check_outside

IMAGE = encoded(np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with images, a list of one of them, and two shards."""
    for name in ("images/a.png", "images/b.png", "shard-0.tar", "shard-1.tar"):
        write(tmp_path / name, IMAGE)
    write(tmp_path / "list.txt", "./images/a.png 1\n")
    (tmp_path / "link").symlink_to("images")
    return tmp_path


@pytest.mark.parametrize(
    ("images", "place"),
    [
        *(
            ("images", "images"),
            ("images", "images/made/new.npz"),
            ("images", "link/new.npz"),
            ("link", "images/x.csv"),
        ),
        *(("images/a.png", "images/a.png"), ("shard-{0..1}.tar", "shard-1.tar"), ("zip:shard-0.tar", "shard-0.tar")),
        *(("list.txt", "list.txt"), ("list:list.txt", "images/a.png"), ("list.txt", "link/a.png")),
    ],
)
def test_what_is_read_is_not_written(images: str, place: str, data: Path) -> None:
    location = Location.parse(images)
    location = Location(str(data / location.target), location.form)
    with pytest.raises(SettingError, match="-o: expected a place outside the photographs"):
        check_outside("-o", data / place, location, "photographs")


@pytest.mark.parametrize(
    ("images", "place"),
    [
        *(("images", "images-2"), ("images", "run"), ("list.txt", "images/b.png"), ("list.txt", "images/run")),
        *(("shard-{0..1}.tar", "shard-2.tar"), ("images/a.png", "images/c.png"), ("absent", "run")),
    ],
)
def test_what_lies_beside_is_written(images: str, place: str, data: Path) -> None:
    check_outside("-o", data / place, Location(str(data / images)))
    check_outside("-o", "s3://bucket/run", Location(str(data / images)))
    check_outside("-o", data / place, Location("s3://bucket/images"))


@pytest.mark.parametrize(
    "words",
    [
        ("embed", "images", "-o", "images/a.npz"),
        ("embed", "list.txt", "-o", "images/a.png"),
        ("inspect", "images", "--contact-sheet", "images/sheet.png"),
        ("guard", "check", "guard", "images", "-o", "images/decisions.csv"),
        ("lookup", "images/a.png", "--run", "run", "-o", "images/a.png"),
    ],
)
def test_commands_write_nothing_among_images(
    words: tuple[str, ...], data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data)
    (data / "run").mkdir()
    before = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    done = command_line(*words)
    assert done.returncode == 2 and "expected a place outside the" in done.stderr, done.stderr
    assert {path: path.read_bytes() for path in data.rglob("*") if path.is_file()} == before
