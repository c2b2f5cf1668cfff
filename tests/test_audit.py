"""The audit from pictures to report, on people who do not exist."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pyarrow.parquet as pq
import pytest

import unveil
from tests.builders import drawn_faces, encoded, write
from unveil.demo.world import World, make_world
from unveil.report.document import schema
from unveil.types import ROLES

Audited = tuple[unveil.AuditResult, Path]


def document(run: Path, name: str = "audit.json") -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((run / name).read_text("utf-8"))
    jsonschema.validate(loaded, schema())
    return loaded


def test_planted_people_are_found_and_others_are_not(audited: Audited, world: World) -> None:
    result, _ = audited
    assert result.verdict == "leak found" and "counted" in result.rests_on
    listed = {p.person for p in result.listed_people}
    plain = {person for person, kind in world.planted.items() if kind in world.kinds[:3]}
    assert len(plain & listed) >= 0.8 * len(plain)
    assert len(listed - set(world.planted)) <= 2
    for p in result.listed_people:
        if p.person in plain:
            assert p.training_id == f"{p.person}/1.png"
    assert any(i.listed for i in result.identities)


def test_every_file_is_counted_and_every_pair_compared(audited: Audited) -> None:
    _, run = audited
    told = document(run)
    for role in ROLES:
        counts = told["counts"][role]
        assert counts["images"] == counts["embedded"] + counts["rejected"]
        vectors = np.load(run / "stores" / f"{role}.npy")
        assert vectors.shape == (counts["embedded"], 128)
        assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert (
        told["counts"]["pairs_compared"]
        == told["counts"]["synthetic"]["embedded"] * told["counts"]["training"]["embedded"]
    )


def test_document_holds_what_it_promises(audited: Audited) -> None:
    result, run = audited
    told = document(run)
    assert told["verdict"] == result.verdict
    assert len(told["people"]) == told["counts"]["training"]["people"] == 150
    assert [p["score"] for p in told["people"]] == sorted((p["score"] for p in told["people"]), reverse=True)
    assert len(told["top_pairs"]) == 100
    assert told["top_pairs"][0]["cosine"] == max(p["cosine"] for p in told["top_pairs"])
    assert set(told["membership"]["tpr_at_fpr"]) == {"0.1", "0.01", "0.001"}
    for estimate in (told["membership"]["auc"], *told["membership"]["tpr_at_fpr"].values()):
        assert estimate["low"] <= estimate["value"] <= estimate["high"] and estimate["n"] and estimate["method"]
    assert told["model"]["licence"] == "public domain (CC0)"
    assert told["manifest"]["settings"]["seed"] == 0
    assert all(len(i["sha256"]) == 64 for i in told["manifest"]["inputs"].values())
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["status"] == "finished" and manifest["seconds"] > 0
    assert not (run / "work").exists()


def test_tables_agree_with_the_document(audited: Audited) -> None:
    _, run = audited
    told = document(run)
    people = pq.read_table(run / "people.parquet").to_pylist()
    assert [p["person"] for p in people] == [p["person"] for p in told["people"]]
    matches = pq.read_table(run / "matches.parquet")
    assert matches.num_rows == told["counts"]["synthetic"]["embedded"] * 10
    assert max(matches["cosine"].to_pylist()) == pytest.approx(told["top_pairs"][0]["cosine"])
    assert pq.read_table(run / "rejects.parquet").num_rows == 0
    assert pq.read_table(run / "identities.parquet").num_rows == len(told["synthetic_identities"])


def test_report_stands_alone(audited: Audited) -> None:
    _, run = audited
    page = (run / "report.html").read_text("utf-8")
    assert "Leak found" in page and "person-0" in page
    assert page.count("data:image/jpeg;base64,") >= 20
    assert not re.search(r"(src|href)=[\"'](?!data:)", page), "nothing is fetched"
    assert "<script" not in page and "default-src 'none'" in page
    assert len(page) < 5_000_000


def test_redacted_copies_show_no_face_name_or_path(audited: Audited, world: World) -> None:
    _, run = audited
    page = (run / "report.redacted.html").read_text("utf-8")
    data = (run / "audit.redacted.json").read_text("utf-8")
    told = document(run, "audit.redacted.json")
    for text in (page, data):
        assert "data:image" not in text
        assert "person-0" not in text and "control-0" not in text and ".png" not in text
        assert str(world.synthetic.parent) not in text and str(run) not in text
        assert "This copy is redacted" in text
    whole = document(run)
    assert [p["q"] for p in told["people"]] == [p["q"] for p in whole["people"]]
    assert told["verdict"] == whole["verdict"]


def test_again_from_the_store_gives_the_same_bytes(
    audited: Audited, world: World, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, run = audited

    def embeds_again(*_: Any) -> None:
        raise AssertionError("a picture was embedded again")

    monkeypatch.setattr("unveil.channels.face.FaceChannel.embed", embeds_again)
    unveil.audit(world.synthetic, world.training, world.control, out=tmp_path / "run", store=store)
    for name in ("audit.json", "stores/synthetic.npy", "people.parquet"):
        assert (tmp_path / "run" / name).read_bytes() == (run / name).read_bytes()


def test_workers_change_nothing(audited: Audited, world: World, tmp_path: Path) -> None:
    _, run = audited
    unveil.audit(world.synthetic, world.training, world.control, out=tmp_path / "run", workers=1)
    assert (tmp_path / "run/audit.json").read_bytes() == (run / "audit.json").read_bytes()
    assert (tmp_path / "unveil-store").is_dir(), "the store lies beside the run by default"


@pytest.mark.parametrize("engine", ["reference", "portable", "torch"])
def test_engines_change_nothing(engine: str, audited: Audited, world: World, store: Path, tmp_path: Path) -> None:
    if engine == "torch":
        pytest.importorskip("torch")
    _, run = audited
    unveil.audit(world.synthetic, world.training, world.control, out=tmp_path / "run", store=store, engine=engine)
    assert (tmp_path / "run/audit.json").read_bytes() == (run / "audit.json").read_bytes()


def test_without_a_leak_nobody_is_listed(store: Path, tmp_path: Path) -> None:
    clean = make_world(tmp_path / "world", 3, training=150, control=300, fresh=100, planted=0)
    result = unveil.audit(clean.synthetic, clean.training, clean.control, out=tmp_path / "run", store=store)
    assert result.verdict == "none detected" and result.rests_on == () and not result.listed_people
    assert document(tmp_path / "run")["global_test"]["p_value"] > 0.01


def test_without_control_there_are_only_candidates(world: World, store: Path, tmp_path: Path) -> None:
    result = unveil.audit(world.synthetic, world.training, out=tmp_path / "run", store=store)
    assert result.verdict == "candidates" and result.rests_on == ("leave-person-out line",)
    told = document(tmp_path / "run")
    assert told["global_test"] is None and told["membership"] is None and "control" not in told["counts"]
    assert all(p["p"] is None for p in told["people"])
    assert told["candidate_line"]["n_above"] > told["candidate_line"]["expected_above"]
    page = (tmp_path / "run/report.html").read_text()
    assert "Candidates" in page and "Leak found" not in page


def test_without_control_and_labels_it_is_uncalibrated(world: World, tmp_path: Path) -> None:
    for file in world.training.rglob("*.png"):
        write(tmp_path / "flat" / f"{file.parent.name}.png", file.read_bytes())
    result = unveil.audit(world.synthetic, tmp_path / "flat", out=tmp_path / "run")
    assert result.verdict == "inconclusive" and "--control" in result.headline
    assert len(result.top_pairs) == 100 and not result.listed_people


def test_bad_files_become_rejects_with_stage_and_reason(world: World, store: Path, tmp_path: Path) -> None:
    training = tmp_path / "training"
    shutil.copytree(world.training, training)
    good = encoded(drawn_faces(1)[0], "JPEG")
    write(training / "x/empty.jpg", b"")
    write(training / "x/truncated.jpg", good[:900])
    write(training / "x/notes.txt", "not a picture")
    write(training / "x/blank.png", encoded(np.zeros((300, 200, 3), np.uint8)))
    write(training / "x/<b>bold</b> & co.png", b"<script>alert(1)</script>")
    unveil.audit(world.synthetic, training, world.control, out=tmp_path / "run", store=store)
    told = document(tmp_path / "run")
    assert told["counts"]["training"] == {"images": 155, "embedded": 150, "rejected": 5, "people": 150, "unlabelled": 0}
    found = {r["id"]: (r["stage"], r["reason"]) for r in told["rejects"]}
    assert found == {
        "x/empty.jpg": ("decode", "empty file"),
        "x/truncated.jpg": ("decode", "truncated"),
        "x/notes.txt": ("decode", "not a picture"),
        "x/blank.png": ("detect", "no face found"),
        "x/<b>bold</b> & co.png": ("decode", "not a picture"),
    }
    page = (tmp_path / "run/report.html").read_text()
    assert "x/&lt;b&gt;bold&lt;/b&gt; &amp; co.png" in page and "<script" not in page
    assert pq.read_table(tmp_path / "run/rejects.parquet").num_rows == 5


def test_a_zip_gives_the_same_audit_as_its_folder(audited: Audited, world: World, store: Path, tmp_path: Path) -> None:
    _, run = audited
    with zipfile.ZipFile(tmp_path / "training.zip", "w") as archive:
        for file in world.training.rglob("*.png"):
            archive.write(file, file.relative_to(world.training))
    unveil.audit(world.synthetic, tmp_path / "training.zip", world.control, out=tmp_path / "run", store=store)
    zipped, folder = document(tmp_path / "run"), document(run)
    for told in (zipped, folder):
        del told["manifest"]
    assert zipped == folder


def test_control_people_in_the_training_set_are_taken_out(world: World, store: Path, tmp_path: Path) -> None:
    control = tmp_path / "control"
    shutil.copytree(world.control, control)
    for i in range(4):  # two by identical bytes, two re-encoded
        original = (world.training / f"person-{i:04d}/1.png").read_bytes()
        from unveil.images import decode_rgb

        data = original if i < 2 else encoded(decode_rgb(original), "JPEG", quality=90)
        write(control / f"both-{i}/1.png", data)
    result = unveil.audit(world.synthetic, world.training, control, out=tmp_path / "run", store=store)
    (check,) = [c for c in result.hygiene if c.name == "overlap of training and control"]
    assert 4 <= check.value <= 6
    assert result.calibration is not None
    assert not any(p.startswith("both-") for p in result.calibration.control.people)


def test_a_control_set_the_generator_knew_is_no_control(world: World, store: Path, tmp_path: Path) -> None:
    synthetic = tmp_path / "synthetic"
    shutil.copytree(world.synthetic, synthetic)
    shutil.copy(world.control / "control-0001/1.png", synthetic / "copied.png")
    result = unveil.audit(synthetic, world.training, world.control, out=tmp_path / "run", store=store)
    assert result.verdict == "inconclusive" and "must be unknown to the generator" in result.headline
    assert not result.listed_people and not any(i.listed for i in result.identities), "no verdict, no findings"


def test_too_small_a_control_set_is_inconclusive(world: World, store: Path, tmp_path: Path) -> None:
    for i in range(3):
        shutil.copytree(world.control / f"control-{i:04d}", tmp_path / f"control/control-{i:04d}")
    result = unveil.audit(world.synthetic, world.training, tmp_path / "control", out=tmp_path / "run", store=store)
    assert result.verdict == "inconclusive" and "control people" in result.headline
    document(tmp_path / "run")


def test_collapsed_pictures_are_inconclusive(world: World, store: Path, tmp_path: Path) -> None:
    one = drawn_faces(1)[0]
    rng = np.random.default_rng(0)
    for i in range(60):
        noisy = np.clip(one.astype(int) + rng.integers(-3, 4, one.shape), 0, 255).astype(np.uint8)
        write(tmp_path / f"synthetic/{i}.png", encoded(noisy))
    result = unveil.audit(tmp_path / "synthetic", world.training, world.control, out=tmp_path / "run", store=store)
    (check,) = [c for c in result.hygiene if c.name == "spread of synthetic"]
    assert check.status == "fail" and result.verdict == "inconclusive"


def test_nothing_to_embed_is_an_error_that_says_why(world: World, tmp_path: Path) -> None:
    write(tmp_path / "training/readme.txt", "no picture here")
    with pytest.raises(unveil.SourceError, match=r"none of its 1 files gave a face.*not a picture"):
        unveil.audit(world.synthetic, tmp_path / "training", out=tmp_path / "run")


def test_two_audits_never_mix_in_one_folder(audited: Audited, world: World, store: Path, tmp_path: Path) -> None:
    _, run = audited
    with pytest.raises(unveil.SettingError, match=r"other settings \(seed\)"):
        unveil.audit(world.synthetic, world.training, world.control, out=run, store=store, seed=1)
    write(tmp_path / "mine/thesis.txt", "text")
    with pytest.raises(unveil.SettingError, match="not empty"):
        unveil.audit(world.synthetic, world.training, out=tmp_path / "mine", store=store)
    with pytest.raises(unveil.SettingError, match="inside the training pictures"):
        unveil.audit(world.synthetic, world.training, out=world.training / "run", store=store)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"q": 0}, "q should be a number above 0"),
        ({"q": "x"}, "q should be"),
        ({"top_k": 1.5}, "top_k should be a whole number"),
        ({"aligned": "maybe"}, "aligned should be"),
        ({"aligned": "training=perhaps"}, "aligned should be"),
        ({"aligned": "a,b=c"}, "for example"),
        ({"identity": {"training": "folders"}}, "identity rule 'folders'"),
        ({"identity": {"nobody": "folder"}}, "identity should be"),
        ({"engine": "gpu"}, "engine should be"),
        ({"colour": "red"}, "unknown setting colour"),
        ({"training": 3}, "training should be a path"),
    ],
)
def test_settings_are_checked(tmp_path: Path, values: dict[str, Any], told: str) -> None:
    from unveil.config import settings_from

    with pytest.raises(unveil.SettingError, match=told):
        settings_from({"synthetic": "s", "training": "t", "out": tmp_path / "r", **values})


def test_embed_gives_vectors_in_order_and_leaves_nothing(world: World, tmp_path: Path) -> None:
    found = unveil.embed(world.control)
    assert found.embedded.vectors.shape == (300, 128) and not isinstance(found.embedded.vectors, np.memmap)
    assert found.embedded.ids == tuple(sorted(found.embedded.ids)) and found.n_images == 300
    kept = unveil.embed(world.control, out=tmp_path)
    assert np.array_equal(np.load(tmp_path / "vectors.npy"), found.embedded.vectors)
    assert kept.sha256 == found.sha256
    a = unveil.compare_all(found.embedded.vectors, found.embedded.vectors, top_k=1)
    assert a.rows[:, 0].tolist() == list(range(300))


def test_public_names_are_there() -> None:
    for name in unveil.__all__:
        assert getattr(unveil, name) is not None
    assert sorted(unveil.__all__) == unveil.__all__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        unveil.nothing  # noqa: B018
