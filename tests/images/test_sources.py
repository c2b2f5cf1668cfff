"""Every file of a source is an image or a counted reject; nothing crashes, nothing escapes."""

from __future__ import annotations

import os
import time
import zipfile
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import drawn_faces, encoded, write
from unveil.errors import ImageError, SettingError, SourceError
from unveil.images import LabelRule, Source, open_source
from unveil.images.blob import LocalBlob
from unveil.images.label_rule import folder_of
from unveil.images.labels import parse_list
from unveil.images.readers.folder import FolderSource
from unveil.images.readers.zip import ZipSource
from unveil.images.source import printable, stays_inside

PICTURE = encoded(drawn_faces(1)[0])


def tree(folder: Path) -> Path:
    for name in ("b/2.png", "a/1.png", "a/10.png", "top.png"):
        write(folder / name, PICTURE)
    return folder


def ids(source: Source) -> list[str]:
    return [record.id for record in source.records]


def as_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_folder_tree_in_stable_order_with_people(tmp_path: Path) -> None:
    source = open_source(tree(tmp_path))
    assert ids(source) == ["a/1.png", "a/10.png", "b/2.png", "top.png"]
    assert [r.person for r in source.records] == ["a", "a", "b", None]
    assert all(source.read(r) == PICTURE for r in source.records)
    assert source.kind == "folder" and str(source.rule) == "folder"


def test_zip_of_the_same_tree_gives_the_same_records(tmp_path: Path) -> None:
    folder = open_source(tree(tmp_path / "tree"))
    members = dict.fromkeys(reversed(ids(folder)), PICTURE)
    zipped = open_source(as_zip(tmp_path / "anything.dat", {"a/": b"", **members}))
    assert ids(zipped) == ids(folder)
    assert [r.person for r in zipped.records] == [r.person for r in folder.records]
    assert all(zipped.read(r) == PICTURE for r in zipped.records)


@pytest.mark.parametrize(
    ("rule", "people"),
    [
        ("none", [None, None, None]),
        ("prefix:_", ["Ann_B", "Ann_B", "Cy"]),
        (r"regex:^(\w)", ["A", "A", "C"]),
        ("auto", [None, None, None]),
        ("one-per-image", ["Ann_B_1.png", "Ann_B_2.png", "Cy_1.png"]),
    ],
)
def test_identity_rules_of_a_flat_folder(tmp_path: Path, rule: str, people: list[str | None]) -> None:
    for name in ("Ann_B_1.png", "Ann_B_2.png", "Cy_1.png"):
        write(tmp_path / name, PICTURE)
    assert [r.person for r in open_source(tmp_path, LabelRule.parse(rule)).records] == people


@pytest.mark.parametrize(
    ("pattern", "hostile"),
    [
        (r"^(a|a)*$", "a" * 4000 + "!"),
        (r"(.*?a)(.*?b)(.*?c)(.*?d)$", "ab" * 4000),
        (r"((a{1,1000}){1,1000})b", "a" * 3000),
    ],
)
def test_a_pattern_that_a_hostile_name_keeps_busy_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str, hostile: str
) -> None:
    monkeypatch.setattr("unveil.images.label_rule.MATCH_SECONDS", 0.2)
    rule = LabelRule.parse(f"regex:{pattern}")
    usual = open_source(as_zip(tmp_path / "usual.zip", {"ab1": PICTURE, "aab": PICTURE}), rule)
    assert ids(usual) == ["aab", "ab1"]
    start = time.thread_time()
    with pytest.raises(SettingError, match=r"takes too long on `a.{79}`\. A group"):
        open_source(as_zip(tmp_path / "hostile.zip", {"a1": PICTURE, hostile: PICTURE}), rule)
    assert time.thread_time() - start < 5


def test_an_empty_label_is_none() -> None:
    names = ["abc1.jpg", "7.jpg", "_7.jpg"]
    assert list(LabelRule.parse("regex:^([a-z]*)").people(names)) == ["abc", None, None]
    assert list(LabelRule.parse("prefix:_").people(["a/x_1.jpg", "a/_1.jpg"])) == ["a/x", None]


def test_a_pattern_that_would_take_gigabytes_is_not_compiled() -> None:
    start = time.process_time()
    for nested in ("(?:" * 4 + "x" + "{200})" * 4, "x{99999999999999}", "x{2000000}"):
        with pytest.raises(SettingError, match="expected a pattern whose counted repeats, multiplied, are at most"):
            LabelRule.parse(f"regex:({nested})")
    # Comments of flag x hide counts, and a group that matches itself fills the memory while it matches.
    for spaced in ("(?x)(x{1#\n000})", "(?i-x)(x)", "(?x: x{2 000 000})(y)"):
        with pytest.raises(SettingError, match="expected a pattern without a flag x, found one"):
            LabelRule.parse(f"regex:{spaced}")
    for endless in ("((?R)?a)", "((?1)?a)", "((?-1)?a)", "(?<n>(?&n)?a)", "(?P<n>(?P>n)?a)"):
        with pytest.raises(SettingError, match="without a group that matches itself, found one"):
            LabelRule.parse(f"regex:{endless}")
    assert list(LabelRule.parse(r"regex:(?i)(?:x/)?(?P<n>[^/]+)").people(["X/a"])) == ["a"]
    with pytest.raises(SettingError, match="too many groups in groups"):
        LabelRule.parse("regex:" + "(" * 3000 + ")" * 3000)
    assert time.process_time() - start < 2
    dated = LabelRule.parse(r"regex:^(\d{8})_\d{2}-\d{2}-\d{4}_\d{6,10}")
    assert list(dated.people(["20260101_01-02-2026_123456.jpg"])) == ["20260101"]


