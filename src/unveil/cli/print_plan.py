"""What `unveil plan` prints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from unveil.cli.terminal import open_console
from unveil.config.record import command_of
from unveil.config.settings import Settings
from unveil.io.host import cores, processor
from unveil.planning import Machines, Rates, Workload
from unveil.planning.protocol import Protocol

MAX_COMPARISONS = 16


def print_plan(workload: Workload, rates: Rates, machines: Sequence[Machines]) -> None:
    """Images, pairs and storage; the measurement; hours and cost for each machine."""
    console = open_console()
    console.print()
    for role, n in workload.images.items():
        console.print(f"{role:<10} {n:>14,} images", markup=False)
    channels = ", ".join(f"{name} ({n})" for name, n in workload.dimensions.items())
    console.print(f"{'embedding':<10} {workload.n_images:>14,} images in {channels} dimensions", markup=False)
    if workload.planted:
        planted = f"{'planting':<10} {workload.planted:>14,} changed images of control people (--planted-leaks)"
        console.print(planted, markup=False)
    console.print(f"{'comparing':<10} {workload.pairs:>14,.3g} pairs, all exactly:", markup=False)
    for one in sorted(workload.comparisons, key=lambda c: -c.pairs)[:MAX_COMPARISONS]:
        sizes = f"{one.queries:,} x {one.gallery:,}" + (
            ", unless a leak is found" if one.comparison.unless_leak else ""
        )
        console.print(f"           {one.pairs:>14,.3g} {one.comparison.name}, {sizes}", markup=False)
    console.print()
    for name, size, meaning in (
        ("store", workload.store_bytes, "embeddings, for the next audit too"),
        ("run", workload.run_bytes, "a copy of the vectors, tables, report"),
        ("read", workload.n_images * rates.image_bytes, "of images, once"),
        ("memory", workload.driver_bytes, "of the process that starts the audit; vectors are memory-mapped"),
    ):
        console.print(f"{name:<10} {_bytes(size):>14}  {meaning}", markup=False)
    console.print()
    pairs = ", ".join(f"{rate / 1e9:.2f} Gp/s {name}" for name, rate in rates.pairs.items())
    console.print(
        f"Measured in {rates.seconds:.0f} s on {processor()}, {cores()} cores. One core embeds {rates.images:.0f} "
        f"images/s ({rates.images_from}) and compares {pairs}.",
        markup=False,
    )
    table = Table(box=None, pad_edge=False)
    for name in ("machine", "cores", "embedding", "comparing", "together", "cost"):
        table.add_column(name, justify="left" if name == "machine" else "right")
    embedding, comparing = core_seconds(workload, rates)
    for these in (Machines("this machine", 1, cores()), *machines):
        hours = these.hours(embedding + comparing)
        cost = these.cost(hours)
        table.add_row(
            these.title,
            f"{these.all_cores:,}",
            *(_time(these.hours(part)) for part in (embedding, comparing)),
            _time(hours),
            "" if cost is None else f"${cost:,.0f}" if cost >= 10 else f"${cost:.2f}",
        )
    console.print()
    console.print(table)
    console.print(
        "\nEvery core is assumed as fast as one here, with 90% efficiency on several. Reading over a network "
        "is not included. Prices are list prices of mid-2025. Set yours with --machine NAME=CORES@PRICE.",
        markup=False,
    )


def print_protocol(protocol: Protocol, settings: Settings, file: Path) -> None:
    """What was decided, the hash of the file, and the command that audits under it."""
    console = open_console()
    console.print()
    for role, fixed in protocol.inputs.items():
        how = "numbers, names and labels only; their content is not fixed"
        how = how if fixed.content_sha256 is None else "names, labels and content"
        labels = f" with {fixed.labels:,} labels" if fixed.labels else ", no labels"
        console.print(f"{role:<10} {fixed.images:,} images{labels}: {how}", markup=False)
    models = " and ".join(model.shown for model in protocol.models)
    console.print(f"{'models':<10} {models}; detector {protocol.detector.name}", markup=False)
    values = protocol.settings
    shown = f"FDR {values['fdr']:g}, level {values['global_level']:g}, channels {', '.join(values['channels'])}"
    console.print(f"{'settings':<10} {shown}, seed {values['seed']}", markup=False)
    console.print(f"{'statements':<10} {', '.join(one.statement for one in protocol.statements)}", markup=False)
    console.print()
    console.print(f"Protocol: {file}, made {protocol.made} by the clock of this machine.", markup=False)
    console.print(f"SHA-256:  {protocol.sha256}", markup=False)
    console.print(
        "The hash proves that the protocol came first only if you publish it, or have it time-stamped, before the "
        "audit.",
        markup=False,
    )
    command = command_of({**settings.facts(), "protocol": str(file)})
    console.print("\nnext:", style="bold")
    console.print(f"  {command}", markup=False)


def core_seconds(workload: Workload, rates: Rates) -> tuple[float, float]:
    """Core seconds of embedding, planted images included, and of the comparison."""
    slowest = min(rates.pairs.values())
    comparing = 0.0
    for one in workload.comparisons:
        comparing += one.pairs / rates.pairs.get(one.comparison.channel, slowest)
    return (workload.n_images + workload.planted) / rates.images, comparing


def _bytes(n: float) -> str:
    for size, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if n >= size:
            return f"{n / size:,.1f} {unit}"
    return f"{n / 1e3:,.0f} kB"


def _time(hours: float) -> str:
    if hours >= 48:
        return f"{hours / 24:,.1f} days"
    if hours >= 1:
        return f"{hours:.1f} h"
    return f"{hours * 60:.0f} min" if hours * 60 >= 1 else f"{hours * 3600:.0f} s"
