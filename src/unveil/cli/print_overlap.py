"""The result of an overlap on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from rich.table import Table
from rich.text import Text

from unveil.cli.terminal import COPIED_UNREAD, open_console
from unveil.config.overlap import OverlapSettings
from unveil.config.settings import SETTINGS
from unveil.report.text import count, number
from unveil.results import OverlapResult, PeoplePair

FEW_ROWS, MAX_ROWS = 3, 20


def print_overlap(
    result: OverlapResult,
    settings: OverlapSettings,
    typed: tuple[str, str],
    copied: tuple[Path, int] | None,
    *,
    verbose: bool = False,
) -> None:
    """The result in at most 20 lines, then the commands that follow; ``typed`` are the places of A and B."""
    console, run = open_console(), settings.out
    console.print()
    console.print(result.headline, markup=False)
    console.print()
    rejected = sum(n.rejected for n in result.counts.values())
    console.print(
        f"Compared: all {result.pairs_compared:,} pairs of {result.counts['A'].embedded:,} images of A and "
        f"{result.counts['B'].embedded:,} of B; {rejected:,} files rejected.",
        markup=False,
    )
    threshold = result.threshold
    if threshold is not None:
        rate = threshold.false_match_rate
        measured = "" if rate is None else f" False match rate there: {number(rate.value)}."
        console.print(f"Threshold: a cosine of {threshold.cosine:.3f} ({threshold.why}).{measured}", markup=False)
    by_face = [pair for pair in result.people if not pair.shared_images]
    shown = MAX_ROWS if verbose else FEW_ROWS
    if by_face:
        console.print(_table(by_face[-shown:], "least certain people"))
    elif result.candidates:
        console.print(_table(result.candidates[:shown], "closest people who do not match"))
    for sentence in result.limitations if verbose else result.limitations[:1]:
        console.print(Text("note: ", "yellow").append(sentence, "default"))
    console.print()
    console.print(f"Pairs to look at: {run / 'overlap.html'}", markup=False)
    console.print(f"Tables: {run / 'people.csv'}, {run / 'images.csv'}", markup=False)
    if copied is not None:
        console.print(
            f"Copy: {copied[0]}, without {copied[1]:,} files (verified byte for byte against the original)",
            markup=False,
        )
        console.print(COPIED_UNREAD)
        return
    todo = [name for name, shared in result.shared.items() if 0 < shared.removed < shared.images_in_set]
    if todo:
        console.print()
        console.print("next:", style="bold")
    for name in todo:
        a, b = (quote(place) for place in typed)
        console.print(
            f"  remove  unveil overlap {a} {b} -o {quote(str(run))}{_options(settings)} --remove {name} "
            f"--copy {name}-without-shared",
            markup=False,
        )


def _options(settings: OverlapSettings) -> str:
    """The options of the same overlap, without defaults."""
    words = [] if str(settings.threshold) == "significant" else ["--threshold", str(settings.threshold)]
    words += [] if settings.model is None else ["--model", settings.model]
    words += _changed(settings, "detector")
    for name, rule in settings.labels.items():
        words += [f"--{name.lower()}-labels", str(rule)]
    for name, crop in settings.aligned.items():
        words += [f"--{name.lower()}-aligned", crop]
    words += _changed(settings, "fdr", "top_pairs", "seed", "store")
    words += ["--trust-store"] if settings.trust_store else []
    words += ["--follow-links"] if settings.follow_links else []
    return "".join(f" {quote(word)}" for word in words)


def _changed(settings: OverlapSettings, *names: str) -> list[str]:
    """The options of those settings that are not at their default."""
    values = {name: getattr(settings, name) for name in names}
    changed = {name: value for name, value in values.items() if value != SETTINGS[name].default}
    return [word for name, value in changed.items() for word in (f"--{name.replace('_', '-')}", str(value))]


def _table(pairs: Sequence[PeoplePair], title: str) -> Table:
    """Pairs of people, one line each."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in (title, "person of B"):
        table.add_column(name, no_wrap=True)
    for name in ("cosine", "expected false"):
        table.add_column(name, justify="right", no_wrap=True)
    for p in pairs:
        cosine = "" if p.cosine is None else f"{p.cosine:.3f}"
        table.add_row(
            Text(p.a_person), Text(p.b_person), cosine, "" if p.expected_false is None else count(p.expected_false)
        )
    return table