def test_many_files_with_names_that_are_slow_by_little_are_an_error_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unveil.images.label_rule.MATCH_SECONDS", 0.5)
    names = [f"{k}{'ab' * 30}" for k in range(20)]
    slow = LabelRule.parse("regex:(.*?a)(.*?b)(.*?c)$")
    files = 0
    with pytest.raises(SettingError, match="takes too long"):
        for _ in range(10_000):
            assert set(slow.people(names)) == {None}
            files += 1
    assert files > 1 and set(slow.people(names)) == {None}
    assert set(LabelRule.parse(r"regex:(\d+)ab").people(names)) == {str(k) for k in range(20)}


def test_list_inside_a_folder_and_inside_a_zip(tmp_path: Path) -> None:
    labels = b"x.png p1\ny.png p2\n"
    members = {"x.png": PICTURE, "y.png": PICTURE, "z.png": PICTURE, "labels.txt": labels}
    for name, data in members.items():
        write(tmp_path / "f" / name, data)
    rule = LabelRule.parse("list:labels.txt")
    for path in (tmp_path / "f", as_zip(tmp_path / "f.zip", members)):
        source = open_source(path, rule)
        assert [(r.id, r.person) for r in source.records] == [("x.png", "p1"), ("y.png", "p2"), ("z.png", None)]
    with pytest.raises(SourceError, match=r"no file none\.txt"):
        open_source(tmp_path / "f.zip", LabelRule.parse("list:none.txt"))
    with pytest.raises(SourceError, match="inside"):
        open_source(tmp_path / "f", LabelRule.parse("list:../labels.txt"))


def test_list_file_as_a_source(tmp_path: Path) -> None:
    write(tmp_path / "sub/x.png", PICTURE)
    listing = write(
        tmp_path / "list.csv", "# made by hand\nsub/x.png,p one\nsub/gone.png,p2\n\n/etc/hostname,p3\n../up.png,p4\n"
    )
    source = open_source(listing)
    assert {r.id: r.person for r in source.records}["sub/x.png"] == "p one"
    reasons = {}
    for record in source.records:
        try:
            source.read(record)
        except ImageError as error:
            reasons[record.id] = (error.stage, error.reason)
    assert reasons == {
        "sub/gone.png": ("read", "unreadable file"),
        "/etc/hostname": ("read", "path leaves the folder"),
        "../up.png": ("read", "path leaves the folder"),
    }


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("a.png\nb c.png\n", [("a.png", None), ("b c.png", None)]),
        ("a.png 1\nb c.png 2\n", [("a.png", "1"), ("b c.png", "2")]),
        ("a b.png\tp q\nc.png\n", [("a b.png", "p q"), ("c.png", None)]),
        ("a.png,1\r\nb.png,2\r\n", [("a.png", "1"), ("b.png", "2")]),
        ("\ufeffa.png 1", [("a.png", "1")]),
        ("", []),
    ],
)
def test_list_lines(text: str, rows: list[tuple[str, str | None]]) -> None:
    assert [(row.path, row.label) for row in parse_list(text.encode(), "list").rows] == rows


def test_links_do_not_leave_the_folder_unless_asked(tmp_path: Path) -> None:
    write(tmp_path / "secret/s.png", PICTURE)
    folder = tree(tmp_path / "in")
    (folder / "link.png").symlink_to(tmp_path / "secret/s.png")
    (folder / "inside.png").symlink_to(folder / "top.png")
    (folder / "others").symlink_to(tmp_path / "secret")
    (folder / "a/loop").symlink_to(folder)
    closed = open_source(folder)
    reasons = {}
    for record in closed.records:
        try:
            closed.read(record)
        except ImageError as error:
            reasons[record.id] = error.reason
    assert reasons == {
        "link.png": "link leaves the folder",
        "others": "link to a folder",
        "a/loop": "link to a folder",
    }
    followed = open_source(folder, follow_links=True)
    assert "others/s.png" in ids(followed) and "a/1.png" in ids(followed)
    assert all(followed.read(r) == PICTURE for r in followed.records)


def test_names_that_are_not_text_or_are_markup(tmp_path: Path) -> None:
    write(tmp_path / os.fsdecode(b"\xff\xfe\n.png"), PICTURE)
    write(tmp_path / "<script>alert(1)</script>.png", PICTURE)
    source = open_source(tmp_path)
    assert all(source.read(r) == PICTURE for r in source.records)
    assert r"\xff\xfe\n.png" in ids(source)
    for id in ids(source):
        id.encode("utf-8")


