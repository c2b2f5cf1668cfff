"""What is decided before an audit: fixed in a file, followed or deviated from, and never trusted."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import unveil
from tests.builders import examples, unit_rows, write
from tests.cli.runner import unveil as command_line
from unveil.config.settings import SETTINGS
from unveil.io.checksums import file_sha256, sealed, unsealed
from unveil.planning import fixing
from unveil.planning.protocol import FIXED, MAX_BYTES, read_protocol, under_protocol
from unveil.report.datasheet import datasheet
from unveil.report.first_page import steps
from unveil.report.html import render
from unveil.report.markdown import markdown
from unveil.report.redact import redact
from unveil.results import Deviation, from_document, to_document


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Embeddings of 120 training people, 20 of whom leak, and 150 control people."""
    folder, rng = tmp_path_factory.mktemp("inputs"), np.random.default_rng(3)
    training = unit_rows(rng, 120, 32)
    leaks = training[:20] + 0.2 * unit_rows(rng, 20, 32)
    arrays = {"synthetic": np.concatenate([leaks, unit_rows(rng, 60, 32)]), "training": training}
    for role, vectors in {**arrays, "control": unit_rows(rng, 150, 32)}.items():
        np.savez(folder / f"{role}.npz", vectors=vectors, people=np.array([f"{role} {i}" for i in range(len(vectors))]))
    return {role: folder / f"{role}.npz" for role in ("synthetic", "training", "control")}


