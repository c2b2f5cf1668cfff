"""What a Python program does with a result."""

from __future__ import annotations

import json
import pickle
import typing
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

import unveil
from tests.builders import unit_rows
from tools import audit_keywords
from unveil.api.keywords import AuditKeywords
from unveil.api.roc import roc_of
from unveil.config.settings import SETTINGS
from unveil.results import AuditResult, to_document


@pytest.fixture(scope="module")
def arrays() -> dict[str, Any]:
    """Embeddings of 100 training people, 25 of whom leak, and 200 control people."""
    rng = np.random.default_rng(5)
    people = [f"person {k} <b>" for k in range(100)]
    training = unit_rows(rng, 100, 32)
    leaks = training[:25] + 0.2 * unit_rows(rng, 25, 32)
    return {
        "synthetic": np.concatenate([leaks, unit_rows(rng, 75, 32)]),
        "training": unveil.Embeddings(training, people, model="drawn"),
        "control": pd.DataFrame({"embedding": list(unit_rows(rng, 200, 32)), "model": "drawn"}),
    }


@pytest.fixture(scope="module")
def result(arrays: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> unveil.Audit:
    made: unveil.Audit = unveil.audit(**arrays, out=tmp_path_factory.mktemp("arrays") / "run", planted_leaks="off")
    return made


def test_an_audit_of_arrays_finds_the_people(result: unveil.Audit) -> None:
    assert result.verdict == "leak found"
    significant = {p.person for p in result.significant_people}
    assert len(significant & {f"person {k} <b>" for k in range(25)}) >= 20
    assert len(significant) <= 31


def test_what_is_printed_is_short(result: unveil.Audit) -> None:
    assert len(repr(result)) < 200
    assert "leak found" in repr(result)
    assert result.summary().count("\n") < 20
    assert "LEAK FOUND" in result.summary()
    assert str(result.run) in result.summary()
    assert repr(result.people) == "<100 PersonFinding: .to_frame() makes a data frame>"
    page = result._repr_html_()
    assert "<b>" not in page  # names are text, not markup
    assert f"{result.people[0].person[:-3]}&lt;b&gt;" in page


def test_records_make_data_frames(result: unveil.Audit) -> None:
    frame = result.people.to_frame()
    assert list(frame.person) == [p.person for p in result.people]
    np.testing.assert_array_equal(frame.score, [p.score for p in result.people])
    assert result.people[:3].to_frame("polars").height == 3
    assert list(result.copies.to_frame().columns) == ["synthetic_id", "training_id", *frame_rest(result)]
    for one in fields(unveil.Audit):
        value = getattr(result, one.name)
        if isinstance(value, tuple) and value and hasattr(value[0], "__dataclass_fields__"):
            assert isinstance(value, unveil.Records), one.name
            assert len(value.to_frame()) == len(value)
    with pytest.raises(unveil.SettingError, match="found 'spark'"):
        result.people.to_frame("spark")  # type: ignore[arg-type]


def frame_rest(result: unveil.Audit) -> list[str]:
    return [one.name for one in fields(result.copies.kind)][2:]


def test_a_finished_run_is_loaded(result: unveil.Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = unveil.load(result.run)
    assert loaded == result
    assert to_document(loaded) == json.loads((result.run / "audit.json").read_text("utf-8"))
    assert type(loaded.result) is AuditResult
    assert pickle.loads(pickle.dumps(loaded)) == result
    monkeypatch.chdir(result.run.parent)
    assert unveil.load("run") == result
    with pytest.raises(unveil.StoreError, match="holds no audit"):
        unveil.load(result.run.parent)


def test_the_roc_is_that_of_scikit_learn(result: unveil.Audit) -> None:
    rng = np.random.default_rng(3)
    exposures = result.tested_people()
    pairs = [(exposures.training.score, exposures.control.score)]
    pairs += [(rng.integers(0, 5, 30).astype(float), rng.integers(0, 4, 20).astype(float)) for _ in range(20)]
    for training, control in pairs:
        truth = np.repeat([1, 0], [len(training), len(control)])
        scores = np.concatenate([training, control])
        fpr, tpr, threshold = roc_curve(truth, scores, drop_intermediate=False)
        found = roc_of(training, control)
        np.testing.assert_allclose(found.fpr, fpr)
        np.testing.assert_allclose(found.tpr, tpr)
        np.testing.assert_array_equal(found.threshold, threshold)
        assert found.auc == pytest.approx(roc_auc_score(truth, scores))


@pytest.mark.parametrize("columns", [4, 5])
def test_score_files_are_those_of_bob(columns: typing.Literal[4, 5], result: unveil.Audit, tmp_path: Path) -> None:
    """`bob.measure.load` splits at spaces and takes a score as genuine where both identities are equal."""
    lines = [line.split() for line in result.write_scores(tmp_path / "scores", columns).read_text().splitlines()]
    assert {len(line) for line in lines} == {columns}
    genuine = [float(line[-1]) for line in lines if line[0] == line[columns - 3]]
    impostors = [float(line[-1]) for line in lines if line[0] != line[columns - 3]]
    exposures = result.tested_people()
    np.testing.assert_array_equal(genuine, exposures.training.score)
    np.testing.assert_array_equal(impostors, exposures.control.score)
    rows = pd.read_csv(result.write_roc(tmp_path / "roc.csv"))
    np.testing.assert_allclose(rows.fnr, 1 - rows.tpr)
    with pytest.raises(unveil.SettingError, match="found 6"):
        result.write_scores(tmp_path / "scores", 6)  # type: ignore[arg-type]


def test_plots(result: unveil.Audit, audited: tuple[unveil.Audit, Path]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    drawn = [getattr(result.plot, name)() for name in ("scores", "roc", "det")]
    drawn.append(audited[0].plot.power())
    for axes in drawn:
        assert axes.get_xlabel()
        axes.figure.canvas.draw()  # ticks and labels of every scale can be drawn
        assert axes.get_lines() or axes.patches
    with pytest.raises(unveil.SettingError, match="planted no leaks"):
        result.plot.power()
    from matplotlib import pyplot

    pyplot.close("all")


def test_a_report_of_its_own(audited: tuple[unveil.Audit, Path], tmp_path: Path) -> None:
    result, run = audited
    assert result.report(tmp_path / "here/report.html").read_bytes() == (run / "report.html").read_bytes()
    redacted = result.report(tmp_path / "redacted.html", redact=True)
    assert redacted.read_bytes() == (run / "report.redacted.html").read_bytes()


def test_without_a_control_set_there_is_no_roc(arrays: dict[str, Any], tmp_path: Path) -> None:
    result = unveil.audit(arrays["synthetic"], arrays["training"], out=tmp_path / "run", planted_leaks="off")
    assert result.membership is None
    for ask in (result.roc, result.plot.scores, result.tested_people):
        with pytest.raises(unveil.SettingError, match="control=PATH"):
            ask()


def test_keywords_are_those_of_the_settings() -> None:
    assert audit_keywords.FILE.read_text("utf-8") == audit_keywords.text()
    assert set(AuditKeywords.__annotations__) == set(SETTINGS) - audit_keywords.ARGUMENTS
