"""`unveil`: commands, exit codes and error messages. Everything heavy is imported inside the commands."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unveil import __version__
from unveil.cli import mitigation as remedies
from unveil.cli import models, options, plan
from unveil.cli import review as after
from unveil.cli.options import Device, FailOn
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

Everything stays on this machine: the network is used only to read a set that you name by its address.""",
)


app.add_typer(models.app, name="models")
app.command()(plan.plan)
app.command()(after.review)
app.command()(after.report)
app.command()(remedies.clean)
app.command()(remedies.lookup)
app.add_typer(remedies.guard, name="guard")

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
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options that stand before a command."""
    from unveil.cli.log import messages_to, print_message

    context.with_resource(messages_to(print_message))


@app.command()
def audit(
    synthetic: options.Synthetic = None,
    training: options.Training = None,
    control: options.Control = None,
    exclude: options.Exclude = None,
    out: options.Out = None,
    settings_file: options.SettingsFile = None,
    model: options.Model = None,
    detector: options.DetectorOption = None,
    device: options.DeviceOption = None,
    channels: options.Channels = None,
    copy_model: options.CopyModel = None,
    aligned: options.Aligned = None,
    labels: options.Labels = None,
    synthetic_labels: options.SyntheticLabels = None,
    training_labels: options.TrainingLabels = None,
    control_labels: options.ControlLabels = None,
    follow_links: options.FollowLinks = None,
    fdr: options.Fdr = None,
    fpir: options.Fpir = None,
    top_k: options.TopK = None,
    top_pairs: options.TopPairs = None,
    match_controls: options.MatchControls = None,
    strata: options.Strata = None,
    resamples: options.Resamples = None,
    planted_leaks: options.PlantedLeaks = None,
    seed: options.Seed = None,
    store: options.Store = None,
    engine: options.EngineOption = None,
    backend: options.BackendOption = None,
    workers: options.Workers = None,
    log: options.Log = None,
    redact: options.Redact = False,
    fail_on: options.FailOnOption = None,
) -> None:
    """Audit a synthetic set for people of its training set.

    Embeds every picture with a face network, compares all pairs exactly, and says which training people are closer to
    the synthetic set than people the generator never saw.

    **Examples**

    unveil audit --synthetic syn/ --training real.zip --control others/ -o run

    unveil audit --synthetic syn/ --synthetic-labels prefix:_ --training list.txt -o run --fail-on leak

    Killed or interrupted, the same command goes on where it was. Exit codes: 0 done, 1 with --fail-on, 2 bad input, 130
    interrupted.
    """
    from unveil.auditor import run_audit
    from unveil.cli.log import Logged
    from unveil.cli.print_results import print_summary
    from unveil.config.settings import parse_aligned, read_toml, settings_from

    values: dict[str, Any] = read_toml(settings_file) if settings_file is not None else {}
    flags = {
        "synthetic": synthetic,
        "training": training,
        "control": control,
        "exclude": exclude,
        "out": out,
        "model": model or None,
        "detector": detector,
        "device": device,
        "channels": channels,
        "copy_model": copy_model,
        "aligned": None if aligned is None else parse_aligned(aligned),
        "follow_links": follow_links,
        "fdr": fdr,
        "fpir": fpir,
        "top_k": top_k,
        "top_pairs": top_pairs,
        "match_controls": match_controls,
        "strata": strata,
        "resamples": resamples,
        "planted_leaks": planted_leaks,
        "seed": seed,
        "store": store,
        "engine": engine,
        "backend": backend,
        "workers": workers,
    }
    values |= {name: value for name, value in flags.items() if value is not None}
    rules = {"synthetic": synthetic_labels, "training": training_labels, "control": control_labels}
    given = {role: rule for role, rule in rules.items() if rule is not None}
    if given or labels is not None:
        values["labels"] = {**_rules(labels or values.get("labels")), **given}
    settings = settings_from(values)
    resume = f"Run the same command again to go on: what is finished is kept in {settings.store_place}."
    with progress_on_terminal(resume) as progress, ExitStack() as stack:
        listening = progress if log is None else stack.enter_context(Logged(progress, log))
        result = run_audit(settings, listening, redact=redact)
    print_summary(result, settings.out, redacted=redact)
    if settings.remote_run is not None:
        typer.echo(f"At its address: {settings.remote_run}")
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
        str | None, typer.Option(help="Another face recognition network, to see what a stronger one finds.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed draws other people.")] = 0,
) -> None:
    """Plant a leak among people who do not exist, audit it, and see what is found.

    Needs no data and no network, and about a minute.
    """
    from unveil.cli.print_results import print_demo
    from unveil.demo.run import run_demo

    with progress_on_terminal("Run the same command again to go on.") as progress:
        outcome = run_demo(out, model=model, seed=seed, progress=progress)
    print_demo(outcome)


@app.command()
def inspect(
    place: Annotated[str, typer.Argument(metavar="PATH", help="A folder, a container, a list, or PRESET:PATH.")],
    labels: Annotated[str, typer.Option(help="Who is in a picture, as for unveil audit.")] = "auto",
    contact_sheet: Annotated[
        Path | None,
        typer.Option("--contact-sheet", "-o", metavar="FILE.png", help="Also draw some people and their pictures."),
    ] = None,
    sample: Annotated[int, typer.Option(min=1, help="Pictures that are looked at.")] = 200,
    follow_links: Annotated[bool, typer.Option("--follow-links", help="Follow links that leave a folder.")] = False,
) -> None:
    """Say what a path holds and how to audit it: form, pictures, people, sizes, alignment, what would be rejected.

    The form is told by content, never by name. Where it is in doubt, each way to read it is shown.
    """
    from unveil.cli.print_inspection import print_inspection
    from unveil.inspection.inspect import candidate_locations, write_contact_sheet
    from unveil.inspection.inspect import inspect as look

    found = candidate_locations(place)
    for way in found:
        inspection = look(way, identity=labels, sample=sample, follow_links=follow_links)
        print_inspection(inspection, doubtful=len(found) > 1)
        if contact_sheet is not None and len(found) == 1:
            write_contact_sheet(inspection.source, contact_sheet)
            typer.echo(f"\nContact sheet: {contact_sheet} (shows faces; treat it like the pictures)")


@app.command()
def study(
    plan: Annotated[Path, typer.Argument(metavar="STUDY.toml", help="The sets to compare: docs/how-to/study.md.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Where the runs and the page go.")],
    data: Annotated[
        Path | None, typer.Option(help="The folder that the paths in the file begin at. (default: the file's)")
    ] = None,
    redact: Annotated[bool, typer.Option("--redact", help="Also write a page that shows no face and no file.")] = False,
) -> None:
    """Audit many synthetic sets, each against its own training set, and lay them side by side.

    Every set is an audit that resumes by itself, and all share their embeddings. A set that is not there becomes a row
    that says so.
    """
    from unveil.cli.print_results import print_study
    from unveil.study import read_plan, run_study

    planned = read_plan(plan, data)
    with progress_on_terminal("Run the same command again to go on: what is finished is kept.") as progress:
        rows = run_study(planned, out, progress, redact=redact)
    print_study(rows, out)


@app.command()
def presets() -> None:
    """List the published sets whose facts are known: --synthetic PRESET:PATH reads one as it was published."""
    from unveil.cli.print_inspection import print_presets

    print_presets()


@app.command()
def embed(
    place: Annotated[str, typer.Argument(metavar="PATH", help="A folder, a container, a list, or PRESET:PATH.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE.npz", help="Where the embeddings go.")],
    model: Annotated[str | None, typer.Option(help="A face recognition network, as for unveil audit.")] = None,
    detector: options.DetectorOption = None,
    device: options.DeviceOption = None,
    labels: Annotated[str, typer.Option(help="Who is in a picture, as for unveil audit.")] = "auto",
    aligned: Annotated[str, typer.Option(help="Are the pictures aligned crops: auto, yes, no.")] = "auto",
    store: options.Store = None,
    workers: options.Workers = None,
) -> None:
    """Embed pictures into a file that unveil audit takes in their place.

    For pictures that may not be handed on. Embeddings are biometric all the same.
    """
    from unveil.embedding.precomputed import embed_to_file

    with progress_on_terminal("Run the same command again to begin anew.") as progress:
        found = embed_to_file(
            place,
            out,
            model=model,
            detector=detector or "dlib",
            device=device or Device.auto,
            identity=labels,
            aligned=aligned,
            store=store,
            workers=workers,
            progress=progress,
        )
    typer.echo(f"{len(found.embedded):,} embedded and {len(found.rejects):,} rejected of {found.n_images:,}: {out}")


@app.command()
def info() -> None:
    """Say what this machine offers: comparators and kernels, and what they run on. For bug reports."""
    from unveil.cli.print_results import print_info

    print_info()


def progress_on_terminal(resume: str) -> TerminalProgress:
    """Progress on standard error for the time of a ``with`` block; ``resume`` says how to go on after Ctrl-C."""
    from unveil.cli.progress import TerminalProgress

    return TerminalProgress(resume)


def main() -> None:
    """Runs the command line; known errors become messages and exit codes."""
    # Set before any library reads it.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        with options.AT_THE_END:
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