@given(st.binary(max_size=40))
def test_printable_is_printable_text(raw: bytes) -> None:
    shown = printable(raw.decode("utf-8", "surrogateescape"))
    assert shown.isprintable() and shown.encode("utf-8").decode() == shown


@pytest.mark.parametrize(
    ("path", "inside"),
    [("a/b.png", True), ("../a", False), ("a/../../b", False), ("/etc/x", False), ("C:/x", False), (r"..\x", False)],
)
def test_stays_inside(path: str, inside: bool) -> None:
    assert stays_inside(path) is inside


def test_zip_members_that_lie_are_rejects(tmp_path: Path) -> None:
    path = as_zip(tmp_path / "z.zip", {"good.png": PICTURE, "bad.png": PICTURE * 2, "../up.png": PICTURE})
    data = bytearray(path.read_bytes())
    at = data.find(PICTURE, data.find(b"bad.png"))
    data[at + 50] ^= 0xFF  # the checksum no longer fits
    path.write_bytes(bytes(data))
    source = open_source(path)
    assert ids(source) == ["../up.png", "bad.png", "good.png"]
    with pytest.raises(ImageError, match="damaged zip member"):
        source.read(source.records[1])
    assert source.read(source.records[2]) == PICTURE


def test_a_member_larger_than_the_limit_is_not_read_whole(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.png", b"\0" * 5_000_000)
    write(tmp_path / "f/bomb.png", b"\0" * 5_000_000)
    packed = ZipSource(LocalBlob(tmp_path / "bomb.zip"), LabelRule(), max_bytes=1_000_000)
    for source in (packed, FolderSource(tmp_path / "f", LabelRule(), max_bytes=1_000_000)):
        with pytest.raises(ImageError, match="more than 1000000 bytes"):
            source.read(source.records[0])


def test_other_compressions_are_rejects(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "z.zip", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a.png", PICTURE)
    source = open_source(tmp_path / "z.zip")
    with pytest.raises(ImageError, match="unknown compression"):
        source.read(source.records[0])


def test_two_members_of_one_name_are_two_images(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr("x.png", b"1")
        archive.writestr("x.png", b"2")
    source = open_source(tmp_path / "z.zip")
    assert ids(source) == ["x.png", "x.png~2"]
    assert [source.read(r) for r in source.records] == [b"1", b"2"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b"\0\x01\x02binary", "none of the containers"),
        (b"  \n", "none of the containers"),
        (b"", "empty"),
    ],
)
def test_what_is_no_source_is_said(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "thing"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SourceError, match=message):
        open_source(path)


def test_empty_folder_and_truncated_zip(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="no files"):
        open_source(tmp_path / "empty")
    whole = as_zip(tmp_path / "z.zip", {"x.png": PICTURE}).read_bytes()
    write(tmp_path / "cut.zip", whole[: len(whole) // 2])
    with pytest.raises(SourceError, match="damaged zip"):
        open_source(tmp_path / "cut.zip")


@pytest.mark.parametrize("rule", ["folders", "prefix:", "regex:(", "regex:abc", "list:", "none:x", ""])
def test_unknown_identity_rules_say_what_there_is(rule: str) -> None:
    with pytest.raises(SettingError, match=r"regex|pattern|group"):
        LabelRule.parse(rule)


@given(st.lists(st.sampled_from(["a", "b.c", ".", "..", "", "é"]), min_size=1, max_size=5).map("/".join))
def test_the_folder_of_a_path_is_that_of_pathlib(path: str) -> None:
    assert folder_of(path) == str(PurePosixPath(path).parent)


@given(st.sampled_from(["auto", "folder", "one-per-image", "none", "prefix:_", "list:a.txt", "regex:(a)"]))
def test_rules_are_printed_as_they_are_typed(rule: str) -> None:
    assert str(LabelRule.parse(rule)) == rule


def test_pixels_survive_reading(tmp_path: Path) -> None:
    from unveil.images import decode_rgb

    face = drawn_faces(1, seed=3)[0]
    write(tmp_path / "x.png", encoded(face))
    source = open_source(tmp_path)
    assert np.array_equal(decode_rgb(source.read(source.records[0])), face)


def test_a_folder_that_links_name_has_its_own_name(tmp_path: Path) -> None:
    """Under the name that the system lists first, its images would be of another person on another disk."""
    for name in ("Ann", "Bob"):
        write(tmp_path / "set" / name / "1.png", encoded(np.zeros((32, 32, 3), np.uint8)))
    for name, target in (("Aaa", "Bob"), ("Zoe", "Ann"), ("Above", "..")):
        (tmp_path / "set" / name).symlink_to(target)
    source = open_source(tmp_path / "set", LabelRule.parse("folder"), follow_links=True)
    assert [(r.id, r.person) for r in source.records] == [("Ann/1.png", "Ann"), ("Bob/1.png", "Bob")]
    assert any(note.startswith("2 links lead to folders of the set itself") for note in source.notes)
