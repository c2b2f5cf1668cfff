"""Two sets of faces: what they share is found, and a copy without it can be written."""

from __future__ import annotations

import csv
import json
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unveil
from tests.builders import save_embeddings, unit_rows, write
from tests.cli.runner import unveil as command_line
from tests.sharing.sets import HOSTILE, TwoSets, draw_sets
from unveil.errors import SettingError, SourceError, StoreError
from unveil.images import open_source
from unveil.io.text import printable
from unveil.progress import Silent


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("overlap")


@pytest.fixture(scope="module")
def sets(folder: Path) -> TwoSets:
    return draw_sets(folder)


@pytest.fixture(scope="module")
def found(sets: TwoSets, folder: Path) -> unveil.Overlap:
    made: unveil.Overlap = unveil.overlap(sets.a, sets.b, out=folder / "run", aligned="yes")
    return made


def vectors_of(rng: np.random.Generator, people: Any, images: int) -> Any:
    """Images (P * images, D) of people (P, D)."""
    x = np.repeat(people, images, axis=0) + 0.4 * unit_rows(rng, len(people) * images, people.shape[1])
    return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True), np.float32)


def embeddings(folder: Path, *, labelled: bool = True, shared: int = 40) -> tuple[Path, Path]:
    """Embeddings of 150 people with two images in each of two sets, who share the first ``shared`` people."""
    rng = np.random.default_rng(11)
    everybody = unit_rows(rng, 300, 48)
    files = []
    for name, rows in (("a", np.arange(150)), ("b", np.r_[np.arange(shared), np.arange(150 + shared, 300)])):
        ids = [f"{name}{k}" for k in range(2 * len(rows))]
        people = [f"{name}-person-{row}" if labelled else "" for row in np.repeat(rows, 2)]
        vectors = vectors_of(rng, everybody[rows], 2)
        files.append(save_embeddings(folder / f"{name}.npz", vectors, ids, people))
    return files[0], files[1]


# What is found


def test_shared_people_and_images_are_found(sets: TwoSets, found: unveil.Overlap) -> None:
    pairs = {(p.a_person, p.b_person) for p in found.people}
    assert pairs <= {(printable(a), b) for a, b in sets.people.items()}
    assert len(pairs) >= 18
    how: dict[str, set[str]] = {image.a_id: set() for image in found.images}
    for image in found.images:
        how[image.a_id].add(image.same)
    for id, same in sets.images.items():
        assert same in how[printable(id)]
    assert found.shared["A"].people == len(pairs)
    assert found.shared["A"].images == len(how)
    # Both images of a shared person are left out, whichever of them is shared.
    assert found.shared["A"].removed == 2 * len(pairs)


