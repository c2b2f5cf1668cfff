"""Names of models, licences and titles come from files of others: they are shown as text wherever they appear."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import unveil
from tests.cli.runner import unveil as command_line
from tests.models import described_model, small_model
from unveil.report.datasheet import datasheet
from unveil.report.html import render
from unveil.report.junit import junit
from unveil.report.key_numbers import escaped
from unveil.report.markdown import markdown
from unveil.report.redact import redact

Audited = tuple[unveil.AuditResult, Path]
NAME = "<img src=x onerror=alert(1)> [click](http://host) @team `x` | **b** \x1b[31m &amp; \ufffe"


@pytest.fixture(scope="module")
def hostile(audited: Audited) -> unveil.AuditResult:
    result, _ = audited
    changed: dict[str, Any] = {"name": NAME, "licence": NAME, "trained_on": NAME}
    models: Any = tuple({**model, **changed} for model in result.models)
    return replace(result, models=models, headline=NAME, limitations=(NAME, *result.limitations))


@pytest.mark.parametrize("text", [markdown, datasheet])
def test_markdown_shows_names_as_text(hostile: unveil.AuditResult, text: Callable[[unveil.AuditResult], str]) -> None:
    page = text(replace(redact(hostile), models=hostile.models, headline=NAME, limitations=(NAME,)))
    assert page.count("onerror") >= 2
    for markup in ("<img", "[click]", "(http://", "@team", " `x` ", "**b**"):
        assert markup not in page, markup


def test_html_shows_names_as_text(hostile: unveil.AuditResult) -> None:
    page = render(hostile, None)
    assert "onerror" in page and "<img src=x" not in page


def test_junit_stays_xml(hostile: unveil.AuditResult) -> None:
    cases = ElementTree.fromstring(junit(hostile)).iter("testcase")  # noqa: S314 (we wrote it)
    assert any("onerror" in "".join(case.itertext()) for case in cases)


def test_escaped_text_has_one_line_and_no_markup() -> None:
    assert escaped("w600k_r50\n# x") == r"w600k\_r50 \# x"
    assert not re.search(r"(?<!\\)[`*_\[\]|~#]|[<>@]|://", escaped(NAME).replace("&#", ""))


def test_the_list_of_models_shows_licences_as_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNVEIL_MODELS", str(tmp_path / "library"))
    licence = "[red]none[/red] [link=http://host]x[/link] \x1b]0;title\x07"
    file = described_model(tmp_path / "library/mine", small_model(), licence=json.dumps(licence))
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    text = file.with_suffix(".toml").read_text()
    file.with_suffix(".toml").write_text(f'sha256 = "{sha256}"\n{text}')
    done = command_line("models", "list")
    assert done.returncode == 0 and "[red]none[/red]" in "".join(done.stdout.split()), done.stdout
    assert "\x1b" not in done.stdout and "\x07" not in done.stdout
