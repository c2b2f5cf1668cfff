"""The table of settings, and everything that follows from it."""

from __future__ import annotations

import dataclasses
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import typer.main

import unveil
from tests.cli.runner import unveil as command_line
from unveil import choices
from unveil.cli.app import app
from unveil.config.parsing import merge, parse, read_toml, settings_from, with_defaults
from unveil.config.paths import check_paths
from unveil.config.record import command_of, without_names
from unveil.config.settings import SETTINGS, Settings
from unveil.images.label_rule import LabelRule
from unveil.images.location import Location

LEAST = {"synthetic": "s", "training": "t", "out": "r"}
# A value of each setting that is not its default, as a settings file holds it.
OTHER: dict[str, Any] = {
    "synthetic": "hdf5,image=x:a b",
    "training": "./t",
    "out": "elsewhere",
    "control": "c",
    "exclude": "removed.txt",
    "model": ["one.onnx", "two, three.onnx"],
    "detector": "yunet",
    "channels": ["face", "copy"],
    "copy_model": "sscd",
    "aligned": {"synthetic": "yes", "training": "no"},
    "labels": {"synthetic": "prefix:_", "control": "regex:(a=b),(c)"},
    "follow_links": True,
    "fdr": 0.1,
    "global_level": 0.02,
    "top_k": 7,
    "top_pairs": 8,
    "match_controls": "on",
    "learned_score": True,
    "strata": "strata.txt",
    "label_map": "map.tsv",
    "resamples": 3,
    "planted_leaks": "off",
    "protocol": "protocol.json",
    "deviate": "a file was damaged",
    "seed": 5,
    "store": "s3://bucket/store",
    "trust_store": True,
    "device": "cpu",
    "backend": "numpy",
    "engine": "ray:auto",
    "workers": 2,
}


def test_every_setting_is_declared_with_its_help() -> None:
    assert set(OTHER) == set(SETTINGS)
    assert {f.name for f in dataclasses.fields(Settings)} - set(SETTINGS) == {"remote_run"}
    for name, setting in SETTINGS.items():
        assert len(setting.help) > 15 and setting.help.endswith("."), name
        assert setting.panel and setting.values, name
        if setting.default is not None and setting.by_role is None:
            setting.check(setting.default)


@pytest.mark.parametrize("name", OTHER)
def test_a_setting_is_parsed_recorded_and_typed_again(name: str, tmp_path: Path) -> None:
    """From a settings file to the manifest, and from the command in the report to the same settings."""
    values = {**LEAST, "copy_model": "sscd", name: OTHER[name]}
    settings = settings_from(values)
    default = settings_from({**LEAST, "copy_model": "sscd"})
    if name != "copy_model":
        assert getattr(settings, name) != getattr(default, name)
    recorded = settings.facts()
    assert (name in recorded) is SETTINGS[name].changes_result
    assert settings_from({**recorded, "out": "r"}).facts() == recorded
    words = shlex.split(command_of(recorded))
    assert words[:2] == ["unveil", "audit"]
    options = typed(*words[2:])
    assert settings_from(options).facts() == recorded
    assert (name in without_names(recorded)) is (SETTINGS[name].changes_result and not SETTINGS[name].private)


def typed(*words: str) -> dict[str, Any]:
    """The plain values that the options of `unveil audit` stand for, without running it."""
    from unveil.cli.options import _values

    command = typer.main.get_command(app).commands["audit"]  # type: ignore[attr-defined]
    context = command.make_context("audit", list(words))
    given = {k: v for k, v in context.params.items() if v is not None}
    return _values(given)


def test_names_and_paths_are_removed_and_nothing_else() -> None:
    settings = settings_from({**OTHER, **LEAST})
    left = without_names(settings.facts())
    assert set(left) == {
        *("channels", "aligned", "follow_links", "fdr", "global_level", "top_k", "top_pairs"),
        *("match_controls", "learned_score", "resamples", "planted_leaks", "seed"),
    }


