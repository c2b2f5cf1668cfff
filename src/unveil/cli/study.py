"""`unveil study`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from unveil.cli.options import Redact, Trusted, with_settings


@with_settings("engine")
def study(
    values: dict[str, Any],
    plan: Annotated[Path, typer.Argument(metavar="STUDY.toml", help="The datasets to compare: docs/how-to/study.md.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Folder of the runs and the page.")],
    data: Annotated[
        Path | None, typer.Option(help="The folder to which the paths in the file are relative. (default: the file's)")
    ] = None,
    redact: Redact = False,
    trusted: Trusted = False,
) -> None:
    """Audit many synthetic datasets, each against its own training set, and compare the results.

    Each dataset is one audit that resumes by itself. All audits share their embeddings. A dataset that is absent
    becomes a row that says so. The file may come from somebody else: it names no cluster, and paths outside its folder
    or --data only with --trusted.
    """
    from unveil.cli.print_results import print_study
    from unveil.cli.progress import TerminalProgress
    from unveil.study import read_plan, run_study

    planned = read_plan(plan, data, engine=values.get("engine", "local"), trusted=trusted)
    with TerminalProgress("Run the same command again to resume. Finished audits are stored.") as progress:
        rows = run_study(planned, out, progress, redact=redact)
    print_study(rows, out)
