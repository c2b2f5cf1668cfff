"""Arrays and data frames in place of paths."""

from __future__ import annotations

import io
import os
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from PIL import Image

import unveil
from tests.builders import encoded, unit_rows
from unveil.api.data import place_of
from unveil.embedding.precomputed import read_precomputed
from unveil.images import EmbeddingSource, decode_rgb, open_source

LABELS = ["a", None, "b", float("nan"), 7]
# For calls that no type checker would pass.
EMBEDDINGS: Any = unveil.Embeddings
IMAGES: Any = unveil.Images
READ = ["a", None, "b", None, "7"]


def opened(data: Any, store: Path) -> Any:
    return open_source(place_of(data, "training", str(store)))


def read(data: Any, store: Path) -> tuple[list[tuple[str, str | None]], np.ndarray[Any, Any]]:
    """The ids with their labels, and the unit vectors, as an audit reads them."""
    source = opened(data, store)
    assert isinstance(source, EmbeddingSource)
    embedded = read_precomputed(source, store / "vectors.npy").embedded
    return list(zip(embedded.ids, embedded.people, strict=True)), np.asarray(embedded.vectors)


@pytest.fixture
def vectors() -> np.ndarray[Any, Any]:
    return unit_rows(np.random.default_rng(0), 5, 8)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_embeddings_of_any_width_and_length(dtype: type, vectors: np.ndarray[Any, Any], tmp_path: Path) -> None:
    data = unveil.Embeddings((3 * vectors).astype(dtype), LABELS, list("vwxyz"), model="drawn")
    names, found = read(data, tmp_path)
    assert names == list(zip("vwxyz", READ, strict=True))
    np.testing.assert_allclose(found, vectors, atol=1e-3 if dtype is np.float16 else 1e-6)
    assert opened(data, tmp_path).model == "drawn"