def test_the_choices_are_those_of_the_types() -> None:
    from unveil.compare.backends import open_backend
    from unveil.faces.onnx_model import describe_devices

    assert get_args(choices.Device) == tuple(name for name, _ in describe_devices())
    for name in choices.BACKENDS:
        try:
            open_backend(name, 1)
        except unveil.SettingError as error:
            assert "not known" not in str(error)
    with pytest.raises(unveil.SettingError):
        open_backend("abacus", 1)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"fdr": 0},
            r"fdr: expected a number of at least 0.0001 and at most 0\.5, found 0\. Leave fdr out to use 0\.05",
        ),
        ({"fdr": 0.6}, "found 0.6"),
        ({"fdr": float("nan")}, "found nan"),
        ({"fdr": "0.1"}, "expected a number .* found '0.1'"),
        ({"fdr": True}, "found True"),
        ({"top_k": 1.5}, "top_k: expected a whole number of at least 1 and at most 1,000, found 1.5"),
        ({"top_k": True}, "found True"),
        (
            {"aligned": "maybe"},
            "aligned: expected one of auto, yes, no; .*'maybe'.*--aligned synthetic=yes,training=no",
        ),
        ({"aligned": "training=perhaps"}, "aligned: expected one of auto, yes, no"),
        ({"aligned": "a,b=c"}, "for example"),
        ({"aligned": ["yes"]}, r"aligned: expected one of auto, yes, no.*found \['yes'\]"),
        ({"aligned": {"everybody": "yes"}}, "for any of synthetic, training, control"),
        ({"labels": {"training": "folders"}}, "'folders'"),
        ({"labels": {"nobody": "folder"}}, "labels: expected a label rule; or a table"),
        ({"labels": 3}, "labels: expected a label rule"),
        ({"backend": "gpu"}, "backend: expected one of auto, native, onnxruntime, torch, numpy"),
        ({"device": "gpu"}, "device: expected one of auto, cpu, cuda, tensorrt, torch"),
        ({"detector": 3}, "detector: expected the name or file of a detector"),
        ({"follow_links": "no"}, "follow_links: expected true or false, found 'no'. Write follow_links = true"),
        ({"follow_links": 1}, "expected true or false"),
        ({"colour": "red"}, "unknown setting colour"),
        ({"fdrr": 0.1}, r"Did you mean fdr\?"),
        ({"published": "s3://x/y"}, "unknown setting published"),
        ({"remote_run": "s3://x/y"}, "unknown setting remote_run"),
        ({"planted_leaks": "some"}, "planted_leaks: expected one of full, quick, off, found 'some'"),
        ({"match_controls": "maybe"}, "match_controls: expected one of auto, on, off"),
        ({"resamples": 0}, "resamples: expected a whole number of at least 1 and at most 10,000, found 0"),
        ({"model": ["a.onnx", "a.onnx"]}, "different ones"),
        ({"model": [f"{i}.onnx" for i in range(9)]}, "at most 8"),
        ({"model": 3}, "model: expected the name or file of a model"),
        ({"channels": "appearance"}, "channels: expected face"),
        ({"channels": "face,looks"}, "with it any of appearance, copy.*'face,looks'"),
        ({"channels": 3}, "channels: expected face"),
        ({"channels": "face,copy"}, "--copy-model"),
        ({"training": 3}, "training: expected a path, an address or PRESET:PATH, found 3"),
        ({"out": 3}, "out: expected a path"),
        ({"exclude": ["a"]}, "exclude: expected a path"),
        ({"store": 3}, "store: expected a folder or an address"),
        ({"engine": "spark"}, "engine"),
        ({"synthetic": None}, "found no --synthetic"),
    ],
)
def test_values_that_cannot_be_used(values: dict[str, Any], message: str) -> None:
    with pytest.raises(unveil.SettingError, match=message):
        settings_from({**LEAST, **values})


def test_found_values_are_shown_briefly_and_without_control_characters() -> None:
    with pytest.raises(unveil.SettingError) as caught:
        settings_from({**LEAST, "planted_leaks": "\x1b[2J" + "x" * 10_000})
    assert "\x1b" not in str(caught.value) and len(str(caught.value)) < 500


def test_all_forms_of_a_value() -> None:
    both = parse({"model": Path("a.onnx"), "channels": " copy, face ", "aligned": "training=no, synthetic=yes"})
    assert both == {
        "model": ("a.onnx",),
        "channels": ("face", "copy"),
        "aligned": {"training": "no", "synthetic": "yes"},
    }
    assert parse({"labels": "folder"})["labels"] == dict.fromkeys(choices.ROLES, LabelRule("folder"))
    assert parse({"synthetic": Path("s"), "seed": None}) == {"synthetic": Location("s")}
    assert with_defaults(parse({"seed": 3})) == {**{n: s.default for n, s in SETTINGS.items()}, "seed": 3}
    settings = settings_from({**LEAST, "fdr": 0.25})
    with pytest.raises(unveil.SettingError, match="fdr: expected"):
        dataclasses.replace(settings, fdr=0.9)


