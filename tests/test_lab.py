"""The lab: every family trains, draws and is measured, on drawn people; figures of real ones are in docs/figures."""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.builders import drawn_faces, encoded

pytest.importorskip("torch", reason="generators are trained with PyTorch")

from benchmarks.lab import make, measure, other_people, paired, people, scores, summarise
from benchmarks.lab.families import FAMILIES, Setup, latent

SMALL = Setup(side=32, width=16, batch=8)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small networks on many threads wait for each other more than they work."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """260 people, a picture each."""
    path = tmp_path_factory.mktemp("faces") / "faces.zip"
    with zipfile.ZipFile(path, "w") as packed:
        for i, face in enumerate(drawn_faces(260)):
            packed.writestr(f"person_{i:03d}/1.png", encoded(face))
    return path


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_learns_and_draws(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latent, "AUTOENCODER_STEPS", 4)
    rng = np.random.default_rng(0)
    images = rng.integers(60, 200, (24, 32, 32, 3)).astype(np.uint8)
    drawn = []
    for _ in range(2):
        generator = FAMILIES[family](images, np.repeat(np.arange(12), 2), SMALL)
        assert [length for length, _ in generator.train((2, 4))] == [2, 4]
        drawn.append(generator.faces(5))
    (first, asked), (again, _) = drawn
    assert first.shape == (5, 32, 32, 3) and first.dtype == np.uint8 and first.std() > 0
    assert np.array_equal(first, again), "the same seed draws the same faces"
    assert (asked is not None) == (family == "conditional") and set(asked or ()) <= set(range(12))


@pytest.mark.nightly
def test_a_generator_that_has_learnt_little_else_draws_what_it_learnt() -> None:
    """Eight pictures, learnt for as long as it takes: the nearest of them is far nearer than the second."""
    images = np.stack([x[::3, ::3] for x in drawn_faces(8)])
    generator = FAMILIES["components"](images, np.arange(8), replace(SMALL, batch=32))
    list(generator.train((500,)))
    drawn = generator.faces(64)[0].reshape(64, 1, -1).astype(float)
    apart = np.sort(np.linalg.norm(drawn - images.reshape(1, 8, -1), axis=2), axis=1)
    assert np.median(apart[:, 0] / apart[:, 1]) < 0.3


@pytest.mark.slow
def test_the_code_of_the_autoencoder_holds_a_face() -> None:
    """Decoded faces are at most a quarter as far from their own image, in squared error, as the mean of all is."""
    images = np.stack([x[:96:3, :96:3] for x in drawn_faces(40)])
    generator = FAMILIES["latent"](images, np.arange(40), SMALL)
    assert isinstance(generator, latent.Latent)
    decoded = generator.decoder(generator.encoder(generator.images))
    error = (decoded - generator.images).square().mean()
    assert error < 0.25 * (generator.images - generator.images.mean(0)).square().mean()


@pytest.mark.nightly
def test_sets_are_made_once_measured_and_summarised(
    faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    known = people.load(faces, 32)
    sets = tmp_path / "sets"
    make.make(known, "components", 40, (600,), 120, SMALL, sets)
    make.make(known, "components", 41, (1, 2), 10, SMALL, tmp_path / "young", wanted=(1,))
    assert [path.name for path in (tmp_path / "young/components/41-people").iterdir()] == ["1-steps"]
    folder = sets / "components/40-people/600-steps"
    written = (folder / "synthetic.zip").read_bytes()
    members = (folder / "members.txt").read_text().split()
    assert len(members) == 40 and json.loads((folder / "facts.json").read_text())["training_pictures"] == 40
    monkeypatch.setattr(make, "FAMILIES", {})
    make.make(known, "components", 40, (600,), 120, SMALL, sets)
    assert (folder / "synthetic.zip").read_bytes() == written

    out = tmp_path / "out"
    monkeypatch.setattr(measure, "NULLS", 1)
    monkeypatch.setattr("sys.argv", ["measure", "--faces", str(faces), "--sets", str(sets), "--out", str(out)])
    measure.main()
    rows = [
        row for name in ("scores", "further") for row in csv.DictReader((out / f"{name}.csv").read_text().splitlines())
    ]
    told = {row["score"] for row in rows}
    assert told == set(summarise.SHOWN) - {
        *("face, person and identity templates", measure.UNLABELLED, measure.SHUFFLED)
    }
    trained = {row["score"]: float(row["auc"]) for row in rows if row["steps"] == "600"}
    assert trained["all channels"] > 0.8 and trained["appearance alone"] > 0.8
    with (out / "audits.csv").open() as file:
        audits = {(row["steps"], row["audit"]): row for row in csv.DictReader(file)}
    assert audits["600", "others alone"]["verdict"] == "none detected"
    assert audits["600", "people learnt"]["training_members"] == "40"
    with (out / "paired.csv").open() as file:
        paired_with = [row["against"] for row in csv.DictReader(file)]
    assert paired_with == ["cosine", measure.FIRST]
    assert (out / "photographs.csv").read_text().count("\n") == 1, "nobody here has two images"
    written = (out / "scores.csv").read_bytes()
    measure.main()
    assert (out / "scores.csv").read_bytes() == written, "what is in a table is not measured again"

    (out / "seed_1").mkdir()
    (out / "seed_1/paired.csv").write_bytes((out / "paired.csv").read_bytes())
    monkeypatch.setattr(summarise, "PEOPLE", {"components": (40,)})
    monkeypatch.setattr(summarise, "LENGTHS", {"components": (600,)})
    monkeypatch.setattr("sys.argv", ["summarise", str(out)])
    summarise.main()
    page = capsys.readouterr().out
    assert "| components | 40 | 600 | 1 |" in page and "nan" not in page
    assert (out / "lab.svg").read_text().startswith("<svg")


@pytest.mark.nightly
def test_labels_of_a_set_are_taken_away_and_shuffled(faces: Path, tmp_path: Path) -> None:
    """Five images of each of 30 people: shuffled labels do not hold, so that they change no score."""
    folder = tmp_path / "conditional/30-people/1-steps"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "synthetic.zip", "w") as packed:
        for i, face in enumerate(drawn_faces(30)):
            for k in range(5):
                near = np.clip(face.astype(int) + np.random.default_rng([i, k]).integers(-40, 40, face.shape), 0, 255)
                packed.writestr(f"identity_{i:04d}/{k}.png", encoded(near.astype(np.uint8)))
    (folder / "members.txt").write_text("".join(f"person_{i:03d}\n" for i in range(30)))
    facts = {"family": "conditional", "people": 30, "steps": 1, "seed": 0}
    (folder / "facts.json").write_text(json.dumps(facts))
    lab = measure.Lab(folder, faces, None, tmp_path / "work", tmp_path / "store", workers=1)
    of = lab.people_scores
    assert set(of) == {measure.AUDIT, measure.FIRST, measure.UNLABELLED, measure.SHUFFLED, "cosine"}
    assert of[measure.SHUFFLED] == of[measure.UNLABELLED] != of[measure.AUDIT]
    assert len(of[measure.FIRST].control) == 0.8 * len(of[measure.AUDIT].control) == 184
    assert of[measure.FIRST].training.keys() == of[measure.AUDIT].training.keys()
    found = {(score, against): float(rate) for score, against, rate, *_ in lab.paired()}  # type: ignore[arg-type]
    assert found[measure.AUDIT, measure.UNLABELLED] > 0.9


def test_the_difference_of_two_scores_is_paired() -> None:
    """Noise that two scores share is no difference between them; people whom one score leaves out do not count."""
    rng = np.random.default_rng(0)
    training = {f"t{i}": v for i, v in enumerate(rng.normal(2, 1, 100).tolist())}
    control = {f"c{i}": v for i, v in enumerate(rng.normal(0, 1, 400).tolist())}
    score = paired.PeopleScores(training, control)
    fewer = {person: v for i, (person, v) in enumerate(control.items()) if i % 5}
    same = paired.difference(score, score, rng)
    assert (same.value, same.low, same.high) == (0, 0, 0) and 0.2 < same.rate < 0.6
    close = paired.difference(score, paired.PeopleScores(training, fewer), rng)
    assert close.low <= 0 <= close.high and abs(close.value) < 0.15
    chance = paired.PeopleScores({p: float(rng.normal()) for p in training}, control)
    worse = paired.difference(chance, score, rng)
    assert worse.high < 0 and worse.rate < 0.1 and worse.other == same.rate
    assert same.p_below == 1 and worse.p_below < 0.002 < close.p_below


def test_sets_are_also_compared_all_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of forty sets in which nothing differs one is below by itself; together none is, and one that is far below is."""

    def row(people: int, p: float | str, high: float) -> dict[str, str]:
        key = {"family": "pixels", "people": str(people), "steps": "1", "score": "a", "against": "b"}
        return {**key, "p_below": str(p), "high": str(high)}

    chance = [row(i, (i + 0.5) / 40, 0.01 if i else -0.01) for i in range(40)]
    monkeypatch.setattr(summarise, "OURS", "a")
    assert summarise._together(chance, "b", 40) == ("0 of 40", True)
    assert summarise._together([*chance, row(41, 0.001, -0.2)], "b", 41) == ("1 of 41: pixels 41 1", False)
    # Rows that were stored without p: their interval bounds it.
    assert summarise._together([*chance, row(41, "", 0.0)], "b", 41) == ("0 of 41", True)
    assert summarise._together([*chance, row(41, "", -0.01)], "b", 41) == ("0 of 41; undecided: pixels 41 1", None)


