"""The statements that an audit can make, and groups of them that an input check can make unreliable."""

from __future__ import annotations

from typing import Literal, get_args

Evidence = Literal[
    "exact copy",
    "near-identical copy",
    "label link",
    "global test",
    "conformal",
    "GPD tail",
    "identities",
    "learned score",
    "crowd test",
    "conformal search",
    "GPD search",
]
Statement = Literal[Evidence, "none detected"]

NONE_DETECTED: Statement = "none detected"
# The tests of training people against control people, and what their absence would mean.
AGAINST_CONTROL: tuple[Statement, ...] = (
    "global test",
    "conformal",
    "GPD tail",
    "identities",
    "learned score",
    NONE_DETECTED,
)
# The tests of synthetic images against searches of training people among each other.
WITHOUT_CONTROL: tuple[Evidence, ...] = ("crowd test", "conformal search", "GPD search")
# What is seen on the images themselves: no check can make it false, and no test is needed.
FACTS: frozenset[Evidence] = frozenset(("exact copy", "near-identical copy"))
ALL_BUT_FACTS: tuple[Statement, ...] = tuple(s for s in get_args(Statement) if s not in FACTS)
# Everything that compares single images: the label link compares classes of one set with each other.
OF_IMAGES: tuple[Statement, ...] = tuple(s for s in ALL_BUT_FACTS if s != "label link")
