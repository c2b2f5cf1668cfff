"""`unveil`: commands, exit codes and error messages. Everything heavy is imported inside the commands."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unveil import __version__
from unveil.errors import UnveilError

if TYPE_CHECKING:
    from unveil.cli.progress import TerminalProgress

EXIT_FAILED_ON, EXIT_BAD_INPUT, EXIT_INTERRUPTED = 1, 2, 130

app = typer.Typer(
    name="unveil",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="""Which real people does a synthetic face dataset expose, and how sure is that?

Start with **unveil demo**: it needs no data. Then audit your own set:

    unveil audit --synthetic SYN --training REAL --control CTRL -o RUN

Everything stays on this machine: no command uses the network.""",
)


class FailOn(StrEnum):
    """A verdict that ends the command with exit code 1; each includes the ones before it."""

    leak = "leak"
    candidates = "candidates"
    inconclusive = "inconclusive"


FAILING = {
    FailOn.leak: {"leak found"},
    FailOn.candidates: {"leak found", "candidates"},
    FailOn.inconclusive: {"leak found", "candidates", "inconclusive"},
}


def _version(value: bool) -> None:
    if value:
        typer.echo(f"unveil {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options that stand before a command."""


IDENTITY_HELP = "Who is in a picture: auto, folder, prefix:_, regex:PATTERN, list:FILE, each or none."
SOURCES, HOW, STATISTICS, WORK = "Pictures", "How pictures are read", "Statistics", "Work"