@pytest.mark.nightly
def test_people_whom_a_generator_never_saw_are_audited_with_and_without_a_control_set(
    faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (faces.parent / "cross_label_matches.csv").write_text("a,b\nperson_000/1.png,person_001/1.png\n")
    monkeypatch.setattr(other_people, "PEOPLE", 40)
    monkeypatch.setattr(other_people, "STEPS", 2)
    lines = tmp_path / "lines.csv"
    few = ["--generators", "2", "--audits", "1", "--people", "100", "--images", "60"]
    sets = ["--faces", str(faces), "--sets", str(tmp_path / "sets"), "--lines", str(lines)]
    monkeypatch.setattr("sys.argv", ["other_people", *few, *sets])
    other_people.main()
    rows = list(csv.DictReader(lines.read_text().splitlines()))
    assert [(r["seed"], r["repeat"]) for r in rows] == [("0", "0"), ("1", "0")]
    assert {r["verdict"] for r in rows} == {"none detected"}
    assert {r["verdict_without"] for r in rows} == {"none detected (no control set)"}
    assert "| without a control set | 0 of 2 |" in capsys.readouterr().out


def test_false_verdicts_are_counted_by_audit_and_by_generator() -> None:
    """Three audits of one generator are false, and none of two others: 3 of 12 audits, 1 of 3 generators."""
    rows = [
        {"seed": str(seed), "verdict": "leak found" if seed == 1 and k < 3 else "none detected"}
        for seed in range(3)
        for k in range(4)
    ]
    told = other_people.false_verdicts(rows, "verdict")
    assert told.startswith("3 of 12 | 0.2500 (0.0549 to 0.5719) | 0.2500 | 1 of 3 (0.008 to 0.906)")


def test_memorised_faces_are_those_far_nearer_to_one_image(faces: Path, tmp_path: Path) -> None:
    from unveil.images import open_source

    real = open_source(faces)
    path = tmp_path / "synthetic.zip"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("copy.png", real.read(real.records[0]))
        packed.writestr("new.png", encoded(drawn_faces(1, seed=9)[0]))
    members = {f"person_{i:03d}" for i in range(40)}
    assert scores.memorised(open_source(path), real, members) == 0.5
    assert scores.memorised(open_source(path), real, members - {"person_000"}) == 0
