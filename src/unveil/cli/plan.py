"""`unveil plan`: the cost of an audit before it runs, and what is decided before it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from unveil.cli.options import SettingsFile, Trusted, with_settings
from unveil.cli.terminal import echo
from unveil.config.settings import SETTINGS

# What can change the result of an audit, and what decides its speed.
PLANNED = tuple(
    name
    for name, setting in SETTINGS.items()
    if (setting.changes_result or name in ("device", "backend")) and name not in ("protocol", "deviate")
)


@with_settings(*PLANNED)
def plan(
    values: dict[str, Any],
    settings_file: SettingsFile = None,
    trusted: Trusted = False,
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
    protocol: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.json",
            help="Write what is decided before anything is seen: inputs, models, thresholds and statements. unveil "
            "audit --protocol FILE.json runs under it. Nothing is measured.",
        ),
    ] = None,
) -> None:
    """Estimate pairs, storage, hours and cost of an audit, or write its protocol.

    The estimate comes from a short measurement on this machine. The hours cover embedding and comparison, the two parts
    that grow with the datasets. Nothing is stored but the protocol.

    **Examples**

    unveil plan --synthetic synthetic --training training.zip --control control

    unveil plan --counts 10M,42M,1M --machine 20xc7a.48xlarge

    unveil plan --synthetic synthetic --training training.zip --control control --fdr 0.01 --protocol protocol.json
    """
    from unveil.config.confined import check_confined
    from unveil.config.parsing import merge, read_toml
    from unveil.errors import SettingError

    from_file = read_toml(settings_file) if settings_file is not None else {}
    if settings_file is not None and not trusted:
        check_confined(from_file, settings_file)
    values = merge(from_file, values)
    if (counts is None) == (not {"synthetic", "training"} <= set(values)):
        raise SettingError(
            "a plan needs either --synthetic and --training, or --counts SYN,REAL[,CONTROL]. Give one of the two"
        )
    if protocol is None:
        _estimate(values, counts, machine or [])
    elif counts is not None:
        raise SettingError("--protocol: expected --synthetic and --training to fix, found --counts. Give the images")
    else:
        _fix(values, protocol)


def _estimate(values: dict[str, Any], counts: str | None, machine: list[str]) -> None:
    import tempfile

    from unveil.cli.print_plan import print_plan
    from unveil.config.parsing import parse, with_defaults
    from unveil.demo.faces import drawn_faces
    from unveil.planning import known_machines, measure, parse_machine
    from unveil.planning.rates import MEASURED
    from unveil.planning.sample import from_counts, from_sources, parse_counts

    machines = [parse_machine(text) for text in machine] or list(known_machines().values())
    settings = with_defaults(parse(values))
    with tempfile.TemporaryDirectory() as folder:
        if counts is not None:
            workload, sample = from_counts(parse_counts(counts), drawn_faces(MEASURED), Path(folder), settings)
        else:
            workload, sample = from_sources(settings)
        echo("Measuring this machine for some seconds ...", error=True)
        rates = measure(sample)
    print_plan(workload, rates, machines)


def _fix(values: dict[str, Any], file: Path) -> None:
    from unveil.cli.print_plan import print_protocol
    from unveil.config.parsing import settings_from
    from unveil.images.outputs import check_output
    from unveil.planning.fixing import fix_protocol
    from unveil.planning.protocol import write_protocol

    # A plan has no run; only the options of this command count.
    settings = settings_from({**values, "out": "run", "protocol": None, "deviate": None})
    check_output("--protocol", file, None, {f"{role} images": at for role, at in settings.locations.items()})
    print_protocol(write_protocol(fix_protocol(settings), file), settings, file)
