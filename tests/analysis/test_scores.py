"""Exposures, rankings and review pairs from scores written by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa

from tests.analysis.worlds import contexts, images, matches, side
from tests.builders import identity_findings
from unveil.analysis.findings import ControlState, Findings, best_pair
from unveil.analysis.leak_kinds import LeakKinds
from unveil.analysis.matching import Subsample
from unveil.analysis.rankings import hubness_ranking, top_pairs, top_pairs_corrected
from unveil.analysis.review_pairs import closest_images, review_pairs
from unveil.analysis.scores import COSINE
from unveil.analysis.uncalibrated import rank
from unveil.results import ImageCopy, ImprobablePair, NoControl, PairFinding, fewest_people
from unveil.stats.checks import Check
from unveil.stats.intervals import exact_count, share
from unveil.stats.leak_kinds import ImageSimilarity, calibrate_thresholds
from unveil.stats.next_step import next_step
from unveil.stats.no_control import CrowdTest
from unveil.stats.statements import ALL_BUT_FACTS, Statement

# Two synthetic images against three images of two people, by two channels.
FACE = [[1.0, 2.0, 3.0], [4.0, 0.0, 1.0]]
APPEARANCE = [[0.0, 7.0, 0.0], [0.0, 0.0, 0.0]]
PEOPLE = ["a", "b", "b"]
TRAINING = side("t", PEOPLE, {"face": FACE, "appearance": APPEARANCE})
SYNTHETIC = images("s", [None, None], ("face", "appearance"))


def test_exposure_is_the_best_pair_of_each_person_by_the_channel_with_the_highest_score() -> None:
    exposed = TRAINING.exposure()
    assert exposed.people == ("a", "b") and exposed.n_images.tolist() == [1, 2]
    assert exposed.score.tolist() == [4, 7] and exposed.channel.tolist() == [0, 1]
    assert exposed.best_pair.tolist() == [[1, 0], [0, 1]]


def test_exposure_by_one_channel_by_cosine_and_over_some_images() -> None:
    assert TRAINING.exposure(by="face").score.tolist() == [4, 3]
    assert TRAINING.exposure(by=COSINE).score.tolist() == [4, 3] and TRAINING.exposure(by=COSINE).channel.tolist() == [
        0,
        0,
    ]
    some = TRAINING.exposure(np.array([2]))
    assert some.people == ("b",) and some.score.tolist() == [3] and some.best_pair.tolist() == [[0, 2]]


def test_closest_training_image_of_each_synthetic_image() -> None:
    row, score, channel = TRAINING.closest
    assert (row.tolist(), score.tolist(), channel.tolist()) == ([1, 0], [7, 4], [1, 0])


def test_rankings() -> None:
    raw = top_pairs(TRAINING.raw, SYNTHETIC, TRAINING.images, 3)
    assert [(p.rank, p.synthetic_id, p.training_id, p.person, p.score) for p in raw] == [
        (1, "s1", "t0", "a", 4),
        (2, "s0", "t2", "b", 3),
        (3, "s0", "t1", "b", 2),
    ]
    corrected = top_pairs_corrected(TRAINING, SYNTHETIC, 3)
    assert [(p.synthetic_id, p.training_id, p.score, p.channel) for p in corrected] == [
        ("s0", "t1", 7, "appearance"),
        ("s1", "t0", 4, "face"),
        ("s0", "t2", 3, "face"),
    ]
    hub = matches([[9.0, 0, 0], [8.0, 0, 0], [0, 1.0, 0]])
    (found,) = hubness_ranking(hub, TRAINING.images, 2)
    assert (found.training_id, found.n_best_match_of, found.in_top_pairs) == ("t0", 2, 2)


def test_rank_is_by_the_best_pair_and_tests_nobody() -> None:
    people, identities = rank(SYNTHETIC, TRAINING)
    assert [(p.person, p.score, p.p, p.significant_by) for p in people] == [("b", 7, None, ()), ("a", 4, None, ())]
    assert [(i.identity, i.training_id, i.channel, i.q, i.significant) for i in identities] == [
        ("s0", "t1", "appearance", None, False),
        ("s1", "t0", "face", None, False),
    ]


STATEMENT = NoControl(
    "there is no control set", 100, "image", 2, CrowdTest(1.0, 0, 0.0, 0.0), 0.02, None, share(1, 2), ()
)


def findings(control: ControlState | None = None) -> Findings:
    """Person b and the image that shows them are significant."""
    (b, a), (s0, s1) = rank(SYNTHETIC, TRAINING)
    people = (replace(b, significant_by=("conformal search",)), a)
    return Findings(
        *(
            "leak indicated (no control set)",
            (),
            (),
            people,
            identity_findings(replace(s0, significant=True), s1),
            TRAINING,
        ),
        contexts(SYNTHETIC),
        control=control,
        no_control=STATEMENT,
    )


def failed(*invalidates: Statement) -> Check:
    return Check("x", "fail", exact_count(0, 1, "x"), "why", invalidates)


def test_findings_that_a_failed_check_makes_unreliable_are_dropped() -> None:
    found = replace(findings(), checks=(failed("conformal search"),)).reliable()
    assert not found.significant_people and not any(i.significant for i in found.identities)
    assert [p.score for p in found.people] == [7, 4], "scores stay"
    kept = replace(findings(), checks=(failed("conformal", "none detected"),)).reliable()
    assert kept.significant_people == findings().significant_people


def test_a_copy_is_a_leak_whatever_fails() -> None:
    copy = ImageCopy("s1", "t0", "a", "bytes")
    nothing = replace(findings(), verdict="inconclusive", checks=(failed(*ALL_BUT_FACTS),)).reliable()
    found = nothing.with_copies((copy,))
    assert (found.verdict, found.evidence, found.copies) == ("leak found", ("exact copy",), (copy,))
    assert [(p.person, p.significant_by) for p in found.significant_people] == [("a", ("exact copy",))]
    assert nothing.with_copies(()) is nothing


def test_none_detected_is_never_said_above_changed_copies() -> None:
    """A photograph that was cropped, mirrored and tinted: one is too few for a test, with control people too."""
    pairs = [PairFinding(i, f"s{i % 2}", f"t{i}", "a", 0.9, 0.9, "face") for i in range(4)]
    alike = [ImageSimilarity(0.957, 0.68, 50), ImageSimilarity(0.95, 0.7, 32), ImageSimilarity(0.97, 0.4, 40)]
    similarity = {(pair.synthetic_id, pair.training_id): s for pair, s in zip(pairs, alike, strict=False)}
    assert [LeakKinds(calibrate_thresholds([]), similarity).n_changed(pairs[i:]) for i in range(3)] == [2, 1, 0]
    with_control = replace(findings(), verdict="none detected", no_control=None)
    none = replace(findings(), verdict="none detected (no control set)")
    for found in (none.with_changed(2, 9), with_control.with_changed(2, 9)):
        assert found.verdict == "inconclusive" and found.checks[-1].name == "near-duplicates"
    step = next_step(found.verdict, found.checks, has_control=True, training_labelled=True)
    assert step is not None and step.option == "--exclude" and "unveil review" in step.action
    assert none.with_changed(0, 9) is none


def test_labels_that_share_a_copied_image_show_one_person() -> None:
    """One file in three folders, and another person's in one: copied, they show two people at least."""
    pairs = [("s0", "a"), ("s0", "b"), ("s1", "d"), ("s2", "c"), ("s2", "b")]
    copies = [ImageCopy(made, f"{person}/1", person, "bytes") for made, person in pairs]
    assert fewest_people(copies) == 2 and fewest_people(copies[:3]) == 2 and fewest_people([]) == 0


