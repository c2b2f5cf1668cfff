"""What `unveil inspect` and `unveil presets` print."""

from __future__ import annotations

from collections import Counter

from rich.table import Table
from rich.text import Text

from unveil.cli.terminal import open_console
from unveil.images import EmbeddingSource
from unveil.images.unread import first_notes
from unveil.inspection.inspect import Inspection
from unveil.presets import Preset, presets

TITLES = {
    "synthetic": "Synthetic, by generators trained on real people",
    "rendered": "Rendered without real people (negative control)",
    "real": "Real people",
}
MAX_SIZES, MAX_REASONS = 5, 6


def print_inspection(found: Inspection, *, ambiguous: bool) -> None:
    """What a path holds, and last the options that audit it."""
    console = open_console()
    source = found.source
    if ambiguous:
        console.print(Text(f"It can be read as {found.where}", "bold yellow"))
    rows: list[tuple[str, str]] = [("container", source.kind)]
    people = f"{found.n_people:,}, {source.rule.description.removeprefix('people ')}"
    if found.grid is not None:
        people = f"{found.n_images:,}, one for each sheet; the options below cut the sheets"
    elif not found.n_people and found.better_rule is not None:
        people = f"no labels; the file names match {found.better_rule}, which the options below use"
    elif not found.n_people:
        people = (
            "no labels; if every image shows another person, add --synthetic-labels one-per-image or "
            "--training-labels one-per-image"
        )
    elif found.n_people and found.n_unlabelled:
        people += f"; {found.n_unlabelled:,} images without a label"
    if found.grid is not None:
        rows.append(("sheets", f"{found.n_images:,}, each with several images of {found.grid[0]} pixels"))
    else:
        rows.append(("images", f"{found.n_images:,}"))
    rows.append(("people", people))
    if source.rule.kind == "folder" and found.better_rule is None and found.preset is None:
        rows.append(("", "if the folders are batches of images and not people, add --synthetic-labels none"))
    if isinstance(source, EmbeddingSource):
        rows.append(("vectors", f"{source.vectors.shape[1]} dimensions, of {source.model_name or 'an unknown model'}"))
    if found.sampled:
        rows.append(("sizes", _sizes(found)))
    if found.alignment is not None:
        rows += [("aligned", found.alignment.description), ("", found.alignment.reason)]
    if found.sampled:
        rows.append(("rejects", f"{len(found.rejects)} of {found.sampled} sampled images would be rejected"))
    reasons = Counter((r.stage, r.reason) for r in found.rejects)
    examples = {(r.stage, r.reason): r for r in reversed(found.rejects)}
    for (stage, reason), n in reasons.most_common(MAX_REASONS):
        example = examples[stage, reason]
        rows.append(("", f"{n} {stage}: {reason}, as {example.id} {example.detail}".rstrip()))
    rows += [("note", note) for note in first_notes(source.notes, others="; an audit writes all to manifest.json")]
    if found.preset is not None:
        preset = found.preset
        rows.append(("preset", f"{preset.title}; {preset.note}"))
        if not preset.established:
            rows.append(("", "its container is not documented, so it is read by its content"))
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in rows:
        table.add_row(name, Text(text))
    console.print(table)
    console.print()
    console.print("To audit it", style="dim")
    console.print(f"  unveil audit {found.flags('synthetic')} --training REAL --control CTRL -o RUN", markup=False)
    console.print("or, as the real people", style="dim")
    console.print(f"  unveil audit --synthetic SYN {found.flags('training')} --control CTRL -o RUN", markup=False)
    if ambiguous:
        console.print()


def _sizes(found: Inspection) -> str:
    total = sum(found.sizes.values())
    shown = [f"{w} x {h} ({n / total:.0%})" for (w, h), n in list(found.sizes.items())[:MAX_SIZES]]
    more = len(found.sizes) - MAX_SIZES
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "") if shown else "none could be decoded"


def print_presets() -> None:
    """Every preset, and the training set of its generator."""
    console = open_console(wrap=False)
    for kind in ("synthetic", "rendered", "real"):
        table = Table(box=None, pad_edge=False, show_header=False, title=TITLES[kind], title_justify="left")
        table.add_column(no_wrap=True, min_width=22)
        table.add_column(overflow="fold")
        for preset in presets().values():
            if preset.kind == kind:
                table.add_row(Text(preset.name), _description(preset))
        console.print(table)
        console.print()
    console.print(
        "Use it as --synthetic PRESET:PATH or --training PRESET:PATH. unveil inspect PRESET:PATH shows its contents.\n"
        "A container that is not documented is read by its content. Nothing is downloaded: PATH is your copy.",
        markup=False,
    )


def _description(preset: Preset) -> Text:
    form = f"{preset.form}, people by {preset.labels}" if preset.established else "container not documented"
    trained = f"trained on {preset.trained_on_note}" if preset.trained_on_note else ""
    details = "; ".join(part for part in (form, trained, preset.paper) if part)
    return Text(preset.title).append(f"\n{details}", "dim")
