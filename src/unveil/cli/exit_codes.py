"""Exit codes of every command, and the clean-up that runs when a command has ended."""

from __future__ import annotations

from enum import StrEnum

from unveil.choices import LEAK

OK = 0
# --fail-on, a refused image, a damaged model.
NEGATIVE = 1
BAD_INPUT = 2
# The statement that was asked for is not possible, so it is never a success: with --fail-on an inconclusive audit, and
# images that a guard could not check.
NO_STATEMENT = 3
# A full disk, a lost cluster, a storage service that does not answer.
MACHINE_FAILED = 4
INTERRUPTED = 130


# What each code means, as in docs/how-to/pipelines.md.
MEANINGS = {
    OK: "finished",
    NEGATIVE: "finished, and `--fail-on` is met; or a guard refused an image; or a model file is damaged",
    BAD_INPUT: "an input or a setting cannot be used",
    NO_STATEMENT: "the statement that was asked for is not possible: `--fail-on` was given and is not met, and the "
    "audit is `inconclusive`; or a guard refused no image and could not check each",
    MACHINE_FAILED: "the machine failed: a full disk, a lost cluster",
    INTERRUPTED: "interrupted",
}


class FailOn(StrEnum):
    """A verdict that ends `unveil audit` with exit code 1. Each includes the more serious ones."""

    leak = "leak"
    inconclusive = "inconclusive"

    def includes(self, verdict: str) -> bool:
        """Whether a verdict is this one or a more serious one."""
        return verdict in LEAK or (self is FailOn.inconclusive and verdict == "inconclusive")


def exit_code(verdict: str, fail_on: FailOn | None) -> int:
    """The exit code of an audit that ended with a verdict."""
    if fail_on is None:
        return OK
    if fail_on.includes(verdict):
        return NEGATIVE
    return NO_STATEMENT if verdict == "inconclusive" else OK
