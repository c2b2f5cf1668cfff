"""Containers, presets and studies from the command line, as one who has just got a set would use them."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from PIL import Image

from tests import containers as c
from tests.builders import write
from tests.cli.runner import unveil
from tests.cli.test_command_line import UNVEIL
from tests.containers import Item
from unveil.demo.world import World, make_world
from unveil.errors import SettingError
from unveil.presets import find_preset, presets, resolve
from unveil.study import read_plan

FIXTURES = Path(__file__).parents[1] / "fixtures"


@pytest.fixture(scope="module")
def items() -> list[Item]:
    return c.drawn_items(24)


class TestInspect:
    def test_says_what_it_is_and_how_to_audit_it(self, tmp_path: Path) -> None:
        sheet = tmp_path / "contact.png"
        told = unveil("inspect", FIXTURES / "insightface", "-o", sheet)
        assert told.returncode == 0, told.stderr
        for part in (
            "RecordIO",
            "12",
            "4, by stored labels",
            "96 x 96 (100%)",
            "0 of 12 sampled images would be rejected",
        ):
            assert part in told.stdout
        assert f"--synthetic {FIXTURES / 'insightface'} --aligned synthetic=yes" in told.stdout
        assert f"--training {FIXTURES / 'insightface'} --aligned training=yes" in told.stdout
        with Image.open(sheet) as image:
            assert image.format == "PNG" and image.width > 300 and image.height > 400
        assert "protect it like the images" in told.stdout

    def test_without_being_asked_it_writes_nothing(self, tmp_path: Path) -> None:
        assert unveil("inspect", FIXTURES / "webdataset", cwd=tmp_path).returncode == 0
        assert not list(tmp_path.iterdir())

    def test_a_doubtful_case_lists_each_way(self, items: list[Item], tmp_path: Path) -> None:
        c.recordio(tmp_path, items)
        write(tmp_path / "preview.png", items[0].data)
        told = unveil("inspect", tmp_path)
        assert told.returncode == 0
        assert f"It can be read as folder:{tmp_path}" in told.stdout
        assert f"It can be read as recordio:{tmp_path / 'plain.rec'}" in told.stdout
        assert "2 files that are no images are ignored: plain.idx, plain.rec" in told.stdout

    def test_sheets_and_names_that_hold_the_person(self, items: list[Item], tmp_path: Path) -> None:
        c.grid(tmp_path, items)
        told = unveil("inspect", tmp_path / "sheets").stdout
        assert f"--synthetic grid,cell=96:{tmp_path / 'sheets'}" in told and "several images" in told
        for item in items:
            write(tmp_path / f"flat/{item.person}_{item.number}.png", item.data)
        told = unveil("inspect", tmp_path / "flat").stdout
        assert "--synthetic-labels prefix:_" in told and "batches" not in told

    def test_labels_that_may_be_wrong_are_pointed_out(self, items: list[Item], tmp_path: Path) -> None:
        for item in items[:6]:
            write(tmp_path / f"flat/{item.number}.png", item.data)
            write(tmp_path / f"batches/{item.number // 3:05d}/{item.number}.png", item.data)
        told = " ".join(unveil("inspect", tmp_path / "batches").stdout.split())
        assert "if the folders are batches of images and not people, add --synthetic-labels none" in told
        told = " ".join(unveil("inspect", tmp_path / "flat").stdout.split())
        assert "if every image shows another person, add --synthetic-labels one-per-image" in told

    def test_rejects_are_counted_with_an_example(self, items: list[Item], tmp_path: Path) -> None:
        for item in items[:6]:
            write(tmp_path / f"a/{item.number}.png", item.data)
        write(tmp_path / "b/hello.png", "hello")
        write(tmp_path / "b/readme.txt", "hello")
        write(tmp_path / "b/cut.png", items[0].data[:2000])
        told = unveil("inspect", f"folder:{tmp_path}").stdout
        assert "2 of 8 sampled images would be rejected" in told
        assert "not an image, as b/hello.png" in told and "truncated, as b/cut.png" in told
        assert "1 files that are no images are ignored: b/readme.txt" in told

    @pytest.mark.parametrize("what", ["gone", "grid:x", "parquet,colour=1:x"])
    def test_what_cannot_be_read_ends_with_two(self, what: str, tmp_path: Path) -> None:
        told = unveil("inspect", what, cwd=tmp_path)
        assert told.returncode == 2 and told.stderr.startswith("unveil: ") and "Traceback" not in told.stderr


class TestPresets:
    def test_all_are_listed(self) -> None:
        told = unveil("presets")
        assert told.returncode == 0
        for name in presets():
            assert name in told.stdout
        assert told.stdout.count("not documented") >= 4

    def test_facts_name_sets_that_are_there(self) -> None:
        for preset in presets().values():
            assert all(find_preset(name).kind == "real" for name in preset.trained_on)
            assert preset.title and preset.note and preset.licence
            if not preset.established:
                assert preset.form is None and preset.labels is None and preset.aligned is None
        with pytest.raises(SettingError, match="no preset nothing; use one of"):
            find_preset("nothing")

    def test_a_preset_reads_the_set_as_it_was_published(self) -> None:
        told = unveil("inspect", f"dcface-0.5m:{FIXTURES / 'dcface'}")
        assert told.returncode == 0 and "4, by folder" in told.stdout and "DCFace" in told.stdout
        place, preset = resolve("idiff-face-uniform:some/folder")
        assert place.target == "some/folder" and preset is not None and preset.labels == "prefix:_"
        assert str(place) == "idiff-face-uniform:some/folder"
        with pytest.raises(SettingError, match="no option cell"):
            resolve("sface,cell=3:x")

    def test_what_it_knows_counts_where_nothing_is_said(self, tmp_path: Path) -> None:
        from unveil.config.parsing import settings_from
        from unveil.images import LabelRule

        values = {"synthetic": "idiff-face-uniform:s", "training": "ffhq:t", "out": tmp_path / "r"}
        settings = settings_from(values)
        assert settings.labels == {"synthetic": LabelRule("prefix", "_"), "training": LabelRule("one-per-image")}
        assert settings.aligned == {"synthetic": "yes"}
        told = settings_from({**values, "labels": {"synthetic": "none"}, "aligned": "no"})
        assert str(told.labels["synthetic"]) == "none" and str(told.labels["training"]) == "one-per-image"
        assert set(told.aligned.values()) == {"no"}
        unseen = settings_from({**values, "synthetic": "gandiffface:s"})
        assert "synthetic" not in unseen.labels


@pytest.mark.nightly
def test_audit_takes_containers_and_presets(world: World, store: Path, tmp_path: Path) -> None:
    """The same verdict, people and figures from a zip, a RecordIO and the folders they were made of."""
    plain = unveil(
        *("audit", "--synthetic", world.synthetic, "--training", world.training, "--control", world.control),
        *("-o", tmp_path / "plain", "--store", store, "--planted-leaks", "off"),
    )
    shutil.make_archive(str(tmp_path / "training"), "tar", world.training)
    files = sorted(world.control.rglob("*.png"))
    c.write_records(tmp_path / "control", [c.labelled(f.read_bytes(), k) for k, f in enumerate(files)])
    packed = unveil(
        *("audit", "--synthetic", f"folder:{world.synthetic}", "--training", tmp_path / "training.tar"),
        *("--control", f"insightface-record:{tmp_path / 'control.rec'}", "--aligned", "auto"),
        *("-o", tmp_path / "packed", "--store", store, "--planted-leaks", "off"),
    )
    assert plain.returncode == packed.returncode == 0, packed.stderr
    first, second = (json.loads((tmp_path / run / "audit.json").read_text()) for run in ("plain", "packed"))
    assert second["manifest"]["inputs"]["training"]["kind"] == "tar"
    assert second["manifest"]["inputs"]["control"]["kind"] == "RecordIO"
    assert first["verdict"] == second["verdict"] == "leak found"
    assert [p["person"] for p in first["people"]] == [p["person"] for p in second["people"]]
    assert first["top_pairs"] == second["top_pairs"] and first["membership"] == second["membership"]


def test_embeddings_take_the_place_of_images(world: World, store: Path, tmp_path: Path) -> None:
    for role in ("synthetic", "training", "control"):
        told = unveil("embed", getattr(world, role), "-o", tmp_path / f"{role}.npz", "--store", store)
        assert told.returncode == 0 and "embedded and 0 rejected" in told.stdout, told.stderr
    given = unveil(
        *("audit", "--synthetic", tmp_path / "synthetic.npz", "--training", tmp_path / "training.npz"),
        *("--control", tmp_path / "control.npz", "-o", tmp_path / "given", "--planted-leaks", "quick"),
    )
    images = unveil(
        *("audit", "--synthetic", world.synthetic, "--training", world.training, "--control", world.control),
        *("-o", tmp_path / "pictures", "--store", store, "--planted-leaks", "off", "--channels", "face"),
    )
    assert given.returncode == images.returncode == 0, given.stderr
    one, other = (json.loads((tmp_path / run / "audit.json").read_text()) for run in ("given", "pictures"))
    assert one["verdict"] == other["verdict"] == "leak found"
    # The same pairs and cosines to the last bit; without pictures there are no kinds.
    assert one["top_pairs"] == [{**pair, "kind": None} for pair in other["top_pairs"]]
    assert one["hubness"] == other["hubness"]
    assert any("Precomputed embeddings were audited" in limit for limit in one["limitations"])
    assert one["models"][0]["name"] == "dlib_resnet_v1" and one["models"][0]["licence"] == "not known"
    page = (tmp_path / "given/report.html").read_text()
    assert "data:image" not in page and "an embedding, no image" in page

    mixed = unveil(
        *("audit", "--synthetic", tmp_path / "synthetic.npz", "--training", world.training, "--control", world.control),
        *("-o", tmp_path / "mixed", "--store", store),
    )
    assert mixed.returncode == 0, mixed.stderr
    again = json.loads((tmp_path / "mixed/audit.json").read_text())
    assert again["membership"] == one["membership"]

    import numpy as np

    np.save(tmp_path / "strange.npy", np.zeros((10, 128), np.float32))
    strange = unveil(
        *("audit", "--synthetic", tmp_path / "strange.npy", "--training", world.training, "-o", tmp_path / "strange")
    )
    assert strange.returncode == 2 and "embeddings of dlib_resnet_v1 were expected" in strange.stderr


STUDY = """
title = "Drawn <b>people</b>"
[settings]
planted_leaks = "off"
resamples = 2
[[set]]
name = "leaky"
synthetic = "w/synthetic"
training = "w/training"
control = "w/control"
[[set]]
name = "fresh & clean"
title = "Fresh <script>alert(1)</script>"
synthetic = "f/synthetic"
training = "w/training"
control = "w/control"
[[set]]
name = "dcface"
title = "=DCFace"
synthetic = "idnet:none"
training = "ffhq:w/training"
[[set]]
name = "broken"
synthetic = "broken.zip"
training = "w/training"
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    make_world(folder / "w", 7, training=60, control=120, fresh=40, planted=8)
    make_world(folder / "f", 5, training=2, control=2, fresh=40, planted=0)
    write(folder / "broken.zip", b"PK\x03\x04 cut")
    write(folder / "study.toml", STUDY)
    return folder


