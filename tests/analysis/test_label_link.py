"""The label link of an audit: which labels take part, the verdict it gives, and what blocks it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import unveil
from tests.analysis.worlds import contexts, embedded, generators, images, side, unit
from tests.builders import audit, encoded, identity_findings, write
from unveil.analysis.findings import Findings
from unveil.analysis.label_link import class_labels, measure_label_link
from unveil.cli.print_results import print_result
from unveil.demo.faces import face_model
from unveil.images import LabelRule, open_source
from unveil.results import LabelLink
from unveil.runs.finished import FinishedRun
from unveil.stats.checks import Check
from unveil.stats.correspondence import Pairs
from unveil.types import Embedded, Estimate, Role

N = 40


def world(
    seed: int, synthetic: Sequence[str | None], training: Sequence[str | None], noise: float = 0.7
) -> tuple[Embedded, Embedded, dict[Role, list[str]]]:
    """Three images of each label on both sides; the k-th synthetic label was given the k-th training person."""
    rng = np.random.default_rng(seed)
    people = rng.normal(size=(N, 32))
    sides = []
    for prefix, labels in (("s", synthetic), ("t", training)):
        vectors = np.repeat(people[: len(labels)], 3, axis=0) + noise * rng.normal(size=(3 * len(labels), 32))
        sides.append(embedded(unit(vectors), prefix, [label for label in labels for _ in range(3)]))
    known: dict[Role, list[str]] = {
        "synthetic": [label for label in synthetic if label is not None],
        "training": [label for label in training if label is not None],
    }
    return sides[0], sides[1], known


def link_of(
    synthetic: Embedded, training: Embedded, labels: Mapping[Role, Sequence[str]], label_map: Pairs | None = None
) -> LabelLink:
    found = measure_label_link(synthetic, training, labels, label_map, generators, level=0.01, fdr=0.05)
    assert found is not None
    return found


def test_the_best_correspondence_counts_and_pays_for_the_others() -> None:
    """Numbers from 1 against numbers from 0: equal names are wrong by one, the order is right."""
    names = [str(i) for i in range(N)]
    found = link_of(*world(0, names, [str(i + 1) for i in range(N)]))
    assert [(t.name, t.n_classes) for t in found.tried] == [
        ("equal names", N - 1),
        ("numbers in names", 0),
        ("order of names", N),
    ]
    wrong, _, right = (t.p_value for t in found.tried)
    assert right == 1e-4 and wrong is not None and wrong > 0.01
    assert found.significant and found.correspondence == "order of names" and found.p_value == 2 * right
    assert found.n_classes == N and found.own_first is not None and found.own_first.value > 0.9
    first = found.classes[0]
    assert int(first.training_label) == int(first.synthetic_label) + 1 and first.rank == 1
    assert (first.n_synthetic, first.n_training, first.p) == (3, 3, 1 / N)
    assert found.n_significant == sum(c.q <= 0.05 for c in found.classes) > 30


def test_labels_that_mean_nothing_link_nothing() -> None:
    names = [str(i) for i in range(N)]
    shuffled = np.random.default_rng(1).permutation(names).tolist()
    found = link_of(*world(0, names, shuffled))
    assert not found.significant and found.p_value is not None and found.p_value > 0.01
    assert not any(c.significant for c in found.classes) and found.n_significant == 0
    # The file that undoes the permutation finds the link; it is the only correspondence.
    mapped = link_of(*world(0, names, shuffled), label_map=tuple(zip(names, shuffled, strict=True)))
    assert mapped.significant and [t.name for t in mapped.tried] == ["label map"] and mapped.p_value == 1e-4


def test_a_class_needs_images_and_unlabelled_images_take_no_part() -> None:
    names: list[str | None] = [str(i) for i in range(N)]
    synthetic, training, labels = world(0, names, [*names[:-3], None, None, None])
    labels["training"] += [str(i) for i in range(N - 3, N)]  # rejected images
    found = link_of(synthetic, training, labels)
    assert found.n_classes == N - 3 and found.significant
    few = link_of(synthetic.take(np.arange(12)), training, labels)
    assert few.p_value is None and few.classes == () and not few.significant
    assert few.tried[0].reason == "only 4 classes that correspond have embedded images; at least 5 are needed"
    assert (
        measure_label_link(synthetic, training, {"synthetic": [], "training": ["1"]}, None, generators, level=1, fdr=1)
        is None
    )


def test_labels_of_single_images_are_no_classes(tmp_path: Path) -> None:
    for i in range(6):
        write(tmp_path / f"{i}/a.png", b"x")
    for rule, n in (("folder", 6), ("one-per-image", 0), ("none", 0)):
        source = open_source(tmp_path, LabelRule.parse(rule))
        assert len(class_labels({"synthetic": source, "training": source})["synthetic"]) == n


def check(name: str, *blocks: str) -> Check:
    return Check(name, "fail", Estimate(0, 0, 0, 1, 1, ""), "bad", blocks)  # type: ignore[arg-type]


def test_a_link_is_a_leak_unless_labels_failed() -> None:
    names = [str(i) for i in range(N)]
    link = link_of(*world(0, names, names))
    synthetic = images("s", ["a"])
    training = side("t", ["p"], {"face": [[1.0]]})
    none = Findings("none detected", (), (), (), identity_findings(), training, contexts(synthetic))
    assert none.with_link(None) == none
    found = none.with_link(link)
    assert (found.verdict, found.evidence, found.label_link) == ("leak found", ("label link",), link)
    both = replace(none, verdict="leak found", evidence=("global test",)).with_link(link)
    assert both.evidence == ("label link", "global test")
    failed = replace(none, checks=(check("labels of synthetic", "label link", "identities"),)).with_link(link)
    assert failed.verdict == "none detected" and failed.label_link is not None
    assert not failed.label_link.significant and not any(c.significant for c in failed.label_link.classes)
    assert failed.label_link.p_value == link.p_value
    nothing = replace(link, significant=False)
    assert none.with_link(nothing).verdict == "none detected"


def conditional_set(folder: Path, *, labels_mean_something: bool) -> Path:
    """30 people with two training images, and two images of each by a generator that was given the person's label."""
    model, rng = face_model(), np.random.default_rng(4)
    people = model.sample(30, rng)
    name = np.arange(30) if labels_mean_something else rng.permutation(30)
    for k in range(2):
        for i, image in enumerate(model.render(model.new_images(people, rng))):
            write(folder / f"training/{i:06d}/{k}.png", encoded(image))
        for i, image in enumerate(model.render(model.new_images(people, rng))):
            write(folder / f"synthetic/{name[i]:06d}/{k}.png", encoded(image))
    return folder


