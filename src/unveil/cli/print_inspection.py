"""What `unveil inspect` and `unveil presets` print."""

from __future__ import annotations

from collections import Counter

from rich.console import Console
from rich.table import Table
from rich.text import Text

from unveil.images import EmbeddingSource
from unveil.inspection.inspect import Inspection
from unveil.presets import Preset, presets

TITLES = {
    "synthetic": "Synthetic, by generators that were trained on real people",
    "rendered": "Rendered without real people: a negative control",
    "real": "Real people",
}
MOST_SIZES, MOST_REASONS = 5, 6


def print_inspection(found: Inspection, *, doubtful: bool) -> None:
    """What a path is, in the order in which one wants to know it; the flags last."""
    console = Console(highlight=False, soft_wrap=True)
    source = found.source
    if doubtful:
        console.print(Text(f"It can be read as {found.where}", "bold yellow"))
    rows: list[tuple[str, str]] = [("form", source.kind)]
    people = f"{found.n_people:,}, {source.rule.description.removeprefix('people ')}"
    if found.grid is not None:
        people = f"{found.n_images:,}, one a sheet; the flags below cut the sheets"
    elif not found.n_people and found.better_rule is not None:
        people = f"no labels; the file names look like {found.better_rule}, which the flags below use"
    elif not found.n_people:
        people = "no labels; where every picture shows another person, add the identity rule `one-per-image`"
    elif found.n_people and found.n_unlabelled:
        people += f"; {found.n_unlabelled:,} pictures without a label"
    if found.grid is not None:
        rows.append(("sheets", f"{found.n_images:,}, each with several pictures of {found.grid[0]} pixels"))
    else:
        rows.append(("pictures", f"{found.n_images:,}"))
    rows.append(("people", people))
    if isinstance(source, EmbeddingSource):
        rows.append(("vectors", f"{source.vectors.shape[1]} numbers each, of {source.network or 'a network not told'}"))
    if found.sampled:
        rows.append(("sizes", _sizes(found)))
    if found.alignment is not None:
        rows += [("aligned", found.alignment.description), ("", found.alignment.reason)]
    if found.sampled:
        rows.append(("rejects", f"{len(found.rejects)} of {found.sampled} looked at would be rejected"))
    reasons = Counter((r.stage, r.reason) for r in found.rejects)
    examples = {(r.stage, r.reason): r for r in reversed(found.rejects)}
    for (stage, reason), n in reasons.most_common(MOST_REASONS):
        example = examples[stage, reason]
        rows.append(("", f"{n} {stage}: {reason}, as {example.id} {example.detail}".rstrip()))
    rows += [("note", note) for note in source.notes]
    if found.preset is not None:
        preset = found.preset
        rows.append(("preset", f"{preset.title}; {preset.note}"))
        if not preset.established:
            rows.append(("", "its container is not established, so it was read by its content"))
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, told in rows:
        table.add_row(name, Text(told))
    console.print(table)
    console.print()
    console.print("To audit it", style="dim")
    console.print(f"  unveil audit {found.flags('synthetic')} --training REAL --control CTRL -o RUN", markup=False)
    console.print("or, as the real people", style="dim")
    console.print(f"  unveil audit --synthetic SYN {found.flags('training')} --control CTRL -o RUN", markup=False)
    if doubtful:
        console.print()


def _sizes(found: Inspection) -> str:
    total = sum(found.sizes.values())
    shown = [f"{w} x {h} ({n / total:.0%})" for (w, h), n in list(found.sizes.items())[:MOST_SIZES]]
    more = len(found.sizes) - MOST_SIZES
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "") if shown else "none could be decoded"


def print_presets() -> None:
    """Every preset, and what its generator was trained on."""
    console = Console(highlight=False, soft_wrap=False)
    for kind in ("synthetic", "rendered", "real"):
        table = Table(box=None, pad_edge=False, show_header=False, title=TITLES[kind], title_justify="left")
        table.add_column(no_wrap=True, min_width=22)
        table.add_column(overflow="fold")
        for preset in presets().values():
            if preset.kind == kind:
                table.add_row(Text(preset.name), _told(preset))
        console.print(table)
        console.print()
    console.print(
        "Use one as --synthetic PRESET:PATH or --training PRESET:PATH; unveil inspect PRESET:PATH says what it finds.\n"
        "What is not established is read by its content. Nothing is downloaded: PATH is where you have the set.",
        markup=False,
    )


def _told(preset: Preset) -> Text:
    form = f"{preset.form}, people by {preset.labels}" if preset.established else "container not established"
    trained = f"trained on {preset.trained_on_note}" if preset.trained_on_note else ""
    told = "; ".join(part for part in (form, trained, preset.paper) if part)
    return Text(preset.title).append(f"\n{told}", "dim")
