"""Near-duplicates on both sides, what they explain, and control people who are training people."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from PIL import Image, ImageFilter, ImageOps

from tests.analysis.worlds import contexts, crowd, embedded, images, side, unit
from tests.builders import drawn_faces, encoded
from unveil.analysis.comparisons import Comparisons
from unveil.analysis.near_duplicates import (
    NO_PAIRS,
    NearDuplicates,
    candidates,
    explain_away,
    find_near_duplicates,
)
from unveil.analysis.overlap import find_overlap
from unveil.analysis.scores import RealSide
from unveil.channels import FaceImage
from unveil.columns import Texts
from unveil.compare import open_backend
from unveil.embedding.images import ImageReader
from unveil.errors import ImageError
from unveil.images import decode_rgb
from unveil.io.run_directory import RunDirectory
from unveil.progress import Silent
from unveil.stats.leak_kinds import ImageSimilarity, is_near_duplicate
from unveil.stats.person_tests import lifted, person_tests
from unveil.types import Embedded, Role


class Files:
    """Images by id, read and decoded as `ImageReader` does."""

    workers = None

    def __init__(self, embedded: Embedded, files: Mapping[str, bytes]) -> None:
        self.embedded, self._files = embedded, dict(files)

    def data(self, id: str) -> bytes:
        if id not in self._files:
            raise ImageError("read", "not in the source", id)
        return self._files[id]

    def decode(self, data: bytes) -> FaceImage:
        return FaceImage(decode_rgb(data), aligned=True)


def reader(of: Embedded, files: list[bytes]) -> ImageReader:
    return cast(ImageReader, Files(of, dict(zip(of.ids, files, strict=True))))


FACES = [Image.fromarray(face).resize((112, 112)) for face in drawn_faces(12, seed=11)]


def stored(image: Image.Image) -> bytes:
    return encoded(np.asarray(image))


def test_the_rule_needs_the_image_and_its_detail() -> None:
    assert is_near_duplicate(ImageSimilarity(0.95, 0.6, 80)) and is_near_duplicate(ImageSimilarity(0.95, 0.1, 40))
    assert not is_near_duplicate(ImageSimilarity(0.9, 0.9, 0)) and not is_near_duplicate(ImageSimilarity(0.99, 0.3, 90))
    assert is_near_duplicate(ImageSimilarity(0.0, 0.0, 128, identical=True))


# Five training and five control people, an image each, against four synthetic images; t1 and c1 are close by face.
TRAINING = {"face": [[0.6, 9.0, 0.8, 1.0, 0.9], [0.5, 1.1, 0.7, 0.9, 1.1], [0.4] * 5, [0.3] * 5]}
CONTROL = {"face": [[0.7, 1.0, 0.9, 0.8, 0.8], [0.6, 0.8, 0.9, 1.0, 1.1], [0.5, 8.0, 0.5, 0.5, 0.5], [0.3] * 5]}


def both() -> tuple[RealSide, RealSide]:
    return side("t", [f"a{i}" for i in range(5)], TRAINING), side("c", [f"b{i}" for i in range(5)], CONTROL)


def test_candidates_are_pairs_that_stand_out_on_either_side() -> None:
    found = candidates(*both())
    assert list(zip(found.query.tolist(), found.of_control.tolist(), found.row.tolist(), strict=True)) == [
        (0, 0, 1),
        (2, 1, 1),
    ]
    quiet = side("t", ["a"] * 5, {"face": [[1.0] * 5] * 4})
    assert len(candidates(quiet, quiet).query) == 0


def test_blurred_and_mirrored_copies_are_near_duplicates_on_either_side_and_others_are_not() -> None:
    training, control = both()
    synthetic = images("s", [None] * 4)
    made = [FACES[1].filter(ImageFilter.GaussianBlur(1)), FACES[10], ImageOps.mirror(FACES[6]), FACES[11]]
    read: dict[Role, ImageReader] = {
        "synthetic": reader(synthetic, [stored(image) for image in made]),
        "training": reader(training.images, [stored(image) for image in FACES[:5]]),
        "control": reader(control.images, [stored(image) for image in FACES[5:10]]),
    }
    found = find_near_duplicates(training, control, read, Silent(), 1)
    assert found.training.tolist() == [[0, 1]] and found.control.tolist() == [[2, 1]]
    assert found.explained.tolist() == [0, 2]
    unreadable: dict[Role, ImageReader] = {**read, "synthetic": cast(ImageReader, Files(synthetic, {}))}
    assert not len(find_near_duplicates(training, control, unreadable, Silent(), 1).explained)


def test_a_copy_of_one_person_is_no_evidence_against_others() -> None:
    """Against every pair, with slow sums: others lose the explained images, the person keeps them."""
    rng = np.random.default_rng(3)
    synthetic = embedded(unit(crowd(rng, 12)), "s")
    training = embedded(unit(crowd(rng, 8)), "t", [f"a{i // 2}" for i in range(8)])
    control = embedded(unit(crowd(rng, 6)), "c", [f"b{i}" for i in range(6)])
    sides = []
    cosine = []
    for real in (training, control):
        s = synthetic.vectors.astype(float) @ real.vectors.astype(float).T
        cosine.append(s)
        made = side(real.ids[0][0], list(real.people_or_ids), {"face": s.tolist()})
        sides.append(replace(made, images=real))
    near = NearDuplicates(np.array([[2, 0], [5, 1]]), np.array([[7, 3]]))
    context = contexts(synthetic)
    found = explain_away(near, context, sides[0], sides[1], open_backend("numpy", 1))
    for real, before, after, scores, own in zip(
        (training, control), sides, found, cosine, ({"a0": [2, 5]}, {"b3": [7]}), strict=True
    ):
        assert after.near_duplicate is not None
        for i, person in enumerate(real.people_or_ids):
            allowed = [q for q in range(12) if q not in (2, 5, 7) or q in own.get(person, ())]
            best = int(before.by_channel["face"].corrected.best_query[i])
            expected = best if best in allowed else max(allowed, key=lambda q: scores[q, i])
            assert after.by_channel["face"].corrected.best_query[i] == expected
            if best not in allowed:
                assert after.by_channel["face"].corrected.best_query_score[i] == pytest.approx(
                    scores[expected, i], abs=1e-6
                )
    assert found[0].near_duplicate is not None and found[0].near_duplicate.nonzero()[0].tolist() == [0, 1]
    nothing = explain_away(NearDuplicates(NO_PAIRS, NO_PAIRS), context, sides[0], sides[1], open_backend("numpy", 1))
    assert all(a.by_channel == b.by_channel for a, b in zip(nothing, sides, strict=True))


def test_people_with_a_near_duplicate_are_above_all_others_and_tested_like_them() -> None:
    rng = np.random.default_rng(1)
    training, control = rng.normal(size=250), rng.normal(size=250)
    training[0] = 12
    near_t, nobody = np.arange(250) < 30, np.zeros(250, np.bool_)
    t, c = lifted(training, control, near_t, nobody)
    assert t[:30].min() > max(t[30:].max(), c.max()) and t[0] == 12
    assert np.array_equal(t[30:], training[30:]) and np.array_equal(c, control)
    assert (person_tests(t, c).conformal(0.05) == near_t).all()
    both_sides = lifted(training, control, near_t, near_t)
    assert not person_tests(*both_sides).conformal(0.05).any(), "control people have as many: it is no evidence"
    few = person_tests(training, control, lifted(training, control, np.arange(250) < 3, nobody))
    assert few.gpd(0.05).tolist() == [True] + [False] * 249, "three are not enough, but for the one who is far away"
    assert lifted(training, control, nobody, nobody)[0] is training


def test_a_near_duplicate_by_chance_does_not_borrow_the_height_of_leaks() -> None:
    """Twelve people leak and one has a near-duplicate by chance: ranks count it, the fitted tail has its own score."""
    rng = np.random.default_rng(3)
    training, control = rng.normal(size=250), rng.normal(size=250)
    training[:12] += 15
    near, nobody = np.arange(250) == 20, np.zeros(250, np.bool_)
    found = person_tests(training, control, lifted(training, control, near, nobody))
    assert found.p[20] == found.p[0] == 1 / 251
    assert found.p_gpd is not None and found.p_gpd[20] > 0.05 > 1 / 251 > found.p_gpd[:12].max()
    assert found.gpd(0.01).tolist() == [True] * 12 + [False] * 238


def test_control_people_with_a_training_image_are_removed_and_look_alikes_are_not(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    vectors = unit(crowd(rng, 6))
    training = embedded(vectors, "t", [f"a{i}" for i in range(6)])
    # c0 has the bytes of t0, c1 other bytes and the pixels of t1, c2 is t2 blurred, c3 looks like t3, c4 is nobody.
    control = embedded(vectors[:5], "c", ["x", "x2", "y", "z", "w"])
    files = [stored(face) for face in FACES[:6]]
    other = [files[0], encoded(np.asarray(FACES[1]), "BMP"), stored(FACES[2].filter(ImageFilter.GaussianBlur(1)))]
    other += [stored(FACES[9]), stored(FACES[10])]
    digest = [hashlib.sha256(data).hexdigest() for data in (*files, *other)]
    training, control = replace(training, digests=Texts(digest[:6])), replace(control, digests=Texts(digest[6:]))
    compare = Comparisons(RunDirectory(tmp_path, {}), open_backend("numpy", 1), Silent())
    read: dict[Role, ImageReader] = {"training": reader(training, files), "control": reader(control, other)}
    found = find_overlap(training, control, read, compare, 1)
    assert {(o.control_person, o.training_person, o.same) for o in found.removed} == {
        ("x", "a0", "bytes"),
        ("x2", "a1", "pixels"),
        ("y", "a2", "near-duplicate"),
    }
    assert found.rows.tolist() == [3, 4] and (found.n_images, found.n_people_before) == (3, 5)
    alone = find_overlap(training, control, None, compare)
    assert [o.control_person for o in alone.removed] == ["x"], "without images only the bytes are known"
