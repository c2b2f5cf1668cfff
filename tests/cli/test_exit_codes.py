"""The tables of exit codes in the documentation are those of the code."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import get_args
from xml.etree import ElementTree

import unveil
from unveil.choices import AuditVerdict
from unveil.cli import exit_codes
from unveil.cli.exit_codes import FailOn, exit_code
from unveil.report.junit import junit

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "pipelines.md").read_text("utf-8")


def table(first_heading: str) -> list[list[str]]:
    """The rows of the table whose first column has this heading, as cells."""
    (rows,) = re.findall(rf"^\| {first_heading} \|.*\n\|[-|]+\n((?:\|.*\n)+)", PAGE, re.M)
    return [row.strip("| ").split(" | ") for row in rows.splitlines()]


def test_every_exit_code_is_documented_with_its_meaning() -> None:
    assert {int(code): meaning for code, meaning in table("exit code")} == exit_codes.MEANINGS


def test_verdicts_give_the_documented_codes(audited: tuple[unveil.AuditResult, Path]) -> None:
    rows = table("verdict")
    assert [row[0].strip("`") for row in rows] == list(get_args(AuditVerdict))
    for row, verdict in zip(rows, get_args(AuditVerdict), strict=True):
        codes = [exit_code(verdict, fail_on) for fail_on in (None, *FailOn)]
        assert codes == [int(cell) for cell in row[1:-1]], verdict
        result = replace(audited[0], verdict=verdict, input_checks=())
        (case,) = ElementTree.fromstring(junit(result))[0]  # noqa: S314 (our own text)
        assert (case[0].tag == "failure") is (row[-1] == "failure"), verdict


def test_an_inconclusive_audit_is_never_green_for_a_pipeline() -> None:
    assert all(exit_code("inconclusive", fail_on) != exit_codes.OK for fail_on in FailOn)
