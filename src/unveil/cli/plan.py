"""`unveil plan`: the cost of an audit before it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from unveil.cli.options import with_settings
from unveil.cli.terminal import echo


@with_settings(
    *("synthetic", "training", "control", "model", "detector", "channels", "copy_model", "aligned", "labels"),
    *("follow_links", "device", "backend"),
)
def plan(
    values: dict[str, Any],
    counts: Annotated[
        str | None,
        typer.Option(
            metavar="SYN,REAL[,CONTROL]",
            help="Numbers of images instead of paths: 10M,42M or 500k,500k,100k. Drawn faces are measured.",
        ),
    ] = None,
    machine: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[Nx]NAME[=CORES][@PRICE]",
            help="Machines to plan for, for example 20xours=64@2.5; repeatable. (default: some machines for rent)",
        ),
    ] = None,
) -> None:
    """Estimate pairs, storage, hours and cost of an audit from a short measurement on this machine.

    Nothing is stored. The hours cover embedding and comparison, the two parts that grow with the datasets.

    **Examples**

    unveil plan --synthetic syn/ --training real.zip --control others/

    unveil plan --counts 10M,42M,1M --machine 20xc7a.48xlarge
    """
    import tempfile

    from unveil.cli.print_plan import print_plan
    from unveil.config.parsing import parse, with_defaults
    from unveil.demo.faces import drawn_faces
    from unveil.errors import SettingError
    from unveil.planning import known_machines, measure, parse_machine
    from unveil.planning.rates import MEASURED
    from unveil.planning.sample import from_counts, from_sources, parse_counts

    if (counts is None) == (not {"synthetic", "training"} <= set(values)):
        raise SettingError(
            "a plan needs either --synthetic and --training, or --counts SYN,REAL[,CONTROL]. Give one of the two"
        )
    machines = [parse_machine(text) for text in machine or []] or list(known_machines().values())
    settings = with_defaults(parse(values))
    with tempfile.TemporaryDirectory() as folder:
        if counts is not None:
            workload, sample = from_counts(parse_counts(counts), drawn_faces(MEASURED), Path(folder), settings)
        else:
            workload, sample = from_sources(settings)
        echo("Measuring this machine for some seconds ...", error=True)
        rates = measure(sample)
    print_plan(workload, rates, machines)
