"""`unveil audit` and `unveil demo`."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from unveil.cli import exit_codes
from unveil.cli.exit_codes import FailOn
from unveil.cli.options import AsJson, Log, Quiet, Redact, SettingsFile, Trusted, Verbose, with_settings
from unveil.cli.terminal import echo, show_from
from unveil.config.settings import EXECUTION, SETTINGS


@with_settings(*SETTINGS)
def audit(
    values: dict[str, Any],
    settings_file: SettingsFile = None,
    trusted: Trusted = False,
    log: Log = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
    redact: Redact = False,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            help="If the audit in -o is finished, read all files to see whether they changed. Otherwise only their "
            "sizes and times are compared.",
            rich_help_panel=EXECUTION,
        ),
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Replace an audit with other settings in -o, and its cleaning.",
            rich_help_panel=EXECUTION,
        ),
    ] = False,
    fail_on: Annotated[
        FailOn | None,
        typer.Option(
            "--fail-on",
            help="Exit with code 1 for this verdict and for more serious ones, with 3 if the audit is inconclusive.",
            rich_help_panel=EXECUTION,
        ),
    ] = None,
) -> None:
    """Audit a synthetic dataset for people of its training set.

    Embeds every image with a face recognition model and compares all pairs exactly. Reports which training people are
    closer to the synthetic dataset than people whom the generator never saw.

    **Examples**

    unveil audit --synthetic synthetic --training training.zip --control control -o run

    unveil audit --synthetic synthetic --synthetic-labels prefix:_ --training list.txt -o run --fail-on leak

    An interrupted audit resumes with the same command. A finished one whose inputs have not changed answers at once.

    Exit codes: 0 done, 1 --fail-on is met, 2 bad input, 3 --fail-on was given and the audit is inconclusive, 4 the
    machine failed, 130 interrupted.
    """
    from unveil.cli.log import LOG, JsonLog
    from unveil.cli.print_results import print_result
    from unveil.cli.progress import TerminalProgress
    from unveil.config.confined import check_confined
    from unveil.config.parsing import merge, read_toml, settings_from
    from unveil.images.outputs import check_log
    from unveil.io.run_directory import REDACTED_DOCUMENT
    from unveil.planning.protocol import under_protocol
    from unveil.runs.repeat import repeated

    from_file = read_toml(settings_file) if settings_file is not None else {}
    if settings_file is not None and not trusted:
        check_confined(from_file, settings_file)
    settings = settings_from(under_protocol(merge(from_file, values)))
    if log is not None:
        check_log("--log", log, LOG, {f"{role} images": at for role, at in settings.locations.items()})
    resume = f"Run the same command again to resume. Finished work is stored in {settings.store_place}."
    show_from(logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO)
    with TerminalProgress(resume, quiet=quiet) as terminal, ExitStack() as stack:
        progress = terminal if log is None else stack.enter_context(JsonLog(terminal, log))
        result = repeated(settings, redact=redact, verify=verify)
        if result is None:
            from unveil.auditor import run_audit  # slow to import, and not needed for a finished audit

            result = run_audit(settings, progress, redact=redact, overwrite=overwrite, known_unfinished=True)
    if as_json:
        document = settings.out / (REDACTED_DOCUMENT if redact else "audit.json")
        typer.echo(document.read_bytes(), nl=False)
    elif quiet:
        echo(result.verdict)
    else:
        print_result(result, settings.out, redacted=redact, verbose=verbose)
    if settings.remote_run is not None and not (as_json or quiet):
        echo(f"Copied to {settings.remote_run}")
    raise typer.Exit(exit_codes.exit_code(result.verdict, fail_on))


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the images and the run.")] = Path("unveil-demo"),
    model: Annotated[
        str | None,
        typer.Option(metavar="NAME|FILE", help="Another face recognition model, to compare it with the default."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed draws other people.")] = 0,
) -> None:
    """Plant a leak among people who do not exist, audit it, and compare the findings with the truth.

    Needs no data and no network, and takes about a minute.
    """
    from unveil.cli.print_results import print_demo
    from unveil.cli.progress import TerminalProgress
    from unveil.demo.run import run_demo

    with TerminalProgress("Run the same command again to resume.") as progress:
        outcome = run_demo(out, model=model, seed=seed, progress=progress)
    print_demo(outcome)
