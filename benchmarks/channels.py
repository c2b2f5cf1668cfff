"""What each channel costs: whole audits of drawn people with and without it, a process each, medians of interleaved
repetitions.

    python benchmarks/channels.py --people 1500
"""

from __future__ import annotations

import argparse
import multiprocessing
import platform
import resource
import statistics
import tempfile
import time
from pathlib import Path

import unveil
from unveil.choices import PlantedLeaks
from unveil.demo.world import make_world
from unveil.io.host import cores, processor

CHANNELS = ("face", "face,appearance")


def one(paths: list[str], out: str, channels: str, power: PlantedLeaks) -> list[float]:
    """Wall and CPU seconds of an audit, and the process's peak memory in GiB."""
    started = time.perf_counter()
    unveil.audit(*paths, out=out, store=f"{out}-store", channels=channels, planted_leaks=power, resamples=1)
    wall = time.perf_counter() - started
    used = resource.getrusage(resource.RUSAGE_SELF)
    return [wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=1500, help="of each role")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--planted-leaks", default="quick")
    args = parser.parse_args()
    print(f"{processor()}, {cores()} cores, {platform.system()}, Python {platform.python_version()}\n")
    context = multiprocessing.get_context("spawn")
    seen: dict[str, list[list[float]]] = {channels: [] for channels in CHANNELS}
    with tempfile.TemporaryDirectory() as work:
        n = args.people
        world = make_world(Path(work) / "world", 0, training=n, control=n, fresh=n)
        paths = [str(path) for path in (world.synthetic, world.training, world.control)]
        for repetition in range(args.repetitions):
            for i, channels in enumerate(CHANNELS):
                out = str(Path(work) / f"run{repetition}-{i}")
                with context.Pool(1) as process:
                    seen[channels].append(process.apply(one, (paths, out, channels, args.planted_leaks)))
    print("| channels | wall s | CPU s | peak memory, GiB | CPU to face alone |")
    print("|---|---|---|---|---|")
    medians = {
        channels: [statistics.median(run[k] for run in runs) for k in range(3)] for channels, runs in seen.items()
    }
    for channels, (wall, cpu, memory) in medians.items():
        print(f"| {channels} | {wall:.1f} | {cpu:.1f} | {memory:.2f} | {cpu / medians[CHANNELS[0]][1]:.3f} |")


if __name__ == "__main__":
    main()
