"""Which comparisons an audit makes, and what they are called."""

from __future__ import annotations

from unveil.analysis.comparisons import comparisons_of_audit


def test_comparisons_of_an_audit_with_control_by_two_channels() -> None:
    made = list(comparisons_of_audit(("synthetic", "training", "control"), ("face", "appearance")))
    assert [(c.queries, c.gallery, c.name) for c in made] == [
        ("control", "training", "control with training"),
        ("synthetic", "cohort", "synthetic with the cohort by face"),
        ("synthetic", "cohort", "synthetic with the cohort by appearance"),
        ("training", "cohort", "training with the cohort by face"),
        ("training", "cohort", "training with the cohort by appearance"),
        ("control", "cohort", "control with the cohort by face"),
        ("control", "cohort", "control with the cohort by appearance"),
        ("training", "sample", "training with a sample of the synthetic images by face"),
        ("control", "sample", "control with a sample of the synthetic images by face"),
        ("synthetic", "training", "synthetic with training"),
        ("synthetic", "control", "synthetic with control"),
        ("synthetic", "training", "synthetic with training by appearance, hub-corrected"),
        ("synthetic", "control", "synthetic with control by appearance, hub-corrected"),
        ("searches", "training", "training people with each other by uncorrected cosine"),
        ("searches", "control", "control people with each other by face"),
        ("searches", "control", "control people with each other by appearance"),
    ]
    assert [c.unless_leak for c in made] == [False] * 14 + [True] * 2
    assert len({c.name for c in made}) == len(made), "names are names of checkpoints"
    assert all(c.shows_progress == (c.gallery not in ("cohort", "sample") and c.queries != "searches") for c in made)


def test_comparisons_without_control() -> None:
    made = list(comparisons_of_audit(("synthetic", "training"), ("face",)))
    assert [(c.kind, c.channel, c.role) for c in made] == [
        ("cohort", "face", "synthetic"),
        ("cohort", "face", "training"),
        ("cosine", "face", "training"),
        ("search", "uncorrected cosine", "training"),
        ("search", "face", "training"),
    ]


def test_identities_are_compared_where_there_is_a_control_set() -> None:
    made = list(comparisons_of_audit(("synthetic", "training", "control"), ("face",), identities=True))
    assert [(c.queries, c.gallery, c.name) for c in made if c.kind == "identities"] == [
        ("identities", "training", "synthetic identities with training by face"),
        ("identities", "control", "synthetic identities with control by face"),
    ]
    assert not any(
        c.kind == "identities" for c in comparisons_of_audit(("synthetic", "training"), ("face",), identities=True)
    )
