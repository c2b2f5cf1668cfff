"""From scores to p, q, people and identities, on worlds answered by hand."""

from __future__ import annotations

import numpy as np

from tests.analysis.worlds import contexts, generators, images, side
from unveil.analysis.inference import Inference
from unveil.analysis.matching import Matching, Subsample
from unveil.analysis.scores import COSINE, RealSide
from unveil.compare import open_backend

# Four synthetic images of three identities against training people a, b and control people x, y, z.
TRAINING = {"face": [[9.0, 1.0], [8.0, 0.0], [0.0, 2.0], [7.0, 0.0]]}
CONTROL = {"face": [[5.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 3.0], [0.0, 0.0, 0.0]]}
IDENTITIES = ["A", "A", "B", "C"]


def world(
    training: dict[str, list[list[float]]] = TRAINING, control: dict[str, list[list[float]]] = CONTROL, fdr: float = 0.5
) -> tuple[Inference, RealSide, RealSide, Subsample]:
    """The inference, both sides, and all images."""
    synthetic = images("s", IDENTITIES, list(training))
    t, c = side("t", ["a", "b"], training), side("c", ["x", "y", "z"], control)
    everything = Subsample(np.arange(2), np.arange(3))
    return Inference(synthetic, contexts(synthetic), t, c, fdr, open_backend("numpy", 1)), t, c, everything


def test_people_by_hand() -> None:
    """a scores 9 above all three control people: p 1/4, q 2/4. b scores 2, below them all: p 1."""
    inference, _, _, everything = world()
    tests = inference.by_score(everything)
    people = inference.people(tests, inference.by_channel(everything, tests), inference.by_score(everything, COSINE))
    assert [(p.person, p.score, p.p, p.q, p.significant_by) for p in people] == [
        ("a", 9, 1 / 4, 1 / 2, ("conformal",)),
        ("b", 2, 1, 1, ()),
    ]
    assert people[0].synthetic_id == "s0" and people[0].training_id == "t0" and people[0].p_gpd is None
    assert people[0].channels == (), "one channel has no scores of its own"
    stricter, _, _, _ = world(fdr=0.4)
    assert not any(p.significant_by for p in stricter.people(tests, {"face": tests}, tests))


def test_a_person_who_is_not_tested_is_ranked_without_p() -> None:
    inference, _, _, _ = world()
    tests = inference.by_score(Subsample(np.array([1]), np.arange(3)))
    people = inference.people(tests, {"face": tests}, tests)
    assert [(p.person, p.p is None, p.significant_by) for p in people] == [("a", True, ()), ("b", False, ())]


def test_identities_by_hand() -> None:
    """A and C are closest to a, B to control person z. A is the closest of a, so C is its duplicate."""
    inference, _, _, everything = world()
    competition, best = inference.compete(everything)
    assert (competition.target_wins, competition.decoy_wins, competition.ratio) == (2, 1, 2 / 3)
    identities = {i.identity: i for i in inference.identities(competition, best)}
    assert {name: (i.score, i.training_id, i.duplicate_of) for name, i in identities.items()} == {
        "A": (9, "t0", None),
        "B": (3, None, None),
        "C": (7, "t0", "A"),
    }
    # (1 + 0 control people) 2/3 / 1 training person.
    assert identities["A"].q == 2 / 3 and identities["B"].q == 1 and identities["A"].n_images == 2
    assert not any(i.significant for i in identities.values())
    lenient, _, _, _ = world(fdr=0.7)
    assert [i.identity for i in lenient.identities(*lenient.compete(everything)) if i.significant] == ["A"]


def test_control_people_win_ties() -> None:
    tie = {"face": [[5.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]]}
    inference, _, _, everything = world(tie)
    (first,) = [i for i in inference.identities(*inference.compete(everything)) if i.identity == "A"]
    assert first.training_id is None and first.score == 5


def test_the_highest_of_two_channels_decides() -> None:
    nothing = [[0.0, 0.0]] * 4
    appearance = [[0.0, 0.0], [0.0, 0.0], [0.0, 20.0], [0.0, 0.0]]
    control = {"face": CONTROL["face"], "appearance": [[1.0, 1.0, 1.0]] * 4}
    inference, _, _, everything = world({"face": nothing, "appearance": appearance}, control)
    tests = inference.by_score(everything)
    by_channel = inference.by_channel(everything, tests)
    first, second = inference.people(tests, by_channel, inference.by_score(everything, COSINE))
    assert (first.person, first.score, first.channel, first.q) == ("b", 20, "appearance", 1 / 2)
    assert [(c.channel, c.score, c.p) for c in first.channels] == [("face", 0, 1), ("appearance", 20, 1 / 4)]
    assert second.person == "a" and second.significant_by == ()
    (of_b,) = [i for i in inference.identities(*inference.compete(everything)) if i.identity == "B"]
    assert of_b.training_id == "t1" and of_b.channel == "appearance"


def test_one_subsample_suffices_where_all_images_are_tested() -> None:
    inference, t, c, everything = world()
    matching = Matching(t, c, None, (np.zeros(2, np.int64), np.zeros(3, np.int64)), by_prognosis=False, by_strata=False)
    tests, (competition, _) = inference.by_score(everything), inference.compete(everything)
    stability, times = inference.repeat(
        matching, everything, tests, tests.decision.global_test, competition, generators, 0.01, 20
    )
    assert (stability.resamples, stability.people_significant, stability.identities_significant) == (1, (1,), (0,))
    assert stability.leak_found == 1 and times == {"a": 1}
