"""The help begins with what most people need."""

from __future__ import annotations

import pytest

from tests.cli.runner import unveil


def test_commands_of_a_first_audit_come_first() -> None:
    from tools.reference import commands

    assert list(commands())[:4] == ["unveil", "unveil demo", "unveil audit", "unveil inspect"]
    shown = unveil("--help").stdout
    panels = ["Commands", "After an audit", "Sets and models", "More"]
    assert sorted(panels, key=lambda panel: shown.index(f" {panel} ─")) == panels


@pytest.mark.parametrize("command", ["audit", "plan"])
def test_the_images_come_before_other_options(command: str) -> None:
    shown = unveil(command, "--help").stdout
    assert shown.index("--synthetic ") < shown.index("--settings ")
