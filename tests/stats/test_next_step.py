"""The one step that helps most."""

from __future__ import annotations

import pytest

from unveil.analysis.input_checks import CONTROL_CHECKS, SET_CHECKS
from unveil.stats.checks import Check
from unveil.stats.next_step import REMEDIES, next_step
from unveil.stats.statements import AGAINST_CONTROL, ALL_BUT_FACTS, NONE_DETECTED, Statement
from unveil.types import Estimate

FIGURE = Estimate(0, 0, 0, 1, 1, "counted")


def failed(name: str, *blocks: Statement) -> Check:
    return Check(name, "fail", FIGURE, "something is wrong", blocks)


def test_nothing_is_missing_for_a_complete_verdict() -> None:
    for verdict in ("leak found", "none detected"):
        assert next_step(verdict, (), has_control=False, training_labelled=False) is None


def test_without_a_control_set_it_is_the_control_set() -> None:
    step = next_step("inconclusive", (), has_control=False, training_labelled=False)
    assert step is not None and step.option == "--control" and "conformal" in step.missing
    assert "conformal search" in step.missing and "exact copy" not in step.missing


def test_labels_come_before_the_control_set_where_they_block_more() -> None:
    checks = (failed("labels of training", *ALL_BUT_FACTS),)
    step = next_step("inconclusive", checks, has_control=False, training_labelled=True)
    assert step is not None and step.option == "--training-labels"


def test_the_check_that_blocks_most_decides() -> None:
    checks = (
        failed("rejects of synthetic", "identities", NONE_DETECTED),
        failed("size of control", *AGAINST_CONTROL),
        Check("spread of training", "warn", FIGURE, "a warning", ALL_BUT_FACTS),
    )
    step = next_step("inconclusive", checks, has_control=True, training_labelled=True)
    assert step is not None and step.option == "--control" and "larger control set" in step.action
    assert set(step.missing) == set(AGAINST_CONTROL) and "Or leave --control out" in step.action
    same = (failed("classifier without the synthetic set", *AGAINST_CONTROL), checks[1])
    step = next_step("inconclusive", same, has_control=True, training_labelled=True)
    assert step is not None and "larger" in step.action, "few control people come first: the rest may follow from it"


@pytest.mark.parametrize("name", list(REMEDIES))
def test_every_remedy_names_an_option_and_an_action(name: str) -> None:
    step = next_step("inconclusive", (failed(name, NONE_DETECTED),), has_control=True, training_labelled=True)
    assert step is not None and step.option.startswith("--") and step.action.endswith(".")
    assert step.missing == (NONE_DETECTED,)


def test_every_check_that_can_block_has_a_remedy() -> None:
    """The names of checks stand in their files, with the role left out."""
    import inspect
    import re

    n = 0
    for check in (*SET_CHECKS, *CONTROL_CHECKS):
        source = inspect.getsource(inspect.getmodule(check))  # type: ignore[arg-type]
        (name,) = re.findall(r'Check\(\s*f?"([^"]+)"', source)
        if name.startswith("duplicates"):
            continue  # it blocks nothing
        for role in ("synthetic", "training", "control"):
            full = name.replace("{role}", role)
            if full not in ("synthetic images in synthetic", "one model for training"):
                assert any(full.startswith(known) for known in REMEDIES), full
                n += 1
    assert n >= 25
