"""The example notebook runs as it stands, offline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib
import pytest

NOTEBOOK = Path(__file__).parents[2] / "examples" / "audit.ipynb"


@pytest.mark.nightly
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    matplotlib.use("Agg")
    names: dict[str, Any] = {}
    for cell in json.loads(NOTEBOOK.read_text("utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)  # noqa: S102
    found = set(names["people"].person)
    assert len(found & names["truly_memorised"]) >= 25
    assert len(found - names["truly_memorised"]) <= 5
    assert names["cleaned"].after.verdict == "none detected"
    assert [decision.answer for decision in names["decisions"]] == ["refuse"] * 8
    assert (tmp_path / "notebook/report.html").stat().st_size > 10_000
    from matplotlib import pyplot

    pyplot.close("all")
