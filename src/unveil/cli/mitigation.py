"""The commands that act on a finished audit: clean the set, guard the generator, answer a person."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unveil.cli import options
from unveil.cli.options import Device
from unveil.cli.review import ControlNow, Run, SyntheticNow, TrainingNow, run_folder

EXIT_REFUSED = 1
Line = Annotated[
    str,
    typer.Option(
        help="What nothing may reach: listed (the lowest score of a listed person), control (above the closest control "
        "person), fpr:0.01 (what a hundredth of the control people reach), or a score."
    ),
]

guard = typer.Typer(
    no_args_is_help=True,
    help="Check pictures against the training set of an audit while they are generated.",
    rich_markup_mode="markdown",
)


def clean(
    run: Run,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FOLDER", help="For the lists and the new audit. (default: RUN/clean)"),
    ] = None,
    line: Line = "listed",
    whole_identities: Annotated[
        bool,
        typer.Option("--whole-identities", help="Remove every picture of a synthetic identity that has one too close."),
    ] = False,
    copy: Annotated[
        Path | None,
        typer.Option("--copy", metavar="PATH", help="Also write the set without them, in the container it came in."),
    ] = None,
    as_folder: Annotated[
        bool, typer.Option("--as-folder", help="Write the copy as a folder, whatever the set came in.")
    ] = False,
    synthetic: SyntheticNow = None,
    training: TrainingNow = None,
    control: ControlNow = None,
) -> None:
    """Find the smallest part of the synthetic set that has to go, and audit the rest.

    Writes removed.txt and kept.txt (an id a line). With the line `listed` it goes on until the audit of the rest lists
    nobody. Nothing of the set itself is changed.
    """
    from unveil.cli.print_results import print_cleaning
    from unveil.cli.progress import TerminalProgress
    from unveil.images import write_without
    from unveil.mitigation import clean as find
    from unveil.runs.finished import FinishedRun

    finished = FinishedRun(run, {"synthetic": synthetic, "training": training, "control": control})
    folder = out or run / "clean"
    with TerminalProgress("Run the same command again to go on.") as progress:
        done = find(finished, folder, line=line, whole_identities=whole_identities, progress=progress)
    copied = None
    if copy is not None:
        copied = write_without(finished.source("synthetic"), copy, frozenset(done.removed), as_folder=as_folder)
    print_cleaning(done, folder, copied)


@guard.command()
def build(
    run: Run,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="GUARD", help="Folder for the guard.")],
    line: Annotated[
        str, typer.Option(help="audit (where the audit would list one more person), or as for unveil clean.")
    ] = "audit",
    names: Annotated[
        bool, typer.Option("--names", help="Keep the ids of training pictures, so that decisions can name them.")
    ] = False,
) -> None:
    """Make a guard from a finished audit: the training set as an index, and the line."""
    from unveil.mitigation import Guard
    from unveil.mitigation.guard import false_refusals
    from unveil.runs.finished import FinishedRun

    finished = FinishedRun(run)
    chosen = Guard.build(finished, out, line=line, names=names)
    size = sum(file.stat().st_size for file in out.iterdir())
    n = finished.result.counts["training"].embedded
    typer.echo(f"{out}: {n:,} training pictures in {size / 2**20:,.1f} MiB (biometric; treat it like the pictures).")
    typer.echo(f"The line is a score of {chosen.score:.3f}: {chosen.why}.")
    wrong = false_refusals(finished.result, chosen.score)
    if wrong is not None:
        typer.echo(
            f"Of a million harmless pictures about {wrong.value:,.0f} would be refused ({wrong.low:,.0f} to "
            f"{wrong.high:,.0f}, {wrong.level:.0%} interval)."
        )
    typer.echo(f"In a generation loop: unveil.Guard.open({str(out)!r}).check(pictures)")


@guard.command()
def check(
    folder: Annotated[Path, typer.Argument(metavar="GUARD", help="What unveil guard build made.")],
    place: Annotated[str, typer.Argument(metavar="PATH", help="The pictures: a folder, a container, a list.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE.csv", help="Write the decision on every picture.")
    ] = None,
    device: options.DeviceOption = None,
) -> None:
    """Decide on every picture of a folder or container. Exit code 1 when any is refused."""
    from unveil.cli.progress import TerminalProgress
    from unveil.mitigation.batch import check_output, write_decisions
    from unveil.mitigation.guard import Guard

    with TerminalProgress("Run the same command again.") as progress:
        opened = Guard.open(folder, device=device or Device.auto, progress=progress)
        decisions = check_output(opened, place, progress)
    n = {word: sum(d.word == word for _, d in decisions) for word in ("pass", "refuse", "no face")}
    typer.echo(
        f"{n['pass']:,} pass, {n['refuse']:,} refused at a score of {opened.line.score:.3f}, "
        f"{n['no face']:,} could not be checked."
    )
    refused = [(id, d) for id, d in decisions if d.word == "refuse"]
    for id, d in sorted(refused, key=lambda item: -(item[1].score or 0))[:10]:
        near = d.id if d.id is not None else f"training picture no. {d.row}"
        typer.echo(f"  {id}: score {d.score:.2f}, {d.channel} of {near}")
    if len(refused) > 10:
        typer.echo(f"  and {len(refused) - 10:,} more" + ("" if out else "; all with -o FILE.csv"))
    if out is not None:
        write_decisions(out, decisions)
        typer.echo(f"Every decision: {out}")
    if refused:
        raise typer.Exit(EXIT_REFUSED)


def lookup(
    photos: Annotated[list[Path], typer.Argument(metavar="PHOTO...", help="Photographs of the person who asks.")],
    run: Annotated[
        Path,
        typer.Option("--run", metavar="RUN", parser=run_folder, help="The folder or address of a finished audit."),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE.txt", help="Write the answer for the person. Else nothing is left."),
    ] = None,
) -> None:
    """Is this person in the synthetic set, or in the training set?

    Prints what was found for you, with names, and below it an answer in plain language that can be given to the person:
    it names nobody. Nothing is left on disk.
    """
    from unveil.cli.print_results import print_lookup
    from unveil.cli.progress import TerminalProgress
    from unveil.io.atomic import write_bytes
    from unveil.mitigation import lookup as search
    from unveil.mitigation.subject_letter import letter
    from unveil.runs.finished import FinishedRun

    finished = FinishedRun(run)
    with TerminalProgress("Run the same command again.") as progress:
        answer = search(finished, photos, progress=progress)
    text = letter(answer, finished.result)
    print_lookup(answer, [photo.name for photo in photos], finished.result, text)
    if out is not None:
        write_bytes(out, text.encode())
        typer.echo(f"\nThe answer for the person: {out}")
