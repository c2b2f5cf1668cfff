"""The commands that follow an audit: look at its pairs, and write its report anew."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unveil.cli import options

if TYPE_CHECKING:
    from unveil.review.queue import ReviewQueue


def run_folder(place: str) -> Path:
    """The folder of a run, or the local copy of a run at an address; changes are uploaded if the command succeeds."""
    from unveil.io.remote import is_address
    from unveil.io.remote_run import open_remote_run

    return options.AT_THE_END.enter_context(open_remote_run(place)) if is_address(place) else Path(place)


Run = Annotated[
    Path,
    typer.Argument(metavar="RUN", parser=run_folder, help="The folder or address of a finished audit (its -o)."),
]
SyntheticNow = Annotated[
    str | None, typer.Option("--synthetic", metavar="PATH", help="Where the synthetic pictures are now, if moved.")
]
TrainingNow = Annotated[
    str | None, typer.Option("--training", metavar="PATH", help="Where the training pictures are now, if moved.")
]
ControlNow = Annotated[
    str | None, typer.Option("--control", metavar="PATH", help="Where the control pictures are now, if moved.")
]


def review(
    run: Run,
    blind: Annotated[
        bool,
        typer.Option(
            "--blind", help="Hide scores, shuffle, and mix in pairs that cannot be leaks: reviewers are measured too."
        ),
    ] = False,
    findings: Annotated[
        bool, typer.Option("--findings", help="Only the findings, without the closest pairs of all.")
    ] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on this machine; 0: any that is free.")] = 0,
    open_browser: Annotated[
        bool, typer.Option("--open", help="Also open the page in the browser of this machine.")
    ] = False,
    export: Annotated[
        Path | None,
        typer.Option("--export", metavar="FILE.csv", help="Write all verdicts given so far, and serve nothing."),
    ] = None,
    synthetic: SyntheticNow = None,
    training: TrainingNow = None,
    control: ControlNow = None,
) -> None:
    """Look at the pairs of an audit, one key a verdict, on a page of this machine alone.

    Verdicts are kept in RUN/review.sqlite as they are given. Several people can look at once, each under a name; come
    back with the same command. Then: **unveil report RUN**.
    """
    from unveil.review.server import serve, write_verdicts
    from unveil.runs.finished import FinishedRun

    if export is not None:
        n = write_verdicts(run, export)
        typer.echo(f"{n} verdicts in {export} (it names files and people)")
        return

    def ready(address: str, deck: ReviewQueue) -> None:
        how = "blind, control pairs among them" if blind else "findings first"
        typer.echo(f"{len(deck.pairs):,} pairs, {how}. Open this address on this machine; it holds a secret:\n")
        typer.echo(f"    {address}\n")
        typer.echo("Ctrl-C when done. Verdicts are kept as they are given.")
        sys.stdout.flush()
        if open_browser:
            typer.launch(address)

    places = {"synthetic": synthetic, "training": training, "control": control}
    serve(FinishedRun(run, places), blind=blind, findings_only=findings, port=port, ready=ready)
    typer.echo(f"\nBring the verdicts into the report: unveil report {run}")


def report(
    run: Run,
    redact: options.Redact = False,
    synthetic: SyntheticNow = None,
    training: TrainingNow = None,
) -> None:
    """Write the report of a finished audit anew, with what reviewers said meanwhile.

    Nothing is computed again. RUN/publish holds a summary for a pull request, JUnit XML, a Croissant sidecar and a
    datasheet section; they name nobody and show no face.
    """
    from dataclasses import replace

    from unveil.report import PUBLIC, write_pages
    from unveil.review import review_summary
    from unveil.runs.finished import FinishedRun

    finished = FinishedRun(run, {"synthetic": synthetic, "training": training})
    result = replace(finished.result, review=review_summary(run, finished.pairs))
    sources = finished.sources()
    for role in finished.roles:
        if role not in sources and role != "control":
            typer.echo(
                f"The {role} pictures are not where they were and are not shown; say where with --{role}.", err=True
            )
    write_pages(result, run, sources, redact=redact)
    review = result.review
    if review is None:
        typer.echo(f"Nobody has looked at the pairs yet: unveil review {run}")
    else:
        typer.echo(f"{review.n_verdicts:,} verdicts of {', '.join(review.reviewers)} on {len(review.pairs):,} pairs.")
        if review.reviewer_precision is not None:
            share = review.reviewer_precision
            typer.echo(
                f"{share.value:.1%} of {share.n} findings decided are leaks ({share.low:.1%} to {share.high:.1%}, "
                f"{share.level:.0%} interval)."
            )
    typer.echo(f"Report: {run / 'report.html'}")
    if redact:
        typer.echo(f"Without faces and names: {run / 'report.redacted.html'}")
    typer.echo(f"To publish: {run / PUBLIC}")