def test_none_detected_is_never_said_above_improbable_pairs() -> None:
    pair = ImprobablePair("s1", "t0", "a", 0.9, 0.001)
    for verdict in ("none detected", "none detected (no control set)"):
        found = replace(findings(), verdict=verdict).with_improbable((pair,), 2)
        assert found.verdict == "inconclusive" and found.improbable_pairs == (pair,)
        assert [c.name for c in found.checks if c.status == "fail"] == ["improbable pairs"]
        assert "1 synthetic image is closer" in found.checks[-1].message and "0.001" in found.checks[-1].message
    leak = findings().with_improbable((pair,), 2)
    assert leak.verdict == "leak indicated (no control set)" and leak.improbable_pairs == (pair,) and not leak.checks
    none = replace(findings(), verdict="none detected")
    assert none.with_improbable((), 2).verdict == "none detected"


def test_review_pairs_are_findings_then_closest_pairs_then_control_pairs_each_once() -> None:
    control = side("c", ["x", "y"], {"face": [[0.0, 5.0], [1.0, 0.0]], "appearance": [[0.0] * 2] * 2})
    state = ControlState(control, Subsample(np.arange(3), np.arange(2)))
    rankings = top_pairs(TRAINING.raw, SYNTHETIC, TRAINING.images, 1)
    found = review_pairs(findings(state), SYNTHETIC, rankings)
    assert [(p.why, p.synthetic_id, p.real_id, p.role, p.significant) for p in found] == [
        ("exposed person", "s0", "t1", "training", True),
        ("closest pair", "s1", "t0", "training", False),
        ("control", "s0", "c1", "control", False),
        ("control", "s1", "c0", "control", False),
    ]
    assert {p.why for p in review_pairs(findings(), SYNTHETIC, ())} == {"exposed person"}


def test_closest_images_and_best_pair() -> None:
    closest = pa.table(closest_images(findings(), SYNTHETIC, np.arange(2))).to_pylist()
    assert [tuple(row[name] for name in ("id", "training_id", "person", "score", "channel")) for row in closest] == [
        ("s0", "t1", "b", 7, "appearance"),
        ("s1", "t0", "a", 4, "face"),
    ]
    pair = best_pair(TRAINING.exposure(), 1, SYNTHETIC, TRAINING)
    assert (pair.person, pair.synthetic_id, pair.training_id, pair.channel, pair.n_images) == (
        "b",
        "s0",
        "t1",
        "appearance",
        2,
    )
    assert pair.p is None and pair.significant_by == ()
