"""`unveil inspect`, `unveil presets` and `unveil info`: what there is, before anything is audited."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from unveil.cli.options import with_settings
from unveil.cli.terminal import echo


@with_settings("labels", "follow_links", single=("labels",))
def inspect(
    values: dict[str, Any],
    place: Annotated[str, typer.Argument(metavar="PATH", help="A folder, a container, a list, or PRESET:PATH.")],
    contact_sheet: Annotated[
        Path | None,
        typer.Option("--contact-sheet", "-o", metavar="FILE.png", help="Also draw some people and their images."),
    ] = None,
    sample: Annotated[int, typer.Option(min=1, help="Number of images that are decoded.")] = 200,
) -> None:
    """Show what a path holds and how to audit it: container, images, people, sizes, alignment, rejects.

    The container is recognised by its content, not by its name. If it is ambiguous, every reading is shown.
    """
    from unveil.cli.print_inspection import print_inspection
    from unveil.images.outputs import check_output
    from unveil.inspection.contact_sheet import CONTACT_SHEET
    from unveil.inspection.inspect import candidate_locations, write_contact_sheet
    from unveil.inspection.inspect import inspect as inspect_location
    from unveil.presets import resolve

    labels, follow_links = values.get("labels", "auto"), values.get("follow_links", False)
    if contact_sheet is not None:
        check_output("--contact-sheet", contact_sheet, CONTACT_SHEET, {"images": resolve(place)[0]})
    locations = candidate_locations(place, follow_links=follow_links)
    for location in locations:
        inspection = inspect_location(location, labels=labels, sample=sample, follow_links=follow_links)
        print_inspection(inspection, ambiguous=len(locations) > 1)
        if contact_sheet is not None and len(locations) == 1:
            write_contact_sheet(inspection.source, contact_sheet)
            echo(f"\nContact sheet: {contact_sheet} (shows faces; protect it like the images)")


def presets() -> None:
    """List the published datasets that unveil knows. --synthetic PRESET:PATH reads one as it was published."""
    from unveil.cli.print_inspection import print_presets

    print_presets()


def info() -> None:
    """Show what this machine offers: backends, kernels and devices. For bug reports."""
    from unveil.cli.print_results import print_info

    print_info()
