"""Without labels of training people, images are counted, and every text says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import unveil
from tests.builders import unit_rows
from unveil.cli.print_results import print_result
from unveil.report.audit_facts import unit
from unveil.report.first_page import answers
from unveil.report.html import render
from unveil.report.markdown import markdown
from unveil.report.redact import redact
from unveil.report.thumbnails import Thumbnails
from unveil.report.units import IMAGES, IMAGES_COUNT, PEOPLE, unit_of


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory: pytest.TempPathFactory) -> unveil.Audit:
    """Embeddings of 120 training images without labels, 20 of which leak, and 150 control images."""
    rng = np.random.default_rng(3)
    training = unit_rows(rng, 120, 32)
    synthetic = np.concatenate([training[:20] + 0.2 * unit_rows(rng, 20, 32), unit_rows(rng, 60, 32)])
    out = tmp_path_factory.mktemp("unlabelled") / "run"
    made: unveil.Audit = unveil.audit(synthetic, training, unit_rows(rng, 150, 32), out=out, planted_leaks="off")
    return made


def test_images_are_counted(unlabelled: unveil.Audit, capsys: pytest.CaptureFixture[str]) -> None:
    result = unlabelled.result
    n = len(result.significant_people)
    assert unit_of(result.counts) is IMAGES and n > 10
    assert result.headline.startswith(f"{n} of 120 training images are closer")
    assert "people" not in result.headline.replace("control people", "")
    assert IMAGES_COUNT in result.limitations
    many, wrong, _ = answers(result)
    assert many.question == "How many images are affected?" and many.answer == f"{n} images"
    assert "of 120 images of the training set are reported" in many.sentence and "of these images are" in wrong.sentence
    page = render(result, Thumbnails({}, {"synthetic": [], "training": []}))
    assert "{{" not in page and "The most exposed images, of" in page
    assert "Exposed images" in page and "Exposed people" not in page and "people as a group" not in page
    assert IMAGES_COUNT in page.partition('id="evidence"')[0]
    assert "training images exposed" in markdown(redact(result)) and "images of 120 people" not in markdown(result)
    assert unit(result).startswith("An image")
    assert "training images significant" in repr(unlabelled)
    assert "training         120 images, no labels of people" in unlabelled.summary()
    print_result(result, Path("run"))
    assert "150 control images" in capsys.readouterr().out


def test_people_are_counted_where_there_are_labels(audited: tuple[unveil.AuditResult, Path]) -> None:
    result = audited[0]
    assert unit_of(result.counts) is PEOPLE and IMAGES_COUNT not in result.limitations
    assert IMAGES_COUNT not in render(result, None) and unit(result).startswith("A person")
    assert (PEOPLE.count(1), IMAGES.count(1), PEOPLE.count(1200)) == ("1 person", "1 image", "1,200 people")
