"""`unveil review` and `unveil report`: what follows an audit."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unveil.cli.options import Redact
from unveil.cli.remote import run_folder
from unveil.cli.terminal import echo

if TYPE_CHECKING:
    from unveil.review.queue import ReviewQueue
    from unveil.runs.finished import FinishedRun
    from unveil.types import Role


Run = Annotated[
    Path,
    typer.Argument(metavar="RUN", parser=run_folder, help="The folder or address of a finished audit (its -o)."),
]
SyntheticNow = Annotated[
    str | None,
    typer.Option("--synthetic", metavar="PATH", help="Where the synthetic images are now, if they were moved."),
]
TrainingNow = Annotated[
    str | None,
    typer.Option("--training", metavar="PATH", help="Where the training images are now, if they were moved."),
]
ControlNow = Annotated[
    str | None, typer.Option("--control", metavar="PATH", help="Where the control images are now, if they were moved.")
]


def review(
    run: Run,
    blind: Annotated[
        bool,
        typer.Option(
            "--blind", help="Hide scores, shuffle, and mix in pairs that cannot be leaks, which measures the reviewers."
        ),
    ] = False,
    findings: Annotated[
        bool, typer.Option("--findings", help="Show only the findings, without the closest pairs of the whole set.")
    ] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on this machine; 0 takes a free one.")] = 0,
    open_browser: Annotated[
        bool, typer.Option("--open", help="Also open the page in the browser of this machine.")
    ] = False,
    export: Annotated[
        Path | None,
        typer.Option("--export", metavar="FILE.csv", help="Write all verdicts so far, and serve no page."),
    ] = None,
    synthetic: SyntheticNow = None,
    training: TrainingNow = None,
    control: ControlNow = None,
) -> None:
    """Review the pairs of an audit on a local page, with one key for each verdict.

    Verdicts are stored in RUN/review.sqlite at once. Several people can review at the same time, each under a name.
    The same command continues a review. Then run **unveil report RUN**.
    """
    from unveil.review.server import door_to, serve, write_verdicts
    from unveil.runs.finished import FinishedRun

    if export is not None:
        n = write_verdicts(run, export)
        echo(f"{n} verdicts in {export} (the file names files and people)")
        return

    at_end = ExitStack()

    def ready(address: str, queue: ReviewQueue) -> None:
        order = "blind, with control pairs among them" if blind else "findings first"
        echo(f"{len(queue.pairs):,} pairs, {order}. Open this address on this machine. It contains a secret:\n")
        echo(f"    {address}\n")
        echo("Press Ctrl-C to end. Every verdict is stored at once.")
        sys.stdout.flush()
        if open_browser:
            typer.launch(str(at_end.enter_context(door_to(address))))

    finished = FinishedRun(run, {"synthetic": synthetic, "training": training, "control": control})
    with at_end:
        serve(finished, blind=blind, findings_only=findings, port=port, ready=ready)
    echo(f"\nAdd the verdicts to the report: unveil report {run}")


def report(
    run: Run,
    redact: Redact = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FOLDER", help="Folder of the report. (default: RUN)", show_default=False),
    ] = None,
    synthetic: SyntheticNow = None,
    training: TrainingNow = None,
) -> None:
    """Write the report of a finished audit again, with the verdicts of the reviewers.

    Nothing is recomputed. Without the images of the run, **-o** is needed, so that the faces in
    its report are not lost. RUN/publish holds a summary for a pull request, JUnit XML, a Croissant file and a datasheet
    section. They name nobody and show no face.
    """
    from dataclasses import replace

    from unveil.io.atomic import remove_stale_temp
    from unveil.io.folders import exclusive
    from unveil.io.run_directory import AUDIT_FILES, REDACTED_REPORT
    from unveil.report import PUBLIC, write_pages
    from unveil.report.text import called_leaks
    from unveil.review import review_summary
    from unveil.runs.finished import FinishedRun

    finished = FinishedRun(run, {"synthetic": synthetic, "training": training})
    folder = run if out is None else out
    with exclusive(run):
        remove_stale_temp(run, of=AUDIT_FILES)
        result = replace(finished.result, review=review_summary(run, finished.pairs))
        sources = finished.sources()
        not_shown = [role for role in finished.roles if role not in sources and role != "control"]
        _check_folder(finished, folder, not_shown)
        for unknown in not_shown:
            echo(f"The {unknown} images are not shown: name their place with --{unknown}.", error=True)
        write_pages(result, folder, sources, redact=redact, own=finished.own)
        for role, source in sources.items():
            if source.changed:
                echo(
                    f"{len(source.changed):,} {role} images are not shown: they changed since the audit, so its result "
                    "does not hold for them. Audit again.",
                    error=True,
                )
    review = result.review
    if review is None:
        echo(f"There is no review yet: unveil review {run}")
    else:
        echo(f"{review.n_verdicts:,} verdicts by {', '.join(review.reviewers)} on {len(review.pairs):,} pairs.")
        if review.reviewer_precision is not None:
            echo(called_leaks(review, intervals=True))
    echo(f"Report: {folder / 'report.html'}")
    if redact:
        echo(f"Without faces and names: {folder / REDACTED_REPORT}")
    echo(f"Files to publish: {folder / PUBLIC}")


def _check_folder(run: FinishedRun, folder: Path, not_shown: Sequence[Role]) -> None:
    """Raises SettingError for a folder whose report would be lost: that of a run whose images are not there or not
    known, or another run."""
    from unveil.errors import SettingError
    from unveil.io.run_directory import MANIFEST
    from unveil.report.write import check_report_files

    here = folder.resolve() == run.path.resolve()
    if not here and (folder / MANIFEST).exists():
        raise SettingError(f"-o: expected a folder without a run, found {folder}. Name another")
    if not here:
        run.check_outside("-o", folder)
        check_report_files("-o", folder)
    facts = run.result.manifest["inputs"]
    lost = [f"--{role}" for role in not_shown if facts[role]["kind"] != "embeddings"]
    if here and lost and (folder / "report.html").exists():
        why = (
            "The images are not in their place. Name it"
            if run.own
            else "This user did not make the run, so the places in it are not used: name them"
        )
        raise SettingError(
            f"{', '.join(lost)}: expected the place of the images, found none, so {folder / 'report.html'} would lose "
            f"its faces. {why}, or another folder with -o"
        )
