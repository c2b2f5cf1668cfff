"""The sentences and numbers that a report shows."""

from __future__ import annotations

import pytest

import unveil
from unveil.report.charts import round_ticks
from unveil.report.text import as_high, enumeration, headline, number, percent, would_be_found
from unveil.stats.checks import Check
from unveil.types import Estimate


@pytest.mark.parametrize(
    ("p", "text"),
    [
        (1 / 321, "none of 320 control people score as high"),
        (2 / 321, "0.31% of 320 control people score as high"),
        (33 / 321, "10% of 320 control people score as high"),
        (1.0, "100% of 320 control people score as high"),
    ],
)
def test_p_values_are_shares_of_control_people(p: float, text: str) -> None:
    assert as_high(p, 320) == text


def test_numbers_for_readers() -> None:
    assert [percent(s) for s in (0.05, 0.32, 0.0031, 1, 0)] == ["5%", "32%", "0.31%", "100%", "0%"]
    assert [number(p) for p in (0, 0.03, 4.1e-7)] == ["below 1e-300", "0.03", "4.1e-07"]
    assert enumeration(["a"]) == "a" and enumeration("abc") == "a, b or c" and enumeration("ab", "and") == "a and b"


@pytest.mark.parametrize(("low", "high"), [(-1.12, 27.39), (0.91, 0.98), (0, 1), (3, 3000)])
def test_ticks_are_round_and_inside(low: float, high: float) -> None:
    ticks = round_ticks(low, high)
    assert 4 <= len(ticks) <= 12 and all(low <= value <= high for value, _ in ticks)
    assert all(float(label) == pytest.approx(value) for value, label in ticks)
    assert len({label for _, label in ticks}) == len(ticks)


def texts(result: unveil.AuditResult, **changed: object) -> str:
    given = {
        "checks": (),
        "calibration": None,
        "threshold": None,
        "copies": (),
        "link": None,
        "people": result.people,
        "identities": result.synthetic_identities,
        "synthetic_labelled": False,
        "power": None,
        "fdr": 0.05,
        "fpir": 0.01,
    }
    return headline("inconclusive", (), **{**given, **changed})  # type: ignore[arg-type]


def test_headlines_say_what_to_do(audited: tuple[unveil.AuditResult, object]) -> None:
    result, _ = audited
    assert "--control" in texts(result) and "--training-labels" in texts(result)
    failed = Check("size of control", "fail", Estimate(3, 3, 3, 1, 3, "counted"), "3 control people; add some")
    assert texts(result, checks=(failed,)) == "No verdict is possible: 3 control people; add some."
    assert result.headline.startswith(f"{len(result.significant_people)} of 150 training people are closer")
    assert "sensitivity is not known" in would_be_found(None)


def test_no_private_word_is_left_in_what_a_reader_sees(audited: tuple[unveil.AuditResult, object]) -> None:
    result, run = audited
    page = (run / "report.html").read_text()  # type: ignore[operator]
    seen = " ".join([result.headline, *result.limitations, page.partition("<body>")[2].partition('id="record"')[0]])
    for word in (
        "told",
        "listed",
        "stand out",
        "modelled",
        "Rests on",
        "hygiene",
        "foretell",
        "picture",
        "by counting",
    ):
        assert word not in seen, word
