"""Names in lists find the images that they look like, whichever way accents are written."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest

from tests.builders import drawn_faces, encoded, write
from unveil.embedding.embed import read_exclusions
from unveil.errors import ImageError, SourceError
from unveil.images import LabelRule, open_source
from unveil.images.labels import read_labels

FACE = encoded(drawn_faces(1)[0])
COMPOSED = "é.png"
SEPARATE = unicodedata.normalize("NFD", COMPOSED)
BOTH = [(COMPOSED, SEPARATE), (SEPARATE, COMPOSED)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "set/a.png", FACE)
    return tmp_path / "set"


@pytest.mark.parametrize(("there", "written"), BOTH)
def test_names_in_lists_are_matched(there: str, written: str, folder: Path) -> None:
    write(folder / there, FACE)
    excluded = write(folder.parent / "excluded.txt", f"{written}\na.png\n")
    assert read_exclusions(excluded, open_source(folder)) == {there, "a.png"}
    write(folder / "people.txt", f"a.png Ann\n{written} Zoe\n")
    source = open_source(folder, LabelRule.parse("list:people.txt"))
    assert {r.id: r.person for r in source.records} == {there: "Zoe", "a.png": "Ann"}
    listed = open_source(folder / "people.txt")
    assert [listed.read(record) for record in listed.records] == [FACE, FACE]
    (folder / "people.txt").unlink()
    write(folder / "dataset.json", json.dumps({"labels": [[written, 3], ["a.png", 4]]}))
    assert {r.id: r.person for r in open_source(folder).records} == {there: "3", "a.png": "4"}


def test_a_name_that_fits_several_is_an_error(folder: Path) -> None:
    """Both forms beside each other, and a list with a third, in which one letter is composed."""
    name = "éé.png"
    forms = [name, unicodedata.normalize("NFD", name), "é" + unicodedata.normalize("NFD", "é") + ".png"]
    for form in forms[:2]:
        write(folder / form, FACE)
    with pytest.raises(SourceError, match=r"expected the id of one image, found .* which 2 images"):
        read_exclusions(write(folder.parent / "x.txt", f"{forms[2]}\n"), open_source(folder))
    assert read_exclusions(write(folder.parent / "x.txt", f"{name}\n"), open_source(folder)) == {name}
    write(folder / "people.txt", f"a.png Ann\n{forms[2]} Zoe\n")
    with pytest.raises(SourceError, match="differ in how letters and accents are written alone"):
        open_source(folder, LabelRule.parse("list:people.txt"))
    listed = open_source(folder / "people.txt")
    with pytest.raises(ImageError, match="several files differ"):
        listed.read(next(record for record in listed.records if record.id == forms[2]))


def test_strata_are_those_of_people_in_any_form(tmp_path: Path) -> None:
    person = unicodedata.normalize("NFD", "Zoé")
    assert read_labels(write(tmp_path / "strata.txt", f"{person}\told\n"))["Zoé"] == "old"
    with pytest.raises(SourceError, match="has the labels young and old, by names that differ"):
        read_labels(write(tmp_path / "strata.txt", f"{person}\told\nZoé\tyoung\n"))