def test_an_audit_without_control_people_finds_the_link(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = conditional_set(tmp_path, labels_mean_something=True)
    run = tmp_path / "run"
    result = audit(folder / "synthetic", folder / "training", out=run, channels=("face",), redact=True)
    assert result.verdict == "leak found" and result.evidence[0] == "label link"
    assert result.headline.startswith("Labels link the two sets (p = 0.0001)")
    link = result.label_link
    assert link is not None and link.correspondence == "equal names" and link.n_classes == 30
    page, redacted = (run / "report.html").read_text(), (run / "report.redacted.html").read_text()
    assert "Label link" in page and link.classes[0].synthetic_label in page
    assert "Label link" in redacted and not any(c.training_label in redacted for c in link.classes)
    assert pq.read_table(run / "label_link.parquet").num_rows == 30
    stored = json.loads((run / "audit.json").read_text())["label_link"]
    assert stored["p_value"] == link.p_value and len(stored["classes"]) == 30
    print_result(result, run, verbose=True)
    assert "label link by equal names: p = 0.0001" in capsys.readouterr().out.replace("\n", " ")
    assert FinishedRun(run).result.label_link == link


def test_an_audit_with_a_label_map(tmp_path: Path) -> None:
    """Labels are permuted, so names link nothing; the generator's file restores them. A wrong file stops the audit."""
    folder = conditional_set(tmp_path, labels_mean_something=False)
    sources = folder / "synthetic", folder / "training"
    plain = audit(*sources, out=tmp_path / "plain", channels=("face",))
    assert plain.label_link is not None and not plain.label_link.significant
    assert "label link" not in plain.evidence
    name = np.random.default_rng(4)
    face_model().sample(30, name)
    order = name.permutation(30)
    table = "synthetic_label\ttraining_label\n" + "".join(f"{order[i]:06d}\t{i:06d}\n" for i in range(30))
    result = audit(*sources, out=tmp_path / "run", channels=("face",), label_map=write(tmp_path / "map.tsv", table))
    assert result.label_link is not None and result.label_link.correspondence == "label map"
    assert "label link" in result.evidence and "label_map" in result.manifest["files"]
    with pytest.raises(unveil.UnveilError, match="expected each label once"):
        audit(*sources, out=tmp_path / "no", label_map=write(tmp_path / "bad.csv", "1,2\n1,3\n"))