def test_the_files_say_the_same(found: unveil.Overlap) -> None:
    document = json.loads((found.run / "overlap.json").read_text())
    assert len(document["people"]) == len(found.people)
    with (found.run / "people.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["b_person"] for row in rows] == [p.b_person for p in found.people]
    # A spreadsheet takes no name for a formula.
    assert {row["a_person"] for row in rows if row["b_person"] in ("b000", "b002")} == {"'=1+1", "'-rf $HOME"}
    page = (found.run / "overlap.html").read_text()
    assert "&lt;b&gt;x&lt;/b&gt;/" in page and "<b>x" not in page
    assert "data:image/jpeg" in page
    assert found.headline in page.replace("&#39;", "'")
    listed = (found.run / "remove-from-A.txt").read_text().splitlines()
    assert len(listed) == found.shared["A"].removed
    assert set(listed) <= {record.id for record in open_source(found.run.parent / "a").records}


def test_what_python_gets(found: unveil.Overlap) -> None:
    assert len(repr(found)) < 200 and "people" in repr(found)
    assert found.summary().count("\n") < 12
    frame = found.pairs.to_frame()
    assert len(frame) == len(found.people) + len(found.candidates)
    assert list(found.images.to_frame().same) == [image.same for image in found.images]
    assert "<b>x" not in found._repr_html_()
    loaded = unveil.load(found.run, unveil.Overlap)
    assert loaded == found and loaded.people == found.people
    with pytest.raises(StoreError, match="holds no audit but an overlap"):
        unveil.load(found.run)
    with pytest.raises(StoreError, match="holds no overlap"):
        unveil.load(found.run.parent, unveil.Overlap)


def test_people_are_found_by_face_with_few_false(tmp_path: Path) -> None:
    a, b = embeddings(tmp_path)
    result = unveil.overlap(a, b, out=tmp_path / "run")
    right = [p for p in result.people if p.a_person[1:] == p.b_person[1:]]
    assert len(right) >= 38
    threshold = result.threshold
    assert threshold is not None and threshold.expected_false is not None and threshold.false_match_rate is not None
    assert threshold.measured_on == ("A", "B") and not threshold.upper_limit
    assert threshold.expected_false.value <= 0.05 * len(result.people)
    assert threshold.expected_false.value == pytest.approx(threshold.false_match_rate.value * result.pairs_of_people)
    assert len(result.people) - len(right) <= 6
    assert all(p.q is not None and p.q <= 0.05 and p.evidence == ("face",) for p in result.people)
    assert all(p.cosine < threshold.cosine for p in result.candidates if p.cosine is not None)
    assert len(result.candidates) == 100


def test_a_stated_false_match_rate_or_cosine(tmp_path: Path) -> None:
    a, b = embeddings(tmp_path)
    strict = unveil.overlap(a, b, out=tmp_path / "strict", threshold="fmr:1e-5")
    loose = unveil.overlap(a, b, out=tmp_path / "loose", threshold="fmr:1e-3")
    fixed = unveil.overlap(a, b, out=tmp_path / "fixed", threshold=0.6)
    assert strict.threshold is not None and loose.threshold is not None and fixed.threshold is not None
    assert strict.threshold.false_match_rate is not None and loose.threshold.expected_false is not None
    assert strict.threshold.false_match_rate.value == pytest.approx(1e-5)
    assert loose.threshold.expected_false.value == pytest.approx(22.5)
    assert len(strict.people) < len(loose.people)
    assert all(p.cosine is not None and p.cosine >= 0.6 for p in fixed.people)
    below = unveil.overlap(a, b, out=tmp_path / "below", threshold=-1.0)
    assert below.threshold is not None and below.threshold.false_match_rate is None
    assert below.threshold.expected_false is None and "are measured from" in below.threshold.why
    assert any(p.expected_false is None for p in below.people)
    assert all(p.expected_false is not None for p in below.people if p in strict.people)
    assert "How many of these are different people is not known." in below.headline
    with pytest.raises(SettingError, match="that these sets can measure"):
        unveil.overlap(a, b, out=tmp_path / "stricter", threshold="fmr:1e-12")


@pytest.mark.parametrize("threshold", ["fmr:0", "fmr:2", "fmr:", "fpr:0.1", "nan", "1.5", "", "fmr:1e"])
def test_other_thresholds_are_refused(threshold: str, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="threshold: expected significant, fmr:RATE"):
        unveil.overlap(tmp_path, tmp_path, out=tmp_path / "run", threshold=threshold)


def test_disjoint_sets_share_nobody(tmp_path: Path) -> None:
    a, b = embeddings(tmp_path, shared=0)
    result = unveil.overlap(a, b, out=tmp_path / "run")
    assert len(result.people) <= 1 and not result.images
    assert (result.threshold is not None and "no pair matches" in result.threshold.why) or result.people


def test_without_labels_the_number_is_an_upper_limit(tmp_path: Path) -> None:
    a, b = embeddings(tmp_path, labelled=False)
    result = unveil.overlap(a, b, out=tmp_path / "run")
    assert result.threshold is not None and result.threshold.upper_limit
    assert result.labelled == {"A": False, "B": False}
    assert "Neither set has labels" in " ".join(result.limitations)
    # Images of one person inside a set are as close as those of one person in both.
    assert not result.people


def test_a_set_without_labels_beside_one_with_them(tmp_path: Path) -> None:
    a, _ = embeddings(tmp_path)
    (tmp_path / "other").mkdir()
    _, b = embeddings(tmp_path / "other", labelled=False)
    result = unveil.overlap(a, b, out=tmp_path / "run")
    assert result.threshold is not None and result.threshold.measured_on == ("A",)
    assert not result.threshold.upper_limit
    assert result.shared["A"].people >= 38
    assert all(p.b_person == p.b_id for p in result.people)


def test_too_few_people_leave_the_facts(folder: Path, sets: TwoSets, tmp_path: Path) -> None:
    few = tmp_path / "few"
    for person in ("a010", "a011"):
        shutil.copytree(sets.a / person, few / person)
    shutil.copytree(sets.a / "a020", tmp_path / "b/x")
    shutil.copy(sets.a / "a010/0.png", tmp_path / "b/x/again.png")
    result = unveil.overlap(few, tmp_path / "b", out=tmp_path / "run", aligned="yes", store=folder / "unveil-store")
    assert result.threshold is None
    files = [(image.a_id, image.b_id, image.same) for image in result.images if image.same == "bytes"]
    assert files == [("a010/0.png", "x/again.png", "bytes")]
    assert "enough people" in result.headline
    with pytest.raises(SettingError, match="500 pairs of different people"):
        unveil.overlap(few, tmp_path / "b", out=tmp_path / "rate", aligned="yes", threshold="fmr:1e-3")


def test_a_set_with_itself(folder: Path, sets: TwoSets, tmp_path: Path) -> None:
    result = unveil.overlap(sets.a, sets.a, out=tmp_path / "run", aligned="yes", store=folder / "unveil-store")
    assert result.shared["A"] == result.shared["B"]
    assert result.shared["A"].people_by_image == 60 and result.shared["A"].images == 120
    assert {image.same for image in result.images} >= {"bytes"}
    with pytest.raises(SettingError, match="nothing would be left"):
        result.remove("A", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_rejected_files_are_compared_by_their_bytes(folder: Path, sets: TwoSets, tmp_path: Path) -> None:
    for side, source in (("a", sets.a), ("b", sets.b)):
        shutil.copytree(source, tmp_path / side)
    write(tmp_path / "a/a030/broken.png", "no image")
    write(tmp_path / "b/b044/broken too.png", "no image")
    write(tmp_path / "a/a030/other.png", "no image either")
    result = unveil.overlap(
        tmp_path / "a", tmp_path / "b", out=tmp_path / "run", aligned="yes", store=folder / "unveil-store"
    )
    assert [(i.a_id, i.b_id, i.cosine) for i in result.images if "broken" in i.a_id] == [
        ("a030/broken.png", "b044/broken too.png", None)
    ]
    assert ("a030", "b044") in {(p.a_person, p.b_person) for p in result.people}
    assert "a030/other.png" in (tmp_path / "run/remove-from-A.txt").read_text().splitlines()


# Sets that cannot be used


def test_empty_and_missing_sets(sets: TwoSets, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for place, message in ((tmp_path / "empty", "no files in it"), (tmp_path / "none", "no such file")):
        done = command_line("overlap", sets.a, place, "-o", tmp_path / "run")
        assert done.returncode == 2 and message in done.stderr
        assert not (tmp_path / "run").exists()
    done = command_line("overlap", sets.a, sets.b, "-o", sets.a / "run")
    assert done.returncode == 2 and "outside the A" in done.stderr
    done = command_line("overlap", sets.a, sets.b, "-o", tmp_path / "run", "--remove", "A", "--copy", sets.a / "copy")
    assert done.returncode == 2 and "--copy: expected a place outside the A" in done.stderr
    done = command_line("overlap", sets.a, "", "-o", tmp_path / "run")
    assert done.returncode == 2 and "B: expected a path" in done.stderr
    done = command_line("overlap", sets.a, sets.b, "-o", tmp_path / "run", "--remove", "A")
    assert done.returncode == 2 and "Give both" in done.stderr
    with pytest.raises(SettingError, match="labels: expected one value"):
        unveil.overlap(sets.a, sets.b, out=tmp_path / "run", labels={"C": "folder"})  # type: ignore[dict-item]


# Running again


class Interrupting(Silent):
    """Ends a run at a stage, as Ctrl-C does."""

    def __init__(self, stage: str) -> None:
        self._stage, self._in_it = stage, False

    def start(self, stage: str, total: int, unit: str) -> None:
        self._in_it = stage == self._stage

    def advance(self, n: int) -> None:
        if self._in_it:
            raise KeyboardInterrupt


@pytest.mark.parametrize("stage", ["embedding B", "comparing A with B", "looking for near-duplicates"])
def test_an_interrupted_run_ends_as_if_it_had_not_been(
    stage: str, sets: TwoSets, found: unveil.Overlap, folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder / "unveil-store", tmp_path / "store")
    keywords: dict[str, Any] = {"out": tmp_path / "run", "aligned": "yes", "store": tmp_path / "store"}
    if stage == "embedding B":
        shutil.rmtree(tmp_path / "store")
    with pytest.raises(KeyboardInterrupt):
        unveil.overlap(sets.a, sets.b, progress=Interrupting(stage), **keywords)
    with pytest.raises(StoreError, match="not finished"):
        unveil.load(tmp_path / "run", unveil.Overlap)
    again = unveil.overlap(sets.a, sets.b, **keywords)
    assert again == found
    for name in ("people.csv", "images.csv", "pairs.csv", "overlap.html", "remove-from-B.txt"):
        assert (tmp_path / "run" / name).read_bytes() == (found.run / name).read_bytes()
    assert {path.name for path in (tmp_path / "run").iterdir()} == {path.name for path in found.run.iterdir()}


class Refusing(Silent):
    """Nothing may be computed."""

    def start(self, stage: str, total: int, unit: str) -> None:
        raise AssertionError(stage)


def test_a_finished_run_answers_until_a_set_changes(tmp_path: Path) -> None:
    a, b = embeddings(tmp_path)
    first = unveil.overlap(a, b, out=tmp_path / "run")
    assert unveil.overlap(a, b, out=tmp_path / "run", progress=Refusing()) == first
    with pytest.raises(SettingError, match=r"other settings \(fdr: 0.05 there, 0.2 now\)"):
        unveil.overlap(a, b, out=tmp_path / "run", fdr=0.2)
    write(tmp_path / "run/notes.txt", "mine")
    with pytest.raises(SettingError, match=r"nothing but an overlap in .*, found notes.txt"):
        unveil.overlap(a, b, out=tmp_path / "run", fdr=0.2, overwrite=True)
    (tmp_path / "run/notes.txt").unlink()
    second = unveil.overlap(a, b, out=tmp_path / "run", fdr=0.2, overwrite=True)
    assert second.threshold is not None and first.threshold is not None
    assert second.threshold.cosine <= first.threshold.cosine
    (tmp_path / "changed").mkdir()
    shutil.copy(embeddings(tmp_path / "changed", shared=3)[1], b)
    assert len(unveil.overlap(a, b, out=tmp_path / "run", fdr=0.2).people) < len(second.people)
    with pytest.raises(SettingError, match="not the manifest of an unveil run"):
        unveil.audit(a, b, out=tmp_path / "run")


def test_damage_and_strangers(tmp_path: Path) -> None:
    a, b = embeddings(tmp_path)
    run = tmp_path / "run"
    unveil.overlap(a, b, out=run)
    theirs = tmp_path / "theirs"
    shutil.copytree(run, theirs)
    manifest = json.loads((theirs / "manifest.json").read_text())
    manifest["places"] = {"A": "/etc", "B": "/etc"}
    (theirs / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(SourceError, match="did not make the overlap"):
        unveil.load(theirs, unveil.Overlap).remove("A", tmp_path / "copy")
    # A changed table is seen with verify, a changed result always.
    write(run / "people.csv", "nobody")
    unveil.overlap(a, b, out=run, verify=True)
    assert (run / "people.csv").read_text() != "nobody"
    text = (run / "overlap.json").read_text()
    write(run / "overlap.json", re.sub(r'"pairs_compared": \d+', '"pairs_compared": 1', text))
    with pytest.raises(StoreError, match=r"overlap.json is damaged"):
        unveil.load(run, unveil.Overlap)
    for nothing in ("[]", "{", "null", '{"schema_version": 1}'):
        write(run / "overlap.json", nothing)
        with pytest.raises(StoreError, match="damaged"):
            unveil.load(run, unveil.Overlap)
    assert unveil.overlap(a, b, out=run).pairs_compared == 300 * 300


# Copies without what is shared


@pytest.fixture
def in_folder(folder: Path, sets: TwoSets, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(folder)
    yield folder
    shutil.rmtree(folder / "copy", ignore_errors=True)


def test_a_copy_of_a_folder(in_folder: Path, sets: TwoSets, found: unveil.Overlap) -> None:
    done = command_line("overlap", "a", "b", "-o", "again", "--aligned", "yes", "--remove", "A", "--copy", "copy")
    assert done.returncode == 0, done.stderr
    left = {record.id for record in open_source(Path("copy")).records}
    before = {record.id for record in open_source(sets.a).records}
    shared = {p.a_person for p in found.people}
    gone = {record.id for record in open_source(sets.a).records if record.person in shared}
    assert left == before - gone and len(gone) == found.shared["A"].removed
    assert f"without {len(gone):,} files" in done.stdout
    done = command_line("overlap", "a", "b", "-o", "again", "--aligned", "yes", "--remove", "A", "--copy", "copy")
    assert done.returncode == 2 and "exists already" in done.stderr


def test_a_copy_of_a_zip_without_the_images_alone(in_folder: Path, sets: TwoSets, found: unveil.Overlap) -> None:
    with zipfile.ZipFile("b.zip", "w") as archive:
        for file in sorted(sets.b.rglob("*.*g")):
            archive.write(file, file.relative_to(sets.b))
    arguments = ("overlap", "a", "b.zip", "-o", "zipped", "--a-aligned", "yes", "--b-aligned", "yes")
    done = command_line(*arguments, "--remove", "B", "--copy", "copy", "--only-images", "--quiet")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{found.shared['A'].people} people, ")
    with zipfile.ZipFile("copy/b.zip") as archive:
        left = {name for name in archive.namelist() if not name.endswith("/")}
    shared = {image.b_id for image in found.images}
    assert left == {record.id for record in open_source(sets.b).records} - shared
    copied = command_line(*arguments, "--remove", "B", "--copy", "copy/as-folder", "--as-folder", "--json")
    assert copied.returncode == 0
    assert json.loads(copied.stdout)["shared"]["B"]["people"] == found.shared["B"].people
    assert not any((Path("copy/as-folder") / name).exists() for name in shared)


def test_a_copy_from_python(found: unveil.Overlap, tmp_path: Path) -> None:
    copy = found.remove("B", tmp_path / "copy")
    names = {record.person for record in open_source(copy).records}
    assert names == {f"b{i:03d}" for i in range(60)} - {p.b_person for p in found.people}
    write(found.run.parent / "b/b059/new.png", "new")
    try:
        with pytest.raises(SourceError, match="Run the overlap again"):
            found.remove("B", tmp_path / "other")
    finally:
        (found.run.parent / "b/b059/new.png").unlink()
    file, other = sorted((found.run.parent / "b").rglob("*.png"))[:2]
    data = file.read_bytes()
    file.write_bytes(other.read_bytes())
    try:
        with pytest.raises(SourceError, match="Run the overlap again"):
            found.remove("B", tmp_path / "other")
    finally:
        file.write_bytes(data)


def test_embeddings_are_copied_as_embeddings(tmp_path: Path) -> None:
    a, b = embeddings(tmp_path)
    result = unveil.overlap(a, b, out=tmp_path / "run")
    copy = result.remove("A", tmp_path / "copy")
    with np.load(copy / "embeddings.npz") as arrays:
        left = set(arrays["people"])
    assert not left & {p.a_person for p in result.people} and len(left) == 150 - result.shared["A"].people


def test_nothing_to_remove(tmp_path: Path) -> None:
    a, b = embeddings(tmp_path)
    result = unveil.overlap(a, b, out=tmp_path / "run")
    with pytest.raises(SettingError, match="expected shared images, found none"):
        result.remove("A", tmp_path / "copy", only_images=True)


# The terminal


def test_the_terminal_is_short_and_says_what_follows(in_folder: Path, sets: TwoSets, found: unveil.Overlap) -> None:
    del sets, found
    done = command_line("overlap", "a", "b", "-o", "typed", "--aligned", "yes")
    assert done.returncode == 0, done.stderr
    before, _, after = done.stdout.partition("next:")
    assert before.count("\n") <= 20 and "\x1b[31m" not in done.stdout
    assert "unveil overlap a b -o typed" in after and "--remove A --copy A-without-shared" in after
    command = after.strip().splitlines()[0].partition("unveil ")[2]
    assert command_line(*command.split()).returncode == 0
    shutil.rmtree("A-without-shared")
    assert HOSTILE[5] not in done.stdout


def test_arrays(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    people = unit_rows(rng, 80, 32)
    a = unveil.Embeddings(vectors_of(rng, people[:50], 2), [k // 2 for k in range(100)], model="m")
    b = unveil.Embeddings(vectors_of(rng, people[30:], 2), [30 + k // 2 for k in range(100)], model="m")
    result = unveil.overlap(a, b, out=tmp_path / "run")
    right = [p for p in result.people if p.a_person == p.b_person]
    assert len(right) >= 15 and len(result.people) - len(right) <= 3
    assert {p.a_person for p in right} <= {str(k) for k in range(30, 50)}