def test_a_study_is_a_row_a_set(study: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    told = unveil("study", study / "study.toml", "--data", study, "-o", out, "--redact")
    assert told.returncode == 0, told.stderr
    assert "not here: synthetic" in told.stdout and "damaged zip" in told.stdout
    rows = {row["name"]: row for row in csv.DictReader((out / "study.csv").read_text().splitlines())}
    assert [row["state"] for row in rows.values()] == ["audited", "audited", "absent", "failed"]
    assert rows["leaky"]["verdict"] == "leak found" and rows["fresh & clean"]["verdict"] == "none detected"
    assert float(rows["leaky"]["exposed low"]) > 0 and float(rows["leaky"]["auc"]) > 0.55
    audit = json.loads((out / "runs/leaky/audit.json").read_text())
    assert float(rows["leaky"]["top cosine"]) == pytest.approx(audit["top_pairs"][0]["cosine"], rel=1e-5)
    page = (out / "study.html").read_text()
    assert page.count("data:image/jpeg") == 24 and "<script>" not in page and "<b>people" not in page
    assert 'href="runs/leaky/report.html"' in page and (out / "runs/leaky/report.html").exists()
    assert "its generator was trained on casia-webface" in page.lower()
    assert "it is compared with flickr-faces-hq, but no source says" in page.lower()
    redacted = (out / "study.redacted.html").read_text()
    assert "data:image" not in redacted and str(study) not in redacted and "person-0" not in redacted
    document = json.loads((out / "study.json").read_text())
    assert [row["state"] for row in document["sets"]] == ["audited", "audited", "absent", "failed"]

    # Once more: nothing is audited twice, and the page is the same.
    before = {f: f.stat().st_mtime_ns for f in (out / "runs").rglob("*") if f.is_file()}
    again = unveil("study", study / "study.toml", "--data", study, "-o", out)
    assert again.returncode == 0 and again.stderr.count("audited before") == 2
    assert {f: f.stat().st_mtime_ns for f in (out / "runs").rglob("*") if f.is_file()} == before
    assert (out / "study.html").read_text() == page


@pytest.mark.nightly
def test_a_killed_study_goes_on_where_it_was(study: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [*UNVEIL, "study", str(study / "study.toml"), "--data", str(study), "-o", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 200
    while not (out / "runs/fresh-clean").exists() and time.monotonic() < until and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    first = json.loads((out / "runs/leaky/manifest.json").read_text())
    assert first["status"] == "finished" and not (out / "study.html").exists()
    again = unveil("study", study / "study.toml", "--data", study, "-o", out)
    assert again.returncode == 0 and again.stderr.count("audited before") == 1
    assert json.loads((out / "runs/leaky/manifest.json").read_text()) == first
    assert (out / "study.html").exists()


TWICE = "".join(f"[[set]]\nname='{name}'\nsynthetic='s'\ntraining='t'\n" for name in ("a b", "a-b"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", r"expected one or more \[\[set\]\]"),
        ("[[sets]]\nname='a'", "found sets"),
        ("[[set]]\nsynthetic='a'", "expected a name"),
        ("[[set]]\nname='a'\nsynthetic='s'", "expected synthetic and training"),
        ("[[set]]\nname='a'\nsynthetic='s'\ntraining='t'\nfdr=7", "fdr: expected a number of at least 0.0001"),
        ("[[set]]\nname='a'\nsynthetic='s'\ntraining='t'\nout='x'", "study chooses folders itself"),
        (TWICE, "a-b more than once"),
        ("[settings]\ncolour=1\n[[set]]\nname='a'\nsynthetic='s'\ntraining='t'", "unknown setting colour"),
        ("not toml", "expected a readable TOML file"),
    ],
)
def test_every_mistake_in_a_study_is_told_before_the_work(text: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=told):
        read_plan(write(tmp_path / "study.toml", text))


def test_the_study_that_ships_is_sound(tmp_path: Path) -> None:
    shipped = Path(__file__).parents[2] / "studies/unveiling-synthetic-faces.toml"
    plan = read_plan(shipped, tmp_path)
    assert [s.name for s in plan.sets[:6]] == [
        *("dcface", "idiff-face-uniform", "idiff-face-two-stage", "gandiffface", "sface", "idnet")
    ]
    for planned in plan.sets:
        _, synthetic = resolve(planned.places["synthetic"])
        _, training = resolve(planned.places["training"])
        assert synthetic is not None and training is not None
        assert training.name in synthetic.trained_on or synthetic.kind == "rendered"
    told = unveil("study", shipped, "--data", tmp_path, "-o", tmp_path / "out")
    assert told.returncode == 0 and told.stdout.count("not here: ") == len(plan.sets)
