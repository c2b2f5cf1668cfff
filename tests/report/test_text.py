"""The sentences and numbers that a report shows."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

import unveil
from unveil.report.charts import round_ticks
from unveil.report.text import (
    LOOK_ALIKES,
    MODEL_ALONE,
    as_close,
    can_invalidate,
    count,
    enumeration,
    false_findings,
    headline,
    limitations,
    number,
    percent,
    q_in_words,
    would_be_found,
)
from unveil.results import Calibration, ImageCopy, Stratum
from unveil.stats.checks import Check
from unveil.stats.intervals import share
from unveil.stats.statements import AGAINST_CONTROL, ALL_BUT_FACTS, OF_IMAGES, Statement
from unveil.stats.strata import concentration_p
from unveil.types import Estimate


@pytest.mark.parametrize(
    ("p", "text"),
    [
        (1 / 321, "none of 320 control people is as close"),
        (2 / 321, "1 of 320 control people is as close"),
        (33 / 321, "32 of 320 control people are as close"),
        (1.0, "320 of 320 control people are as close"),
    ],
)
def test_p_values_are_numbers_of_control_people(p: float, text: str) -> None:
    assert " ".join(as_close(p, 320)) == text


def test_a_q_value_of_the_fitted_tail_says_so(audited: tuple[unveil.AuditResult, object]) -> None:
    person = audited[0].significant_people[0]
    assert q_in_words(replace(person, q=0.01, q_gpd=0.002)) == "0.002 (GPD tail)"
    assert q_in_words(replace(person, q=0.01, q_gpd=0.02)) == q_in_words(replace(person, q=0.01, q_gpd=None)) == "0.01"
    assert q_in_words(replace(person, q=None, q_gpd=None)) == ""


def test_numbers_for_readers() -> None:
    assert [percent(s) for s in (0.05, 0.32, 0.0031, 1, 0)] == ["5%", "32%", "0.31%", "100%", "0%"]
    assert [number(p) for p in (0, 0.03, 0.00046, 9.96e-5, 4.1e-7)] == [
        *("below 1e-300", "0.03", "0.00046", "0.0001", "4.1e-07")
    ]
    assert [count(n) for n in (1240.3, 620, 99.7, 99.4, 18.2, 0.78, 4.1e-7)] == [
        *("1,240", "620", "100", "99", "18", "0.78", "4.1e-07")
    ]
    assert enumeration(["a"]) == "a" and enumeration("abc") == "a, b or c" and enumeration("ab", "and") == "a and b"


@pytest.mark.parametrize(("low", "high"), [(-1.12, 27.39), (0.91, 0.98), (0, 1), (3, 3000)])
def test_ticks_are_round_and_inside(low: float, high: float) -> None:
    ticks = round_ticks(low, high)
    assert 4 <= len(ticks) <= 12 and all(low <= value <= high for value, _ in ticks)
    assert all(float(label) == pytest.approx(value) for value, label in ticks)
    assert len({label for _, label in ticks}) == len(ticks)


def texts(result: unveil.AuditResult, verdict: str = "inconclusive", evidence: object = (), **changed: object) -> str:
    given = {
        "checks": (),
        "calibration": None,
        "no_control": None,
        "copies": (),
        "link": None,
        "people": result.people,
        "identities": result.synthetic_identities,
        "synthetic_labelled": False,
        "power": None,
        "fdr": 0.05,
        "counts": result.counts,
    }
    return headline(verdict, evidence, **{**given, **changed})  # type: ignore[arg-type]


def test_headlines_say_what_to_do(audited: tuple[unveil.AuditResult, object]) -> None:
    result, _ = audited
    assert "--control" in texts(result) and "--training-labels" in texts(result)
    failed = Check("size of control", "fail", Estimate(3, 3, 3, 1, 3, "counted"), "3 control people; add some")
    assert texts(result, checks=(failed,)) == "No verdict is possible: 3 control people; add some."
    n = len({copy.person for copy in result.copies})
    copied = f"{n} synthetic images are near-identical copies of training images of {n} people."
    found = f"{len(result.significant_people)} of 150 training people are closer"
    assert result.headline.startswith(f"{copied} This is a fact and needs no test. {found}")
    assert "sensitivity is not known" in would_be_found(None)
    one_file = [ImageCopy("s", f"{person}/1", person, "bytes") for person in "ab"]
    assert texts(result, copies=one_file).startswith(
        "1 synthetic image is an exact copy of training images of 2 people. Their labels share images, so at least 1 "
        "of them is shown. This is a fact"
    )


def test_none_detected_says_what_was_not_compared(audited: tuple[unveil.AuditResult, object]) -> None:
    result, _ = audited
    calibration = Calibration(**{f.name: getattr(result, f.name) for f in fields(Calibration)})
    none = {role: replace(of, rejected=0) for role, of in result.counts.items()}
    some = {**none, "training": replace(none["training"], images=1000, rejected=2)}
    assert "not compared" not in texts(result, "none detected", calibration=calibration, counts=none)
    said = texts(result, "none detected", calibration=calibration, counts=some)
    assert "2 of 1,000 training images (0.2%) were not compared, so copies of them could be missed." in said
    assert "not compared" not in texts(result, "leak found", ("global test",), calibration=calibration, counts=some)


@pytest.mark.parametrize(
    ("evidence", "alone"),
    [
        (("GPD tail",), True),
        (("exact copy", "GPD tail"), True),
        (("conformal", "GPD tail"), False),
        (("global test", "GPD tail"), False),
        (("GPD tail", "identities"), False),
    ],
)
def test_findings_of_a_model_alone_are_called_so(
    audited: tuple[unveil.AuditResult, object], evidence: tuple[str, ...], alone: bool
) -> None:
    result, _ = audited
    calibration = Calibration(**{f.name: getattr(result, f.name) for f in fields(Calibration)})
    assert (MODEL_ALONE in texts(result, "leak found", evidence, calibration=calibration)) == alone


def test_a_stratum_with_most_findings_is_a_warning(audited: tuple[unveil.AuditResult, object]) -> None:
    result, _ = audited

    inputs = result.manifest["inputs"]

    def said(strata: tuple[Stratum, ...], aligned: str = "none") -> str:
        calibration = Calibration(**{f.name: getattr(result, f.name) for f in fields(Calibration)})
        return " ".join(
            limitations(
                calibration=replace(calibration, strata=strata),
                no_control=None,
                link=None,
                power=None,
                copy_thresholds=None,
                counts=result.counts,
                channels=result.channels,
                models=result.models,
                inputs={**inputs, "synthetic": {**inputs["synthetic"], "kind": "folder", "aligned": aligned}},
                checks=(),
                n_training_images_tested=150,
            )
        )

    assert "enlarged or holds several faces" in said((), "112") and "enlarged" not in said(())
    assert LOOK_ALIKES in said(()), "without strata, what look-alikes mean"
    ps = concentration_p([30, 12], [60, 90])
    groups = tuple(Stratum(n, 50, share(k, of), p) for n, k, of, p in zip("AB", (30, 12), (60, 90), ps, strict=True))
    assert "30 of the significant people are in stratum A, more than its 60 tested people explain" in said(groups)
    assert "stratum B" not in said(groups) and LOOK_ALIKES not in said(groups)
    assert "misses those whose score looks like chance" in said(groups)


@pytest.mark.parametrize(
    ("statements", "text"),
    [
        ((), "Nothing. It is a note."),
        (ALL_BUT_FACTS, "Everything but copies."),
        (OF_IMAGES, "Everything but copies and the label link."),
        (AGAINST_CONTROL, "Every test against control people."),
        (("identities", "none detected"), 'Matches of synthetic identities and the verdict "none detected".'),
    ],
)
def test_what_a_check_can_invalidate(statements: tuple[Statement, ...], text: str) -> None:
    assert can_invalidate(statements) == text


def test_expected_false_findings() -> None:
    assert false_findings(2.1, 0.05) == "At most 2.1 of them are expected to be false (false discovery rate 5%)."
    assert "At most 12 of" in false_findings(12.3, 0.1) and "facts" in false_findings(0, 0.05)
    assert false_findings(None, 0.05) == "How many of them are chance is not known."


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
