"""`unveil`: the commands, and what becomes of their errors. Everything heavy is imported inside the commands."""

from __future__ import annotations

import errno
import os
import tempfile
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from unveil import __version__
from unveil.cli import audit, embed, exit_codes, inspect, mitigation, models, overlap, plan, review, study
from unveil.cli.remote import AT_THE_END
from unveil.cli.terminal import echo, messages_on_terminal
from unveil.errors import DiskFullError, EngineError, UnveilError

# No space, no memory, a broken or read-only disk. Other errors of the system come from a path that the user gave.
OF_THE_MACHINE = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ENOMEM, errno.EMFILE, errno.ENFILE}

# Of a stream: the reader of a pipe has ended, or the disk of a file that takes the output is full.
OF_THE_OUTPUT = {errno.EPIPE, errno.ENOSPC}


class Commands(TyperGroup):
    """Runs a command. Known errors become a message and an exit code: 2 for bad input, 4 for a machine that failed."""

    def invoke(self, ctx: Any) -> Any:
        try:
            with messages_on_terminal(), AT_THE_END:
                return super().invoke(ctx)
        except UnveilError as error:
            echo(f"unveil: {error}", error=True)
            machine = isinstance(error, (EngineError, DiskFullError))
            raise typer.Exit(exit_codes.MACHINE_FAILED if machine else exit_codes.BAD_INPUT) from None
        except OSError as error:
            # What is printed has no file name, nor has a pipe whose reader has ended or a temporary file.
            unnamed = "standard output" if error.errno in OF_THE_OUTPUT else "a file"
            if error.errno == errno.ENOSPC:
                unnamed += f", or a temporary file in {tempfile.gettempdir()}"
            where = error.filename or unnamed
            advice = "Check that the disk is not full and that the folder can be written to"
            if error.errno == errno.EPIPE:
                advice = "The program that reads it has ended; files that were named before are complete"
            echo(f"unveil: {error.strerror or error}: {where}. {advice}", error=True)
            raise typer.Exit(
                exit_codes.MACHINE_FAILED if error.errno in OF_THE_MACHINE else exit_codes.BAD_INPUT
            ) from None


app = typer.Typer(
    name="unveil",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="""Which real people does a synthetic face dataset expose, and how sure is that?

Start with **unveil demo**, which needs no data. Then audit your own dataset:

    unveil audit --synthetic SYN --training REAL --control CTRL -o RUN

All work is done on this machine. The network is used only for data that you name by its address.""",
)

AFTER, SETS, MORE = "After an audit", "Sets and models", "More"
app.command()(audit.demo)
app.command()(audit.audit)
app.command()(inspect.inspect)
app.command(rich_help_panel=AFTER)(review.report)
app.command(rich_help_panel=AFTER)(review.review)
app.command(rich_help_panel=AFTER)(mitigation.clean)
app.add_typer(mitigation.guard, name="guard", rich_help_panel=AFTER)
app.command(rich_help_panel=AFTER)(mitigation.lookup)
app.command(rich_help_panel=SETS)(overlap.overlap)
app.command(rich_help_panel=SETS)(embed.embed)
app.command(rich_help_panel=SETS)(inspect.presets)
app.add_typer(models.app, name="models", rich_help_panel=SETS)
app.command(rich_help_panel=MORE)(plan.plan)
app.command(rich_help_panel=MORE)(study.study)
app.command(rich_help_panel=MORE)(inspect.info)


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
    """Options before a command."""


def main() -> None:
    """Runs the command line."""
    # Set before any library reads it.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    app()
