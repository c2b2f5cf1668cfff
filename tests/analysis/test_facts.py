"""Exact copies: files and pixels that are equal, and nothing else."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import replace
from typing import cast

import numpy as np
import pytest
from PIL import Image

from tests.analysis.worlds import embedded, unit
from tests.builders import drawn_faces, encoded
from unveil.analysis import facts
from unveil.analysis.facts import exact_copies, with_repeats
from unveil.columns import Texts
from unveil.compare import compare_all
from unveil.embedding.images import ImageReader
from unveil.errors import ImageError
from unveil.results import ImageCopy
from unveil.types import Embedded, Reject, Role


class Files:
    """Images by id, read as `ImageReader` reads them."""

    def __init__(self, images: Mapping[str, bytes]) -> None:
        self.images = dict(images)

    def person(self, id: str) -> str:
        return f"person of {id}"

    def data(self, id: str) -> bytes:
        if id not in self.images:
            raise ImageError("read", "not in the source", id)
        return self.images[id]


def role(prefix: str, files: list[bytes], vectors: np.ndarray) -> tuple[Embedded, ImageReader]:
    made = embedded(unit(vectors), prefix, [f"{prefix}-person-{i}" for i in range(len(files))])
    digests = Texts([hashlib.sha256(data).hexdigest() for data in files])
    return replace(made, digests=digests), cast(ImageReader, Files(dict(zip(made.ids, files, strict=True))))


def turned(pixels: np.ndarray) -> bytes:
    """The same picture stored on its side, with the EXIF orientation that puts it upright."""
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.fromarray(np.rot90(pixels)).save(buffer, "PNG", exif=exif)
    return buffer.getvalue()


@pytest.mark.parametrize("workers", [1, 2])
def test_bytes_and_pixels_of_equal_images_are_found(workers: int) -> None:
    """A copied file, a losslessly saved copy, one on its side, a re-encoded one, and one that is only similar."""
    faces = drawn_faces(6)
    training = [encoded(face, "JPEG", quality=90) for face in faces]
    decoded = [np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for data in training]
    synthetic = [
        training[0],
        encoded(decoded[1]),
        turned(decoded[2]),
        encoded(decoded[3], "JPEG", quality=60),
        encoded(drawn_faces(1, 9)[0]),
    ]
    axes = np.eye(8)
    real, real_files = role("t", training, axes[:6])
    made, made_files = role("s", synthetic, axes[[0, 1, 2, 3, 7]])
    matches = compare_all(made.vectors, real.vectors, top_k=3)
    images: dict[Role, ImageReader] = {"synthetic": made_files, "training": real_files}
    assert exact_copies(made, real, matches, images, {}, workers) == (
        ImageCopy("s0", "t0", "t-person-0", "bytes"),
        ImageCopy("s1", "t1", "t-person-1", "pixels"),
        ImageCopy("s2", "t2", "t-person-2", "pixels"),
    )
    # Embeddings have no pixels, but equal digests.
    assert [c.synthetic_id for c in exact_copies(made, real, matches, None, {})] == ["s0"]


def test_every_copied_training_image_is_named() -> None:
    """One training file twice, and one synthetic file that is closest to many: beyond the stored matches too."""
    face = encoded(drawn_faces(1)[0])
    lossless = encoded(np.asarray(Image.open(io.BytesIO(face))), "BMP")
    real, real_files = role("t", [face] * 6, np.ones((6, 4)))
    made, made_files = role("s", [lossless], np.ones((1, 4)))
    matches = compare_all(made.vectors, real.vectors, top_k=2)
    found = exact_copies(made, real, matches, {"synthetic": made_files, "training": real_files}, {})
    assert [c.training_id for c in found] == [f"t{i}" for i in range(6)]
    assert {c.equal for c in found} == {"pixels"}


def test_repeated_and_rejected_copies_are_named() -> None:
    """One training file shipped twice, and files without a detectable face on both sides."""
    faces = [encoded(face) for face in drawn_faces(3)]
    real, real_files = role("t", faces[:2], np.eye(4)[:2])
    made, made_files = role("s", [faces[0], faces[0], encoded(drawn_faces(1, 9)[0])], np.eye(4)[[0, 0, 3]])
    cast(Files, real_files).images["t-noface"] = faces[2]
    cast(Files, made_files).images["s-noface"] = faces[2]
    matches = compare_all(made.distinct.vectors, real.vectors, top_k=2)
    rejects: dict[Role, list[Reject]] = {
        "synthetic": [Reject("s-noface", "detect", "no face"), Reject("s-gone", "read", "unreadable")],
        "training": [Reject("t-noface", "detect", "no face")],
    }
    found = exact_copies(made, real, matches, {"synthetic": made_files, "training": real_files}, rejects)
    assert [(c.synthetic_id, c.training_id, c.person, c.equal) for c in found] == [
        ("s-noface", "t-noface", "person of t-noface", "bytes"),
        ("s0", "t0", "t-person-0", "bytes"),
        ("s1", "t0", "t-person-0", "bytes"),
    ]


def test_images_that_are_gone_equal_nothing_and_a_collapsed_model_ends(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(facts, "MAX_DECODED", 8)
    faces = drawn_faces(12)
    real, real_files = role("t", [encoded(face) for face in faces], np.ones((12, 4)))
    made, _ = role("s", [encoded(face, "BMP") for face in faces], np.ones((12, 4)))
    matches = compare_all(made.vectors, real.vectors, top_k=5)
    gone = cast(ImageReader, Files({}))
    assert exact_copies(made, real, matches, {"synthetic": gone, "training": real_files}, {}) == ()
    assert "pixels of the 8 closest are compared" in caplog.text


def test_every_file_that_repeats_a_reencoded_copy_is_named() -> None:
    """Copies are found on distinct synthetic images, and a training image may stand under two names."""
    files = [encoded(face) for face in drawn_faces(4)]
    made, _ = role("s", [files[0], files[1], files[0], files[0]], np.eye(4))
    real, _ = role("t", [files[2], files[3], files[2]], np.eye(4)[:3])
    copy = ImageCopy("s0", "t2", "t-person-2", "nearly")
    again = [("s0", "t0", "t-person-0"), ("s2", "t0", "t-person-0"), ("s2", "t2", "t-person-2")]
    again += [("s3", "t0", "t-person-0"), ("s3", "t2", "t-person-2")]
    assert with_repeats([copy], made, real) == (copy, *(ImageCopy(*names, "nearly") for names in again))
    assert with_repeats([], made, real) == ()
