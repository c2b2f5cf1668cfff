"""`unveil embed`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from unveil.cli.options import with_settings
from unveil.cli.terminal import echo


@with_settings("detector", "aligned", "labels", "store", "trust_store", "device", "workers", single=("labels",))
def embed(
    values: dict[str, Any],
    place: Annotated[str, typer.Argument(metavar="PATH", help="A folder, a container, a list, or PRESET:PATH.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE.npz", help="The file of embeddings to write.")],
    model: Annotated[
        str | None, typer.Option(metavar="NAME|FILE", help="A face recognition model, as for unveil audit.")
    ] = None,
) -> None:
    """Embed images into a file that unveil audit accepts instead of them.

    Use it for images that may not be passed on. Embeddings are biometric data nonetheless.
    """
    from unveil.cli.progress import TerminalProgress
    from unveil.config.parsing import parse
    from unveil.embedding.embed import embed as embed_images
    from unveil.embedding.precomputed import EMBEDDINGS, write_embeddings_file
    from unveil.images.outputs import check_output
    from unveil.presets import resolve

    parse(values)
    check_output("-o", out, EMBEDDINGS, {"images": resolve(place)[0]})
    with TerminalProgress("Run the same command again to start over.") as progress:
        found = embed_images(place, model=model, progress=progress, **values)
        write_embeddings_file(found, out)
    echo(f"{len(found.embedded):,} embedded and {len(found.rejects):,} rejected of {found.n_images:,}: {out}")