@pytest.fixture(scope="module")
def protocol(inputs: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("protocol") / "protocol.json"
    digest = unveil.write_protocol(path, **inputs, fdr=0.01, planted_leaks="off", resamples=3)
    assert digest == file_sha256(path)
    return path


@pytest.fixture(scope="module")
def followed(inputs: dict[str, Any], protocol: Path, tmp_path_factory: pytest.TempPathFactory) -> unveil.Audit:
    result: unveil.Audit = unveil.audit(**inputs, protocol=protocol, out=tmp_path_factory.mktemp("followed") / "run")
    return result


def changed(protocol: Path, folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """A copy of a protocol with something changed, sealed anew as a careful forger would."""
    values = unsealed(json.loads(protocol.read_bytes()))
    change(values)
    return write(folder / "changed.json", json.dumps(sealed(values)))


def setting(name: str, value: object) -> Callable[[dict[str, Any]], object]:
    """A change of one setting."""

    def change(values: dict[str, Any]) -> None:
        values["settings"][name] = value

    return change


def test_an_audit_follows_its_protocol(followed: unveil.Audit, protocol: Path) -> None:
    record = followed.protocol
    assert record is not None and record.deviations == () and record.reason is None
    assert record.sha256 == file_sha256(protocol) == followed.manifest["files"]["protocol"]
    assert record.made == read_protocol(protocol).made
    assert record.inputs == dict.fromkeys(("synthetic", "training", "control"), "content")
    assert followed.manifest["settings"]["fdr"] == 0.01  # the protocol decides what is not typed
    assert [one.statement for one in record.statements if one.made][:3] == ["exact copy", "label link", "global test"]
    assert {one.level for one in record.statements if one.level_of == "false discovery rate"} == {0.01}
    assert record.unplanned == ()
    assert from_document(to_document(followed.result)).protocol == record
    assert unveil.load(followed.run).protocol == record


def test_every_setting_of_the_result_is_fixed(protocol: Path) -> None:
    by_digest = {"synthetic", "training", "control", "exclude", "strata", "label_map", "model", "detector"}
    by_digest |= {"copy_model", "protocol", "deviate", "follow_links"}
    assert {name for name, setting in SETTINGS.items() if setting.changes_result} == {*FIXED, *by_digest}
    assert set(FIXED) <= set(read_protocol(protocol).settings)


def test_reports_say_what_was_decided(followed: unveil.Audit) -> None:
    result, record = followed.result, followed.protocol
    assert record is not None
    page = render(result, None)
    first = page.partition('id="evidence"')[0]
    assert "were fixed in a protocol of" in first and "The audit follows it." in first
    assert record.sha256 in page and "only if it was published or time-stamped elsewhere" in page
    for text in (markdown(redact(result)), datasheet(redact(result))):
        assert record.sha256 in text and "The audit follows it." in text
    without = replace(result, protocol=None)
    assert "Nothing was fixed before this audit" in render(without, None) + datasheet(without)
    assert "protocol of" not in render(without, None).partition('id="evidence"')[0]
    # The next audit is another one, with the same settings.
    again = [command for step in steps(result) for command in step.commands if command.startswith("unveil audit")]
    assert again and all("--fdr 0.01" in command and "--protocol" not in command for command in again)

    deviations = (Deviation("labels of training", '"/home/anna"', '"b"'), Deviation("fdr", "0.01", "<i>"))
    differing = replace(result, protocol=replace(record, deviations=deviations, reason="asked by <b>anna"))
    page = render(differing, None)
    assert "deviates from it in 2 points: labels of training and fdr" in page.partition('id="evidence"')[0]
    assert "asked by &lt;b&gt;anna" in page and "&lt;i&gt;" in page
    nameless = render(redact(differing), None) + str(to_document(redact(differing))["protocol"])
    assert "anna" not in nameless and "deviates from it in 2 points" in nameless


def test_a_difference_is_refused_or_recorded(
    inputs: dict[str, Any], protocol: Path, followed: unveil.Audit, tmp_path: Path
) -> None:
    other = tmp_path / "other.npz"
    np.savez(other, vectors=unit_rows(np.random.default_rng(9), 150, 32))
    differing = {**inputs, "control": other, "out": tmp_path / "run", "protocol": protocol}
    with pytest.raises(
        unveil.SettingError, match=r"found 2 differences \(fdr: 0.01 planned, 0.2 found; control images:"
    ):
        unveil.audit(**differing, fdr=0.2)
    assert not (tmp_path / "run" / "audit.json").exists()
    with pytest.raises(unveil.SettingError, match="aligned of control: auto planned, yes found"):
        unveil.audit(**differing, aligned={"control": "yes"})
    result: unveil.Audit = unveil.audit(**differing, fdr=0.2, deviate="the control set was damaged")
    record = result.protocol
    assert record is not None and [d.what for d in record.deviations] == ["fdr", "control images"]
    assert record.reason == "the control set was damaged" and record.deviations[1].planned.startswith("150 images")
    # A finished audit does not answer for one under a protocol, nor the other way round.
    with pytest.raises(unveil.SettingError, match="protocol: "):
        unveil.audit(**inputs, out=followed.run, fdr=0.01, planted_leaks="off", resamples=3)
    with pytest.raises(unveil.SettingError, match="a protocol to deviate from"):
        unveil.audit(**inputs, out=tmp_path / "new", deviate="why")


def test_changed_bytes_are_noticed_before_anything_is_compared(
    inputs: dict[str, Any], protocol: Path, tmp_path: Path
) -> None:
    arrays = dict(np.load(inputs["synthetic"]))
    arrays["vectors"] = arrays["vectors"][::-1]
    np.savez(tmp_path / "synthetic.npz", **arrays)
    with pytest.raises(unveil.SettingError, match=r"synthetic images: content .* planned, content .* found"):
        unveil.audit(**{**inputs, "synthetic": tmp_path / "synthetic.npz"}, protocol=protocol, out=tmp_path / "run")
    assert not list((tmp_path / "run").glob("*.parquet"))


def test_a_protocol_from_the_future_is_noticed(inputs: dict[str, Any], protocol: Path, tmp_path: Path) -> None:
    late = changed(protocol, tmp_path, lambda v: v.update(made="2999-01-01T00:00:00+00:00"))
    with pytest.raises(unveil.SettingError, match=r"1 difference \(time: made before the audit, at 2999"):
        unveil.audit(**inputs, protocol=late, out=tmp_path / "run")


def test_images_are_fixed_by_content_or_by_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    for role in ("synthetic", "training"):
        for i in range(3):
            path = write(tmp_path / role / f"person{i}" / "a.png", b"")
            Image.fromarray(rng.integers(0, 255, (8, 8, 3), np.uint8)).save(path)
    strata = write(tmp_path / "strata.txt", "person0 a\n")
    sets: dict[str, Any] = {role: tmp_path / role for role in ("synthetic", "training")}
    unveil.write_protocol(tmp_path / "content.json", **sets, strata=strata)
    by_content = read_protocol(tmp_path / "content.json")
    assert by_content.files == {"strata": file_sha256(strata)}
    assert by_content.inputs["training"].labels == 3 and by_content.inputs["training"].images == 3
    assert all(one.content_sha256 for one in by_content.inputs.values())
    assert [one.statement for one in by_content.statements] == [
        "exact copy",
        "near-identical copy",
        "label link",
    ]  # too few people to search
    monkeypatch.setattr(fixing, "MAX_READ_BYTES", 100)
    unveil.write_protocol(tmp_path / "names.json", **sets)
    by_names = read_protocol(tmp_path / "names.json")
    assert not any(one.content_sha256 for one in by_names.inputs.values())
    # A list of labels lies in the set: a file of its name in the current folder is another.
    write(tmp_path / "training" / "people.txt", "".join(f"person{i}/a.png p{i}\n" for i in range(3)))
    write(tmp_path / "people.txt", "another file")
    monkeypatch.chdir(tmp_path)
    unveil.write_protocol(tmp_path / "listed.json", **sets, labels={"training": "list:people.txt"})
    listed = read_protocol(tmp_path / "listed.json")
    assert listed.files == {}
    assert listed.inputs["training"].names_sha256 != by_names.inputs["training"].names_sha256
    assert by_names.inputs["training"].names_sha256 == by_content.inputs["training"].names_sha256
    with pytest.raises(unveil.SettingError, match=r"expected a new file, found a file.*It stays as it is"):
        unveil.write_protocol(tmp_path / "names.json", **sets)


class TestFromAStranger:
    """A protocol is a file from anybody."""

    def test_it_names_no_place(self, protocol: Path, tmp_path: Path) -> None:
        document = json.loads(protocol.read_bytes())
        typed = {name for name in document["settings"] if name not in FIXED}
        assert typed <= {"detector", "model", "copy_model"}
        for name in ("out", "store", "engine", "follow_links", "training", "exclude", "workers", "deviate", "protocol"):
            wrong = changed(protocol, tmp_path, setting(name, "x"))
            with pytest.raises(unveil.SettingError, match="settings that are unknown"):
                under_protocol({"protocol": wrong})

    @pytest.mark.parametrize("name", ["detector", "copy_model", "model"])
    def test_it_leads_no_model_to_be_read(
        self, name: str, protocol: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for place in ("/etc/passwd", "../x.onnx", "sub/x"):
            value = [place] if name == "model" else place
            wrong = changed(protocol, tmp_path, setting(name, value))
            with pytest.raises(unveil.SettingError, match="the path of a file"):
                read_protocol(wrong)
        # A name that is also a file here is not taken from the protocol.
        monkeypatch.chdir(tmp_path)
        write(tmp_path / "mine", b"")
        value = ["mine"] if name == "model" else "mine"
        named = changed(protocol, tmp_path, setting(name, value))
        assert name not in under_protocol({"protocol": named})
        labels = dict.fromkeys(("synthetic", "training", "control"), "list:/etc/passwd")
        with pytest.raises(unveil.SettingError, match="the path of a file"):
            read_protocol(changed(protocol, tmp_path, lambda v: v["settings"].update(labels=labels)))

    def test_it_has_no_pattern_searched(self, protocol: Path, tmp_path: Path) -> None:
        labels = {"synthetic": "auto", "training": "regex:(a+)+$", "control": "prefix:_"}
        wrong = changed(protocol, tmp_path, lambda v: v["settings"].update(labels=labels))
        assert under_protocol({"protocol": wrong})["labels"] == {"synthetic": "auto", "control": "prefix:_"}
        # Nor compiled: this one takes gigabytes.
        labels["training"] = "regex:(" + "(?:" * 4 + "x" + "{200})" * 4 + ")"
        start = time.process_time()
        read_protocol(changed(protocol, tmp_path, lambda v: v["settings"].update(labels=labels)))
        assert time.process_time() - start < 2

    def test_a_change_is_detected(self, protocol: Path, tmp_path: Path) -> None:
        text = protocol.read_text()
        wrong = write(tmp_path / "p.json", text.replace('"fdr": 0.01', '"fdr": 0.5'))
        with pytest.raises(unveil.SettingError, match="one that was changed since"):
            read_protocol(wrong)
        # Who seals it again cannot keep the hash that was published.
        again = changed(protocol, tmp_path, lambda v: v["settings"].update(seed=7))
        assert read_protocol(again).sha256 != file_sha256(protocol)

    @pytest.mark.parametrize(
        "change",
        [
            lambda v: v.update(made="yesterday"),
            lambda v: v.update(made="2026-01-01T00:00:00"),
            lambda v: v.update(made="x" * 5000),
            lambda v: v.update(extra=1),
            lambda v: v.pop("models"),
            lambda v: v.update(models=[]),
            lambda v: v.update(models="dlib"),
            lambda v: v.update(models=v["models"] * 9),
            lambda v: v["settings"].pop("fdr"),
            lambda v: v["settings"].update(fdr=7),
            lambda v: v["settings"].update(fdr="0.05"),
            lambda v: v["settings"].update(seed=10**30),
            lambda v: v["settings"].update(labels={"training": "auto"}),
            lambda v: v["settings"].update(labels=3),
            lambda v: v["inputs"].pop("training"),
            lambda v: v["inputs"].update(other=v["inputs"]["training"]),
            lambda v: v["inputs"]["training"].update(images="many"),
            lambda v: v["inputs"]["training"].update(images=True),
            lambda v: v["statements"][0].update(statement="everything"),
            lambda v: v["statements"][0].update(level=float("inf")),
            lambda v: v["statements"][0].update(level=7),
            lambda v: v.update(statements=v["statements"] * 4),
            lambda v: v.update(statements=v["statements"][1:2] * 2),
            lambda v: v["statements"][1].update(level=1e-9),
            lambda v: v["statements"][1].update(level_of="false discovery rate", level=0.01),
            lambda v: v.update(files={"<b>[a](https://example.org)": "0" * 64}),
            lambda v: v["settings"].update(labels=["synthetic", "training", "control"]),
            lambda v: v.update(version=2),
            lambda v: v.update(format="other"),
        ],
    )
    def test_no_other_document_is_a_protocol(
        self, change: Callable[[dict[str, Any]], object], protocol: Path, tmp_path: Path
    ) -> None:
        with pytest.raises(unveil.SettingError, match="expected a"):
            read_protocol(changed(protocol, tmp_path, change))

    @given(st.data())
    @examples(100)
    def test_any_bytes_are_a_protocol_or_an_error(self, protocol: Path, data: st.DataObject) -> None:
        original = protocol.read_bytes()
        start = data.draw(st.integers(0, len(original)))
        length, new = data.draw(st.integers(0, 40)), data.draw(st.binary(max_size=40))
        with tempfile.TemporaryDirectory() as folder:
            path = write(Path(folder) / "p.json", original[:start] + new + original[start + length :])
            try:
                assert read_protocol(path) == read_protocol(protocol)
            except unveil.SettingError as error:
                assert "expected a" in str(error)

    def test_reading_is_bounded(self, protocol: Path, tmp_path: Path) -> None:
        deep, long, twice = (tmp_path / name for name in ("deep", "long", "twice"))
        deep.write_text("[" * 100_000)
        long.write_text(" " * (MAX_BYTES + 1))
        twice.write_text('{"format": "unveil protocol", ' + protocol.read_text()[1:])
        os.mkfifo(tmp_path / "pipe")
        for path in (deep, long, twice, tmp_path / "pipe", tmp_path):
            with pytest.raises(unveil.SettingError, match="no readable one"):
                read_protocol(path)

    def test_statements_are_made_by_the_audit_alone(self, protocol: Path, tmp_path: Path) -> None:
        claimed = changed(protocol, tmp_path, lambda v: [one.update(made=True) for one in v["statements"]])
        with pytest.raises(unveil.SettingError, match='found "made"'):
            read_protocol(claimed)
        assert not any(one.made for one in read_protocol(protocol).statements)

    def test_texts_are_printable(self, protocol: Path, tmp_path: Path) -> None:
        wrong = changed(protocol, tmp_path, lambda v: v["models"][0].update(name="\x1b[2J"))
        assert read_protocol(wrong).models[0].name == "\\x1b[2J"


def test_from_the_command_line(inputs: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sets = [word for role, path in inputs.items() for word in (f"--{role}", path)]
    fixed = command_line("plan", *sets, "--fdr", "0.02", "--planted-leaks", "off", "--protocol", "p.json")
    assert fixed.returncode == 0, fixed.stderr
    assert file_sha256(tmp_path / "p.json") in fixed.stdout and "--protocol p.json -o RUN" in fixed.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["p.json"]
    done = command_line("audit", *sets, "--protocol", "p.json", "-o", "run")
    assert done.returncode == 0, done.stderr
    assert "The audit follows it." in done.stdout
    refused = command_line("audit", *sets, "--protocol", "p.json", "--seed", "1", "-o", "other")
    assert refused.returncode == 2 and "seed: 0 planned, 1 found" in refused.stderr
    assert command_line("plan", "--counts", "1k,1k", "--protocol", "q.json").returncode == 2
    assert command_line("plan", *sets, "--protocol", "p.json").returncode == 2


def test_a_settings_file_excuses_no_deviation(inputs: dict[str, Any], protocol: Path, tmp_path: Path) -> None:
    write(tmp_path / "s.toml", 'deviate = "because"\n')
    sets = [word for role, path in inputs.items() for word in (f"--{role}", path)]
    done = command_line("audit", *sets, "--settings", tmp_path / "s.toml", "--protocol", protocol, "-o", tmp_path / "r")
    assert done.returncode == 2 and "deviate, which a file may not decide" in done.stderr


def test_a_cleaning_is_another_audit(followed: unveil.Audit, tmp_path: Path) -> None:
    done = followed.clean(tmp_path / "clean")
    assert done.after.protocol is None and done.before.protocol == followed.protocol