@app.command()
def audit(
    synthetic: Annotated[
        Path | None,
        typer.Option(
            help="The synthetic set: a folder, a zip, or a text file that lists pictures.", rich_help_panel=SOURCES
        ),
    ] = None,
    training: Annotated[
        Path | None,
        typer.Option(help="Real pictures the generator was trained on, or part of them.", rich_help_panel=SOURCES),
    ] = None,
    control: Annotated[
        Path | None,
        typer.Option(
            help="Real people of the same kind whom the generator never saw. Without them there are only candidates.",
            rich_help_panel=SOURCES,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="RUN", help="Folder of this audit: report, tables, embeddings."),
    ] = None,
    settings_file: Annotated[
        Path | None, typer.Option("--settings", help="A TOML file with any of these settings; flags win.")
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            help="A face recognition network (ONNX). Default: dlib's ResNet, which needs no download.",
            rich_help_panel=HOW,
        ),
    ] = None,
    aligned: Annotated[
        str | None,
        typer.Option(
            help="Are the pictures face crops aligned already: auto, yes, no, or synthetic=yes,training=no.",
            rich_help_panel=HOW,
        ),
    ] = None,
    synthetic_identity: Annotated[str | None, typer.Option(help=IDENTITY_HELP, rich_help_panel=HOW)] = None,
    training_identity: Annotated[str | None, typer.Option(help="The same for training.", rich_help_panel=HOW)] = None,
    control_identity: Annotated[str | None, typer.Option(help="The same for control.", rich_help_panel=HOW)] = None,
    follow_links: Annotated[
        bool | None,
        typer.Option("--follow-links", help="Follow links that leave a folder of pictures.", rich_help_panel=HOW),
    ] = None,
    q: Annotated[
        float | None,
        typer.Option(
            help="False discovery rate at which people are listed. (default: 0.05)", rich_help_panel=STATISTICS
        ),
    ] = None,
    fpir: Annotated[
        float | None,
        typer.Option(
            help="Without a control set: share of real people above the line. (default: 0.01)",
            rich_help_panel=STATISTICS,
        ),
    ] = None,
    top_k: Annotated[
        int | None,
        typer.Option(help="Matches kept for each synthetic picture. (default: 10)", rich_help_panel=STATISTICS),
    ] = None,
    top_pairs: Annotated[
        int | None, typer.Option(help="Closest pairs of all that are kept. (default: 100)", rich_help_panel=STATISTICS)
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of every random draw. (default: 0)", rich_help_panel=STATISTICS)
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(
            help="Where embeddings are kept for the next audit. (default: $UNVEIL_STORE, or unveil-store beside RUN)",
            rich_help_panel=WORK,
        ),
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(help="Comparison engine: auto or reference; the result is the same.", rich_help_panel=WORK),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Threads that embed. (default: one a core)", rich_help_panel=WORK)
    ] = None,
    redact: Annotated[
        bool, typer.Option("--redact", help="Also write a report and a document that show no face and no name.")
    ] = False,
    fail_on: Annotated[
        FailOn | None, typer.Option(help="Exit with 1 for this verdict and the graver ones: a gate for pipelines.")
    ] = None,
) -> None:
    """Audit a synthetic set for people of its training set.

    Embeds every picture with a face network, compares all pairs exactly, and says which training people are closer to
    the synthetic set than people the generator never saw.

    **Examples**

    unveil audit --synthetic syn/ --training real.zip --control others/ -o run

    unveil audit --synthetic syn/ --synthetic-identity prefix:_ --training list.txt -o run --fail-on leak

    Killed or interrupted, the same command goes on where it was. Exit codes: 0 done, 1 with --fail-on, 2 bad input, 130
    interrupted.
    """
    from unveil.auditor import run_audit
    from unveil.cli.summary import print_summary
    from unveil.config import parse_aligned, read_toml, settings_from

    values: dict[str, Any] = read_toml(settings_file) if settings_file is not None else {}
    flags = {
        "synthetic": synthetic,
        "training": training,
        "control": control,
        "out": out,
        "model": model,
        "aligned": None if aligned is None else parse_aligned(aligned),
        "follow_links": follow_links,
        "q": q,
        "fpir": fpir,
        "top_k": top_k,
        "top_pairs": top_pairs,
        "seed": seed,
        "store": store,
        "engine": engine,
        "workers": workers,
    }
    values |= {name: value for name, value in flags.items() if value is not None}
    rules = {"synthetic": synthetic_identity, "training": training_identity, "control": control_identity}
    given = {role: rule for role, rule in rules.items() if rule is not None}
    if given:
        values["identity"] = {**_rules(values.get("identity")), **given}
    settings = settings_from(values)
    with _progress(
        f"Run the same command again to go on: what is finished is kept in {settings.store_folder}."
    ) as progress:
        result = run_audit(settings, progress, redact=redact)
    print_summary(result, settings.out, redacted=redact)
    if fail_on is not None and result.verdict in FAILING[fail_on]:
        raise typer.Exit(EXIT_FAILED_ON)


def _rules(value: object) -> dict[str, object]:
    from unveil.types import ROLES

    return dict(value) if isinstance(value, dict) else {} if value is None else dict.fromkeys(ROLES, value)


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the pictures and the run.")] = Path(
        "unveil-demo"
    ),
    model: Annotated[
        Path | None, typer.Option(help="Another face recognition network (ONNX), to see what a stronger one finds.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed draws other people.")] = 0,
) -> None:
    """Plant a leak among people who do not exist, audit it, and see what is found.

    Needs no data and no network, and about a minute.
    """
    from unveil.cli.summary import print_demo
    from unveil.demo.run import run_demo

    with _progress("Run the same command again to go on.") as progress:
        outcome = run_demo(out, model=model, seed=seed, progress=progress)
    print_demo(outcome)


def _progress(resume: str) -> TerminalProgress:
    from unveil.cli.progress import TerminalProgress

    return TerminalProgress(resume)


def main() -> None:
    """Runs the command line; known errors become messages and exit codes."""
    # Set before any library reads it.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        app(standalone_mode=True)
    except UnveilError as error:
        print(f"unveil: {error}", file=sys.stderr)
        sys.exit(EXIT_BAD_INPUT)
    except OSError as error:
        print(
            f"unveil: {error.strerror or error}: {error.filename or ''}; is the disk full or the folder read-only?",
            file=sys.stderr,
        )
        sys.exit(EXIT_BAD_INPUT)
