"""The commands that act on a finished audit: clean the dataset, guard the generator, answer a person."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from unveil.cli import exit_codes
from unveil.cli.options import with_settings
from unveil.cli.remote import run_folder
from unveil.cli.review import ControlNow, Run, SyntheticNow, TrainingNow
from unveil.cli.terminal import echo
from unveil.config.settings import SETTINGS

SHOWN_REFUSALS = 10

Threshold = Annotated[
    str,
    typer.Option(
        "--threshold",
        help="The score from which an image is removed: significant (the lowest score of a significant person), "
        "control (above the closest control person), fpr:0.01 (reached by 1% of the control people), or a score.",
    ),
]

guard = typer.Typer(
    no_args_is_help=True,
    help="Check images against the training set of an audit while they are generated.",
    rich_markup_mode="markdown",
)


@with_settings("engine")
def clean(
    values: dict[str, Any],
    run: Run,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="FOLDER", help="Folder of the lists and the new audit. (default: RUN/clean)"
        ),
    ] = None,
    threshold: Threshold = "significant",
    whole_identities: Annotated[
        bool,
        typer.Option(
            "--whole-identities", help="Remove every image of a synthetic identity if one exceeds the threshold."
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a cleaning with another threshold in the folder.")
    ] = False,
    copy: Annotated[
        Path | None,
        typer.Option("--copy", metavar="PATH", help="Also write the dataset without them, in its own container."),
    ] = None,
    as_folder: Annotated[
        bool, typer.Option("--as-folder", help="Write the copy as a folder, whatever the container of the dataset.")
    ] = False,
    synthetic: SyntheticNow = None,
    training: TrainingNow = None,
    control: ControlNow = None,
    store: Annotated[
        str | None,
        typer.Option("--store", metavar="PLACE", help="Where embeddings are stored. (default: the store of the audit)"),
    ] = None,
    trust_store: Annotated[bool, typer.Option("--trust-store", help=SETTINGS["trust_store"].help)] = False,
) -> None:
    """Find the smallest part of the synthetic dataset that must be removed, and audit the rest.

    Writes removed.txt and remaining.txt with one id per line. With the threshold `significant` this is repeated
    until the audit of the rest finds nobody significant. The dataset itself is not changed. A run that another user
    made names no place for you: give --synthetic, --training, --control and --store.
    """
    from unveil.cli.print_results import print_cleaning
    from unveil.cli.progress import TerminalProgress
    from unveil.images import write_without
    from unveil.mitigation import clean as clean_dataset
    from unveil.runs.finished import FinishedRun

    finished = FinishedRun(run, {"synthetic": synthetic, "training": training, "control": control, "store": store})
    folder = out or run / "clean"
    if copy is not None:
        finished.check_outside("--copy", copy)
    with TerminalProgress("Run the same command again to resume.") as progress:
        cleaned = clean_dataset(
            *(finished, folder),
            threshold=threshold,
            whole_identities=whole_identities,
            overwrite=overwrite,
            trust_store=trust_store,
            progress=progress,
            **values,
        )
    copied = None
    if copy is not None:
        copied = write_without(finished.source("synthetic"), copy, cleaned.left_out, as_folder=as_folder)
    print_cleaning(cleaned, folder, copied)


@guard.command()
@with_settings("engine")
def build(
    values: dict[str, Any],
    run: Run,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="GUARD", help="Folder of the guard.")],
    threshold: Annotated[
        str,
        typer.Option(
            "--threshold",
            help="audit (from which the audit would find one more person significant), or as for unveil clean.",
        ),
    ] = "audit",
    names: Annotated[
        bool, typer.Option("--names", help="Store the ids of the training images, so that decisions can name them.")
    ] = False,
    training: TrainingNow = None,
) -> None:
    """Build a guard from a finished audit: an index of the training set, and a threshold."""
    from unveil.cli.progress import TerminalProgress
    from unveil.mitigation import Guard
    from unveil.mitigation.guard import false_refusals
    from unveil.runs.finished import FinishedRun

    finished = FinishedRun(run, {"training": training})
    with TerminalProgress("Run the same command again to start over.") as progress:
        built = Guard.build(finished, out, threshold=threshold, names=names, progress=progress, **values)
    size = sum(file.stat().st_size for file in out.iterdir())
    n = finished.result.counts["training"].embedded
    echo(f"{out}: {n:,} training images in {size / 2**20:,.1f} MiB (biometric data; protect them like the images).")
    echo(f"The threshold is a score of {built.threshold.score:.3f}: {built.threshold.why}.")
    refused = built.training_refused
    interval = f" ({refused.low:.1%} to {refused.high:.1%}, {refused.level:.0%} interval)" if refused.level < 1 else ""
    echo(
        f"It refuses {refused.value:.1%}{interval} of {refused.n:,} training images by their score. Copies of training "
        f"files are always refused, and images with the same pixels as one of {built.n_pixels:,} training images."
    )
    if built.alignment.warning:
        echo(built.alignment.warning)
    expected = false_refusals(finished.result, built.threshold.score)
    if expected is not None:
        echo(
            f"Of one million images that reproduce no training person, about {expected.value:,.0f} would be refused "
            f"({expected.low:,.0f} to {expected.high:,.0f}, {expected.level:.0%} interval)."
        )
    echo(f"In a generation loop: unveil.Guard.open({str(out)!r}).check(images)")


@guard.command()
@with_settings("device")
def check(
    values: dict[str, Any],
    folder: Annotated[Path, typer.Argument(metavar="GUARD", help="The folder that unveil guard build wrote.")],
    place: Annotated[str, typer.Argument(metavar="PATH", help="The images: one file, a folder, a container, a list.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE.csv", help="Write the decision for every image.")
    ] = None,
) -> None:
    """Decide on one image, or on every image of a folder or container.

    The exit code is 1 if an image is refused, and 3 if none is but some could not be checked.
    """
    from unveil.cli.progress import TerminalProgress
    from unveil.config.parsing import parse
    from unveil.images.outputs import check_output
    from unveil.mitigation.batch import DECISIONS, decide_on_all, write_decisions
    from unveil.mitigation.guard import Guard
    from unveil.presets import resolve

    if out is not None:
        check_output("-o", out, DECISIONS, {"images": resolve(place)[0]})
    with TerminalProgress("Run the same command again to start over.") as progress:
        opened = Guard.open(folder, device=parse(values).get("device", "auto"), progress=progress)
        decisions = decide_on_all(opened, place, progress)
    n = {word: sum(d.answer == word for _, d in decisions) for word in ("pass", "refuse", "no face")}
    echo(
        f"{n['pass']:,} pass, {n['refuse']:,} refused at a score of {opened.threshold.score:.3f}, "
        f"{n['no face']:,} could not be checked."
    )
    if not opened.own:
        echo(
            "This user did not make the guard, or not the run that it is of. Who made it decided its threshold and "
            "what it refuses."
        )
    if opened.alignment.warning:
        echo(opened.alignment.warning)
    refused = [(id, d) for id, d in decisions if d.answer == "refuse"]
    for id, d in sorted(refused, key=lambda item: -(item[1].score or 0))[:SHOWN_REFUSALS]:
        near = d.id if d.id is not None else f"no. {d.row} (from 0)"
        echo(
            f"  {id}: {d.why} {near}"
            if d.score is None or d.why
            else f"  {id}: score {d.score:.2f}, {d.channel} of training image {near}"
        )
    if len(refused) > SHOWN_REFUSALS:
        echo(f"  and {len(refused) - SHOWN_REFUSALS:,} more" + ("" if out else "; all with -o FILE.csv"))
    if out is not None:
        write_decisions(out, decisions)
        echo(f"All decisions: {out}")
    if refused:
        raise typer.Exit(exit_codes.NEGATIVE)
    if n["no face"]:
        echo("Images that could not be checked have not passed. The exit code is 3.", error=True)
        raise typer.Exit(exit_codes.NO_STATEMENT)


def lookup(
    photos: Annotated[list[Path], typer.Argument(metavar="PHOTO...", help="Photographs of the person who asks.")],
    run: Annotated[
        Path,
        typer.Option("--run", metavar="RUN", parser=run_folder, help="The folder or address of a finished audit."),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE.txt", help="Write the answer for the person. (default: no file)"),
    ] = None,
) -> None:
    """Search for a person in the synthetic dataset and in the training set.

    Prints the findings with names for you. Below them it prints an answer in plain language that names nobody and can
    be given to the person. Nothing is stored without -o.
    """
    from unveil.cli.print_results import print_lookup
    from unveil.cli.progress import TerminalProgress
    from unveil.images.location import Location
    from unveil.images.outputs import check_output
    from unveil.io.atomic import write_bytes
    from unveil.mitigation import identical_files
    from unveil.mitigation import lookup as search
    from unveil.mitigation.subject_letter import LETTER, letter
    from unveil.runs.finished import FinishedRun

    if out is not None:
        for photo in photos:
            check_output("-o", out, LETTER, {"photographs": Location(str(photo))})
    finished = FinishedRun(run)
    if out is not None:
        finished.check_outside("-o", out)
    # A fact needs no model, so it comes first, even if no face is found.
    for file in identical_files(finished, photos):
        echo(f"{photos[file.photo].name} is a {file.role} image, byte for byte: {file.id} ({file.person}).")
    with TerminalProgress("Run the same command again to start over.") as progress:
        answer = search(finished, photos, progress=progress)
    text = letter(answer, finished.result, own=finished.own)
    print_lookup(answer, [photo.name for photo in photos], finished.result, text)
    if out is not None:
        write_bytes(out, text.encode())
        echo(f"\nAnswer for the person: {out}")