def test_every_form_of_embeddings_is_read_alike(vectors: np.ndarray[Any, Any], tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.tensor(vectors, requires_grad=True)
    forms: list[Any] = [vectors, vectors.tolist(), tensor, list(vectors), vectors[:, ::1], np.asfortranarray(vectors)]
    for form in forms:
        names, found = read(form, tmp_path)
        assert [person for _, person in names] == [None] * 5
        np.testing.assert_allclose(found, vectors, atol=1e-6)


def test_data_frames(vectors: np.ndarray[Any, Any], tmp_path: Path) -> None:
    columns = {"embedding": list(vectors), "label": ["a", None, "b", None, "7"], "id": list("vwxyz"), "other": range(5)}
    index = pd.Index([9, 9, 9, 9, 9])
    for frame in (pd.DataFrame(columns, index=index), pl.DataFrame(columns), pl.DataFrame(columns).to_arrow()):
        names, found = read(frame, tmp_path)
        assert names == list(zip("vwxyz", READ, strict=True))
        np.testing.assert_allclose(found, vectors, atol=1e-6)


def test_images_keep_their_pixels_and_labels(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (5, 24, 20, 3), np.uint8)
    pillow = [Image.fromarray(one) for one in pixels]
    forms: list[Any] = [
        unveil.Images(pixels, LABELS),
        unveil.Images(list(pixels), LABELS),
        unveil.Images(pillow, LABELS),
    ]
    for form in forms:
        source = opened(form, tmp_path)
        assert [record.person for record in source.records] == READ
        np.testing.assert_array_equal([decode_rgb(source.read(record)) for record in source.records], pixels)
    named = unveil.Images(pixels, ids=["v", "v", "", "y", "#z"])
    assert [record.id for record in opened(named, tmp_path).records] == ["v", "v~2", "00000002", "y", "#z"]
    frame = pd.DataFrame({"image": [encoded(one) for one in pixels], "id": list("vwxyz")})
    for bare in (pixels, list(pixels), pillow, tuple(pillow), named, frame):
        source = opened(bare, tmp_path)
        assert {record.person for record in source.records} == {None}  # ids are no labels
        np.testing.assert_array_equal([decode_rgb(source.read(record)) for record in source.records], pixels)


def test_images_of_pillow_are_read_as_their_files(tmp_path: Path) -> None:
    """Upright by the EXIF orientation, grey and palettes as RGB; a damaged file is named."""
    pixels = np.random.default_rng(1).integers(0, 256, (24, 20, 3), np.uint8)
    turned = Image.Exif()
    turned[0x0112] = 6
    files = {mode: tmp_path / f"{mode}.png" for mode in ("RGB", "L", "P", "RGBA", "1")}
    for mode, path in files.items():
        Image.fromarray(pixels).convert(mode).save(path, exif=turned)
    source = opened([Image.open(path) for path in files.values()], tmp_path / "store")
    for record, path in zip(source.records, files.values(), strict=True):
        np.testing.assert_array_equal(decode_rgb(source.read(record)), decode_rgb(path.read_bytes()))
    cut = io.BytesIO(files["RGB"].read_bytes()[:-200])
    with pytest.raises(unveil.InputError, match=r"training: image 1 of Pillow cannot be decoded: .*truncated"):
        opened([Image.open(files["RGB"]), Image.open(cut)], tmp_path)


def test_the_same_data_are_the_same_file(vectors: np.ndarray[Any, Any], tmp_path: Path) -> None:
    first = place_of(vectors, "training", str(tmp_path))
    assert place_of(vectors.copy(), "control", str(tmp_path)) == first
    assert place_of(vectors + 1, "training", str(tmp_path)) != first
    assert place_of("some/path", "training", str(tmp_path)) == "some/path"
    assert place_of(Path("some"), "training", "s3://bucket/store") == Path("some")


def test_hugging_face_datasets(tmp_path: Path) -> None:
    """Images in memory and images that are named by their files, of a dataset and of a part of it."""
    datasets = pytest.importorskip("datasets")
    pixels = np.random.default_rng(1).integers(0, 256, (5, 24, 20, 3), np.uint8)
    for k, one in enumerate(pixels):
        Image.fromarray(one).save(tmp_path / f"{k}.png")
    features = datasets.Features(image=datasets.Image(), label=datasets.Value("string"))
    forms = ([Image.fromarray(one) for one in pixels], [str(tmp_path / f"{k}.png") for k in range(5)])
    for images in forms:
        columns = {"image": images, "label": ["a", None, "b", None, "7"]}
        whole = datasets.Dataset.from_dict(columns, features=features)
        for dataset, rows in ((whole, range(5)), (whole.select([3, 0]), (3, 0))):
            source = opened(dataset, tmp_path / "store")
            assert [record.person for record in source.records] == [READ[k] for k in rows]
            for record, k in zip(source.records, rows, strict=True):
                np.testing.assert_array_equal(decode_rgb(source.read(record)), pixels[k])
    with pytest.raises(unveil.InputError, match=r"found a DatasetDict of train\. Choose a split"):
        opened(datasets.DatasetDict(train=whole), tmp_path)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (3, "found int"),
        (None, "found NoneType"),
        ([], r"found ndarray \(0,\)|found list"),
        (np.zeros((4, 4), np.int64), r"found ndarray \(4, 4\) int64"),
        (np.zeros((2, 4, 4, 1), np.uint8), r"as image 0"),
        (np.zeros((2, 3, 4, 4), np.uint8), r"found ndarray \(3, 4, 4\) uint8 as image 0"),
        (np.zeros((2, 4, 4, 3), np.float32), r"float32 as image 0"),
        ([Image.new("I;16", (4, 4))], "mode I;16; convert it"),
        (unveil.Embeddings(np.zeros((2, 0), np.float32)), r"vectors \(N, D\)"),
        (unveil.Embeddings([["a"]]), "found list"),
        (unveil.Embeddings(np.ones((2, 3)), labels=["a"]), "each of 2 images, found 1"),
        (unveil.Images(np.zeros((2, 4, 4, 3), np.uint8), ids=["a"]), "each of 2 images, found 1"),
        (pd.DataFrame({"x": [object(), object()]}), "a data frame"),
        (EMBEDDINGS(np.ones((2, 3)), labels=(name for name in "ab")), "as labels, .* found generator. Make a l"),
        (EMBEDDINGS(np.ones((2, 3)), labels=iter("ab")), "as labels, .* found str_"),
        (EMBEDDINGS(np.ones((2, 3)), ids=map(str, range(2))), "as ids, .* found map"),
        (EMBEDDINGS(np.ones((2, 3)), labels="ab"), "as labels, .* found str"),
        (IMAGES(np.zeros((2, 4, 4, 3), np.uint8), labels={"a", "b"}), "as labels, .* found set"),
        (IMAGES(np.zeros((2, 4, 4, 3), np.uint8), ids={0: "a", 1: "b"}), "as ids, .* found dict"),
        (EMBEDDINGS(np.ones((2, 3)), labels=np.array(3)), "as labels, .* found ndarray"),
        (unveil.Embeddings(np.ones((2, 3)), ids=["a", "b" * 65_537]), "ids of at most 65,536 characters"),
        (unveil.Embeddings(np.ones((2, 3)), ids=["a", 10**5000]), "ids of at most 65,536 characters"),
        (unveil.Embeddings(np.ones((2, 3)), labels=(1, 2, 3)), "each of 2 images, found 3"),
        (EMBEDDINGS(np.ones((2, 3)), labels=pd.DataFrame({"a": [1, 2], "b": [3, 4]})), "as labels, .* found DataFrame"),
        (unveil.Embeddings(np.ma.masked_equal(np.eye(2), 0)), "found MaskedArray"),
        (pd.DataFrame({"embedding": [[1.0], [2.0]], "label": [2**65, 1]}), "a data frame"),
        (pd.DataFrame({"embedding": [[1.0], [2.0]], "label": [Decimal(1), Decimal(2)]}), "column label, found decimal"),
        (pl.DataFrame({"embedding": [[1.0], [2.0]], "Person": [date(2026, 1, 1)] * 2}), "column Person, found date"),
        (unveil.Embeddings(np.ones((2, 3)), labels=[pd.Timestamp(0), "a"]), "as labels, found Timestamp. Make text"),
        (unveil.Images(np.zeros((2, 4, 4, 3), np.uint8), labels=[Path("a"), "b"]), "as labels, found PosixPath"),
        (unveil.Embeddings(np.ones((2, 3)), labels=[("a", 1), "b"]), "several values for one image"),
        (
            EMBEDDINGS(np.ones((2, 3)), labels=np.array([("a", 1), ("b", 2)], [("name", "U1"), ("n", int)])),
            "several values for one image",
        ),
    ],
)
def test_other_data_are_refused(data: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(unveil.InputError, match=said):
        place_of(data, "training", str(tmp_path))


def test_arrays_need_a_store_on_this_machine(vectors: np.ndarray[Any, Any]) -> None:
    with pytest.raises(unveil.SettingError, match="Set store to a folder"):
        place_of(vectors, "training", "s3://bucket/store")


def test_ids_that_pad_to_gigabytes_are_refused(tmp_path: Path) -> None:
    """An array of texts gives each the space of the longest: 65,536 characters for each of 20,000."""
    ids = ["x" * 65_536, *map(str, range(19_999))]
    with pytest.raises(unveil.InputError, match=r"take at most 4,294,967,296 bytes, each padded to the longest, found"):
        place_of(unveil.Embeddings(np.ones((20_000, 2)), ids=ids), "training", str(tmp_path))


@pytest.mark.parametrize("name", [os.fsdecode(b"Jos\xe9"), "\ud800x"])
def test_names_that_are_no_text_are_escaped(name: str, tmp_path: Path) -> None:
    """A folder of a disk in Latin-1, as `os.listdir` gives it."""
    names = [name, "b"]
    for data in (unveil.Embeddings(np.ones((2, 3))), unveil.Images(np.zeros((2, 4, 4, 3), np.uint8))):
        source = opened(replace(data, labels=names, ids=names), tmp_path)
        assert source.records[0].person.isascii() and source.records[0].id.isascii()
        assert source.records[1].person == source.records[1].id == "b"


def test_labels_of_any_array(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    whole = torch.tensor([3, 7])
    forms: list[Any] = [whole, list(whole), pa.array([3, 7]), pa.chunked_array([[3], [7]]), list(pa.array([3, 7]))]
    for form in (*forms, np.array([3, 7]), [np.array(3), np.array(7)], pd.Series([3, 7]), pd.Categorical([3, 7])):
        source = opened(unveil.Embeddings(np.ones((2, 2)), labels=form), tmp_path)
        assert [record.person for record in source.records] == ["3", "7"]
    missing = opened(unveil.Embeddings(np.ones((3, 2)), labels=[pd.NA, None, pd.NaT], ids=torch.arange(3)), tmp_path)
    assert [(record.id, record.person) for record in missing.records] == [("0", None), ("1", None), ("2", None)]


def test_a_masked_label_is_none(tmp_path: Path) -> None:
    masked = np.ma.array([3, 7], mask=[False, True])
    source = opened(EMBEDDINGS(np.ones((2, 2)), labels=masked), tmp_path)
    assert [record.person for record in source.records] == ["3", None]


def test_labels_that_pandas_has_rounded_are_refused(tmp_path: Path) -> None:
    """Two people would be one: pandas stores integers with missing values as floats."""
    labels = [2**53, 2**53 + 1, None]
    vectors = [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]
    for rounded in (
        pd.DataFrame({"embedding": vectors, "label": labels}),
        EMBEDDINGS(vectors, labels=pd.Series(labels)),
    ):
        with pytest.raises(unveil.InputError, match=r"the float64 9007199254740992\.0, which may stand for"):
            opened(rounded, tmp_path)
    exact = opened(pd.DataFrame({"embedding": vectors, "label": pd.array(labels, dtype="Int64")}), tmp_path)
    assert [record.person for record in exact.records] == [str(2**53), str(2**53 + 1), None]


def test_an_array_in_the_store_is_believed_by_its_content(vectors: np.ndarray[Any, Any], tmp_path: Path) -> None:
    path = Path(place_of(vectors, "training", str(tmp_path)))
    content, written = path.read_bytes(), path.stat().st_mtime_ns
    assert place_of(vectors, "training", str(tmp_path)) == path and path.stat().st_mtime_ns == written
    other = Path(place_of(2 + vectors, "training", str(tmp_path)))
    path.write_bytes(other.read_bytes())
    assert Path(place_of(vectors, "training", str(tmp_path))).read_bytes() == content
    path.unlink()
    path.symlink_to(other)
    assert place_of(vectors, "training", str(tmp_path)) == path and not path.is_symlink()
    assert path.read_bytes() == content != other.read_bytes()


def test_categories_of_polars_are_labels(vectors: np.ndarray[Any, Any], tmp_path: Path) -> None:
    labels = pl.Series(["a", None, "b", "b", "7"], dtype=pl.Categorical)
    names, _ = read(pl.DataFrame({"embedding": list(vectors), "label": labels}), tmp_path)
    assert [person for _, person in names] == ["a", None, "b", "b", "7"]


def test_an_empty_id_is_a_number(tmp_path: Path) -> None:
    source = opened(unveil.Embeddings(np.ones((2, 2)), ids=["a", ""]), tmp_path)
    assert [record.id for record in source.records] == ["a", "00000001"]


def test_a_dataset_of_others_names_no_address_and_no_other_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")
    opened_addresses: list[object] = []
    monkeypatch.setattr("datasets.features.image.xopen", lambda *place, **_: opened_addresses.append(place))
    text = tmp_path / "secret.txt"
    text.write_text("secret")
    os.mkfifo(tmp_path / "pipe")
    features = datasets.Features(other=[datasets.Image()], image=datasets.Image())
    for path, said in (
        ("http://127.0.0.1:1/x.png", "found an address: http"),
        ("zip://x.png::http://127.0.0.1:1/x.zip", "found an address: zip"),
        (str(text), "found another file: .*secret.txt"),
        (str(tmp_path / "pipe"), "found a file that cannot be read: .*pipe"),
        ("/dev/zero", "found a file that cannot be read: /dev/zero"),
    ):
        named = {"bytes": None, "path": path}
        for row in ({"other": [], "image": named}, {"other": [named], "image": None}):
            columns = {name: pa.array([row[name]], features.arrow_schema.field(name).type) for name in row}
            dataset = datasets.Dataset(pa.table(columns), info=datasets.DatasetInfo(features=features))
            with pytest.raises(unveil.InputError, match=said):
                place_of(dataset, "training", str(tmp_path / "store"))
    assert not opened_addresses


def test_a_label_of_thousands_of_digits_is_shortened(tmp_path: Path) -> None:
    source = opened(unveil.Embeddings(np.ones((3, 2)), labels=[10**5000, 7, "a"]), tmp_path)
    first, *others = [record.person or "" for record in source.records]
    assert "... (4,153 characters, SHA-256 " in first and others == ["7", "a"]
