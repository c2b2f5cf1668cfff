"""`unveil overlap`."""

from __future__ import annotations

import logging
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from unveil.choices import SetName
from unveil.cli.options import Quiet, Verbose, with_settings
from unveil.cli.terminal import echo, show_from
from unveil.config.settings import EXECUTION, READING, STATISTICS


class SetChoice(StrEnum):
    """One of the two sets."""

    A = "A"
    B = "B"


def _of_set(name: str, what: str, metavar: str) -> Any:
    return typer.Option(
        f"--{name.lower()}-{what}", metavar=metavar, help=f"The same for {name}.", rich_help_panel=READING
    )


@with_settings(
    *("detector", "labels", "follow_links", "fdr", "seed", "store", "trust_store"),
    *("device", "backend", "engine", "workers"),
    single=("labels",),
)
def overlap(
    values: dict[str, Any],
    a: Annotated[str, typer.Argument(metavar="A", help="A set of faces: a folder, a container, a list, PRESET:PATH.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another set of faces.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="RUN", help="Folder of this overlap.")],
    threshold: Annotated[
        str,
        typer.Option(
            "--threshold",
            help="From where on two people match by face: significant (at most --fdr of the pairs that match are "
            "expected to be false), fmr:1e-6 (a false match rate) or a cosine.",
        ),
    ] = "significant",
    remove: Annotated[
        SetChoice | None,
        typer.Option("--remove", help="Write a copy of this set without the people and images that it shares."),
    ] = None,
    copy: Annotated[
        Path | None, typer.Option("--copy", metavar="PATH", help="Where --remove writes the copy: a new folder.")
    ] = None,
    only_images: Annotated[
        bool, typer.Option("--only-images", help="With --remove, leave out shared images alone, and keep the people.")
    ] = False,
    as_folder: Annotated[
        bool, typer.Option("--as-folder", help="Write the copy as a folder, whatever the container of the set.")
    ] = False,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE", help="A face recognition model, as for unveil audit.", rich_help_panel=READING
        ),
    ] = None,
    aligned: Annotated[
        str | None,
        typer.Option(
            metavar="auto|yes|no",
            help="Whether the images are aligned face crops. (default: auto)",
            rich_help_panel=READING,
        ),
    ] = None,
    a_labels: Annotated[str | None, _of_set("A", "labels", "RULE")] = None,
    b_labels: Annotated[str | None, _of_set("B", "labels", "RULE")] = None,
    a_aligned: Annotated[str | None, _of_set("A", "aligned", "auto|yes|no")] = None,
    b_aligned: Annotated[str | None, _of_set("B", "aligned", "auto|yes|no")] = None,
    top_pairs: Annotated[
        int | None,
        typer.Option(
            help="Closest pairs of people that do not match in pairs.csv. (default: 100)", rich_help_panel=STATISTICS
        ),
    ] = None,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            help="If the overlap in -o is finished, read all files to see whether they changed.",
            rich_help_panel=EXECUTION,
        ),
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace an overlap with other settings in -o.", rich_help_panel=EXECUTION),
    ] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print overlap.json instead of the summary.", rich_help_panel=EXECUTION),
    ] = False,
) -> None:
    """Find the people and images that two sets of real faces share.

    Compares all pairs of images. The same image in both sets is a fact; people match by face from a threshold on, whose
    false matches are measured between different people inside the sets.

    **Examples**

    unveil overlap training evaluation -o overlap

    unveil overlap training evaluation -o overlap --remove A --copy training-without-evaluation

    An interrupted overlap resumes with the same command. A finished one whose sets have not changed answers at once.
    Exit codes: 0 done, 2 bad input, 4 the machine failed, 130 interrupted.
    """
    from unveil.cli.print_overlap import print_overlap
    from unveil.cli.progress import TerminalProgress
    from unveil.config.overlap import overlap_settings
    from unveil.errors import SettingError
    from unveil.images import open_source
    from unveil.images.outputs import check_outside
    from unveil.sharing import remove_shared, run_overlap

    if (remove is None) != (copy is None):
        raise SettingError("--remove: expected a set and --copy PATH for the copy, found one of them. Give both")
    for name, common, pair in (
        ("labels", values.pop("labels", None), (a_labels, b_labels)),
        ("aligned", aligned, (a_aligned, b_aligned)),
    ):
        chosen = {side: own or common for side, own in zip("AB", pair, strict=True)}
        values[name] = {side: value for side, value in chosen.items() if value is not None}
    settings = overlap_settings(a, b, out, threshold=threshold, model=model, top_pairs=top_pairs, **values)
    for set_name, location in settings.locations.items() if copy is not None else ():
        check_outside("--copy", copy or out, location, set_name)
    resume = f"Run the same command again to resume. Finished work is stored in {settings.store_place}."
    show_from(logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO)
    with TerminalProgress(resume, quiet=quiet) as progress:
        result = run_overlap(settings, progress, verify=verify, overwrite=overwrite)
        copied = None
        if remove is not None and copy is not None:
            of: SetName = "A" if remove is SetChoice.A else "B"
            source = open_source(settings.locations[of], settings.labels.get(of), follow_links=settings.follow_links)
            copied = remove_shared(result, source, of, copy, only_images=only_images, as_folder=as_folder)
    if as_json:
        typer.echo((settings.out / "overlap.json").read_bytes(), nl=False)
    elif quiet:
        echo(f"{result.shared['A'].people} people, {result.shared['A'].images} images of A are in B")
    else:
        print_overlap(result, settings, (a, b), copied, verbose=verbose)
