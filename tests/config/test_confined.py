"""Settings from somebody else: what a file may not decide, and values that no audit can use."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest

from tests.builders import audit, unit_rows, write
from tests.cli.runner import unveil as command_line
from unveil.config.confined import check_confined
from unveil.config.parsing import parse, read_toml
from unveil.config.settings import LISTS, SETTINGS
from unveil.errors import SettingError, SourceError
from unveil.images.location import Location
from unveil.study import read_plan

STUDY = """
[settings]
{settings}
[[set]]
name = "a"
synthetic = "{synthetic}"
training = "real"
"""


@pytest.mark.parametrize(
    "values",
    [
        {"engine": "ray:10.0.0.1:6379"},
        {"out": "run"},
        {"store": "store"},
        {"trust_store": True},
        {"follow_links": True},
        {"synthetic": "s3://bucket/set"},
        {"synthetic": "zip:https://host/set.zip"},
        {"synthetic": "dcface-0.5m:/data/dcface"},
        {"training": "../real"},
        {"training": "{..,x}/real"},
        {"training": "{a,../../b}.zip"},
        {"control": "/home/somebody/photographs"},
        {"control": "inside/../../outside"},
        {"control": "link"},
        {"model": ["ok", "/home/somebody/model.onnx"]},
        {"model": "../model.onnx"},
        {"detector": "https://host/d.onnx"},
        {"copy_model": "/dev/zero"},
        {"exclude": "/etc/passwd"},
        {"strata": "../strata.txt"},
        {"label_map": "../map.tsv"},
        {"model": ["name_of_a_file"]},
        {"detector": "name_of_a_file"},
        {"training": "a\0b"},
    ],
)
def test_a_file_names_nothing_outside_its_folder(
    values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/link").symlink_to(tmp_path)
    (tmp_path / "folder/name_of_a_file").symlink_to("/dev/zero")
    monkeypatch.chdir(tmp_path / "folder")
    with pytest.raises(SettingError, match=r"--trusted|expected a path or an address"):
        check_confined(values, Path("audit.toml"))


def test_a_file_names_what_lies_in_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    inside = {
        **{"synthetic": "lmdb:syn/data.mdb", "training": "shards/{000..003}.tar", "control": str(tmp_path / "others")},
        **{"model": ["w600k_r50", "models/own.onnx"], "detector": "dlib", "exclude": "list.txt", "follow_links": False},
    }
    check_confined(inside, tmp_path / "audit.toml")
    # A wrong type is reported when it is parsed.
    check_confined({"synthetic": 3, "model": [3]}, tmp_path / "audit.toml")


@pytest.mark.parametrize(
    ("settings", "synthetic", "message"),
    [
        ('engine = "ray:10.0.0.1:6379"', "syn", "--engine the cluster"),
        ("", "s3://bucket/syn", "found an address"),
        ("", "../syn", "found one outside"),
        ('model = "/models/a.onnx"', "syn", "found one outside"),
    ],
)
def test_a_study_names_no_engine_and_nothing_outside(
    settings: str, synthetic: str, message: str, tmp_path: Path
) -> None:
    study = write(tmp_path / "in/study.toml", STUDY.format(settings=settings, synthetic=synthetic))
    with pytest.raises(SettingError, match=message):
        read_plan(study)
    if "engine" not in settings:
        assert read_plan(study, trusted=True, engine="ray").engine == "ray"


def test_the_name_of_a_set_is_that_of_a_folder(tmp_path: Path) -> None:
    for n, ends in ((100, False), (101, True)):
        text = f'[[set]]\nname = "{"n" * n}"\nsynthetic = "a"\ntraining = "b"\n'
        with pytest.raises(SettingError, match="at most 100 characters") if ends else contextlib.nullcontext():
            read_plan(write(tmp_path / "study.toml", text))


def test_links_in_a_folder_that_the_user_typed_are_the_users(tmp_path: Path) -> None:
    study = write(tmp_path / "in/study.toml", STUDY.format(settings="", synthetic="syn"))
    (tmp_path / "data").mkdir()
    (tmp_path / "data/syn").symlink_to(tmp_path / "elsewhere")
    assert read_plan(study, tmp_path / "data").sets
    (tmp_path / "in/syn").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SettingError, match="found one outside"):
        read_plan(study)


HUGE = "9" * 5000


@pytest.mark.parametrize(
    "text",
    [
        f"seed = {HUGE}",
        "seed = 0x" + "f" * 5000,
        "fdr = 0x" + "f" * 5000,
        "workers = 100000",
        "top_k = 1000000000",
        "top_pairs = 100000000000",
        "resamples = 1000000000",
        "seed = 9223372036854775808",
        'training = "a\\u0000b"',
        'model = "a\\u0000b"',
        'exclude = ""',
        'training = ""',
        'store = " "',
        "\n".join(f"[x{i}{'.a' * 40}]" for i in range(20_000)),
        "a." * 30_000 + "a = 1",
        f"[{'a.' * 30_000}a]",
        'x = {"a"' + "\t. 'a'" * 30_000 + " = 1}",
        "# " + "a" * 2**20,
        "labels = " + "[" * 5000 + "]" * 5000,
        "channels = " + "[" * 500 + "]" * 500,
        "fdr = nan",
        "top_k = true",
    ],
)
def test_values_that_no_audit_can_use(text: str, tmp_path: Path) -> None:
    file = write(tmp_path / "audit.toml", text)
    with pytest.raises(SettingError, match="expected"):
        parse(read_toml(file))


def test_every_number_has_an_upper_limit() -> None:
    numbers = [setting for setting in SETTINGS.values() if setting.type in ("int", "float")]
    assert numbers and all(setting.at_most is not None for setting in numbers)


@pytest.mark.parametrize(
    "words",
    [
        ("audit", "--synthetic", "", "--training", "b", "-o", "run"),
        ("audit", "--synthetic", "a", "--training", "b", "-o", ""),
        ("inspect", ""),
        ("report", ""),
        ("clean", " "),
        ("lookup", "a.png", "--run", ""),
        ("audit", "--synthetic", "a", "--training", "b", "-o", "run", "--workers", "1000000000000"),
    ],
)
def test_an_empty_path_is_not_the_current_folder(words: tuple[str, ...], tmp_path: Path) -> None:
    done = command_line(*words, cwd=tmp_path)
    assert done.returncode == 2 and "expected" in done.stderr and "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_location_has_a_path() -> None:
    for text in ("", " ", "a\0b"):
        with pytest.raises(SettingError, match="expected a path or an address"):
            Location.parse(text)


def test_a_missing_list_begins_no_run(tmp_path: Path) -> None:
    """Otherwise the folder would belong to an audit with a list that does not exist."""
    import numpy as np

    for role in ("synthetic", "training"):
        np.savez(tmp_path / f"{role}.npz", vectors=unit_rows(np.random.default_rng(1), 40, 8))
    sets = tmp_path / "synthetic.npz", tmp_path / "training.npz"
    for name in LISTS:
        with pytest.raises((SettingError, SourceError), match=f"{SETTINGS[name].option}: expected a text file"):
            audit(*sets, out=tmp_path / "run", **{name: tmp_path / "none.txt"})
        assert not (tmp_path / "run").exists()
    audit(*sets, out=tmp_path / "run")


def test_every_file_that_an_audit_reads_is_a_list() -> None:
    """A setting that names a text file is checked, hashed and confined without further mention."""
    assert LISTS == ("exclude", "strata", "label_map", "protocol")