def test_options_win_role_by_role(tmp_path: Path) -> None:
    file = tmp_path / "audit.toml"
    file.write_text('fdr = 0.1\nseed = 4\naligned = "no"\n[labels]\ntraining = "folder"\ncontrol = "none"\n')
    options = typed("--fdr", "0.2", "--aligned", "synthetic=yes", "--training-labels", "one-per-image")
    merged = merge(read_toml(file), options)
    assert (merged["fdr"], merged["seed"]) == (0.2, 4)
    assert merged["aligned"] == {"synthetic": "yes", "training": "no", "control": "no"}
    assert merged["labels"] == {"training": "one-per-image", "control": "none"}
    assert merge({"labels": {"training": "folder"}}, typed("--labels", "none", "--control-labels", "folder")) == {
        "labels": {"synthetic": "none", "training": "none", "control": "folder"}
    }


def test_parsing_touches_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is read, made or looked for: a finished run opens although its images are gone."""
    monkeypatch.chdir(tmp_path)
    # Presets are read once, and modules that rules of labels need are imported.
    settings_from({**LEAST, "synthetic": "dcface-0.5m:s"})
    settings_from(OTHER)
    events: list[str] = []
    sys.addaudithook(lambda event, args: events.append(f"{event} {args}") if watching and event in TOUCHING else None)
    watching.append(True)
    try:
        settings_from({**OTHER, "synthetic": "dcface-0.5m:s", "out": "s3://bucket/run"})
    finally:
        watching.clear()
    assert events == []


TOUCHING = {"open", "os.listdir", "os.scandir", "os.mkdir"}
watching: list[bool] = []


class TestPaths:
    """From the folder of a user, with relative paths."""

    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.delenv("UNVEIL_STORE", raising=False)
        for name in ("s", "t", "real/people"):
            os.makedirs(name)  # noqa: PTH103

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"out": "t/run"}, "-o: expected a place outside the training images .t., found t/run"),
            ({"out": "s"}, "-o: expected a place outside the synthetic images"),
            ({"synthetic": "."}, "outside the synthetic images"),
            (
                {"training": "real", "store": "./real/people/../store"},
                "--store: expected a place outside the training",
            ),
        ],
    )
    def test_a_run_among_images(self, values: dict[str, Any], message: str) -> None:
        settings = settings_from({**LEAST, **values})
        with pytest.raises(unveil.SettingError, match=message):
            check_paths(settings)
        words = [word for name, value in {**LEAST, **values}.items() for word in (f"--{name}", value)]
        done = command_line("audit", *words)
        assert done.returncode == 2 and "expected a place outside" in done.stderr
        assert not Path(str(settings.out), "manifest.json").exists()

    def test_a_run_beside_images(self) -> None:
        check_paths(settings_from(LEAST))
        check_paths(
            settings_from({**LEAST, "out": "s-run", "synthetic": "s3://bucket/s", "store": "s3://bucket/store"})
        )


def test_the_table_is_light() -> None:
    program = "import sys; import unveil.config.settings; print([m for m in %r if m in sys.modules])"
    heavy = ["numpy", "cattrs", "PIL", "cv2", "onnxruntime", "typer"]
    shown = subprocess.run([sys.executable, "-c", program % heavy], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_a_store_beside_the_run_is_no_link_unless_it_is_named(tmp_path: Path) -> None:
    """It may come from a stranger together with the folder of the run."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run-folder").mkdir()
    (tmp_path / "run-folder/unveil-store").symlink_to(tmp_path / "elsewhere")
    values = {**LEAST, "out": tmp_path / "run-folder/run"}
    with pytest.raises(unveil.SettingError, match="--store: expected a folder beside the run, found a link"):
        check_paths(settings_from(values))
    vectors = np.eye(3, dtype=np.float32)
    with pytest.raises(unveil.SettingError, match="found a link"):
        unveil.audit(vectors, vectors, out=tmp_path / "run-folder/run")
    (tmp_path / "named").symlink_to(tmp_path / "elsewhere")
    check_paths(settings_from({**values, "store": tmp_path / "named"}))
    assert not list((tmp_path / "elsewhere").iterdir())
