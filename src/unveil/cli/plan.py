"""What an audit will take, before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unveil.cli import options


def plan(
    synthetic: options.Synthetic = None,
    training: options.Training = None,
    control: options.Control = None,
    counts: Annotated[
        str | None,
        typer.Option(
            metavar="SYN,REAL[,CONTROL]",
            help="Numbers of pictures, where they are not here: 10M,42M or 500k,500k,100k. Drawn faces are measured.",
        ),
    ] = None,
    machine: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[Nx]NAME[=CORES][@PRICE]",
            help="Machines to plan for, as in 20xours=64@2.5; several times. (default: some that can be rented)",
        ),
    ] = None,
    model: options.Model = None,
    detector: options.DetectorOption = None,
    device: options.DeviceOption = None,
    channels: options.Channels = None,
    copy_model: options.CopyModel = None,
    aligned: options.Aligned = None,
    labels: options.Labels = None,
    follow_links: options.FollowLinks = None,
    backend: options.BackendOption = None,
) -> None:
    """Say what an audit will take: pairs, bytes, hours and cost, from a short measurement on this machine.

    Nothing is kept. Hours are those of embedding and of comparing, the two parts that grow with the sets.

    **Examples**

    unveil plan --synthetic syn/ --training real.zip --control others/

    unveil plan --counts 10M,42M,1M --machine 20xc7a.48xlarge
    """
    import tempfile

    from unveil.cli.print_plan import print_plan
    from unveil.config.settings import parse_aligned, settings_from
    from unveil.demo.faces import drawn_faces
    from unveil.errors import SettingError
    from unveil.planning import known_machines, measure, parse_machine
    from unveil.planning.sample import from_counts, from_sources, parse_counts

    if (counts is None) == (synthetic is None or training is None):
        raise SettingError("an audit is planned for --synthetic and --training, or for --counts SYN,REAL[,CONTROL]")
    machines = [parse_machine(text) for text in machine or []] or list(known_machines().values())
    with tempfile.TemporaryDirectory() as folder:
        values = {
            "synthetic": synthetic or folder,
            "training": training or folder,
            "control": control,
            "out": Path(folder) / "run",
            "store": str(Path(folder) / "store"),
            "model": model or None,
            "detector": detector,
            "device": device,
            "channels": channels,
            "copy_model": copy_model,
            "aligned": None if aligned is None else parse_aligned(aligned),
            "labels": labels,
            "follow_links": follow_links,
            "backend": backend,
        }
        if counts is not None:
            numbers = parse_counts(counts)
            workload, sample = from_counts(numbers, drawn_faces, Path(folder), values)
        else:
            workload, sample = from_sources(settings_from(values))
        typer.echo("Measuring this machine for some seconds ...", err=True)
        rates = measure(*sample)
    print_plan(workload, rates, machines)
