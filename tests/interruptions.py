"""kill -9 at random moments and full disks, for each command that follows an audit.

    python -m tests.interruptions --kills 30 > docs/figures/interruptions.md

Each command runs once without a disturbance. Then it is killed at a random moment of its CPU time and run again until
it ends, and it runs on disks that are too small and then on one that is not. Its files must be the same in the end. As
root, since small disks are mounted. `make interruptions` runs it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from unveil.demo.world import make_world

TIMEOUT_SECONDS = 600
KILLS_IN_A_ROW = 2
# What a run records of its time, and what depends on it.
TIMES = ("started", "finished", "seconds", "signature")
FETCHED = "buffalo_sc"
STUDY = """
[settings]
planted_leaks = "off"
resamples = 1
aligned = "yes"
[[set]]
name = "one"
synthetic = "{synthetic}"
training = "{training}"
control = "{control}"
"""
# Runs the command line after some seconds of CPU time at most. Nothing handles SIGPROF: it ends the process at once.
PROGRAM = """
import signal, sys
seconds = float(sys.argv.pop(1))
if seconds:
    signal.setitimer(signal.ITIMER_PROF, seconds)
from unveil.cli.app import main
main()
"""


@dataclass(frozen=True)
class Command:
    """A command in a folder with a finished run; ``output`` is what it writes there."""

    name: str
    arguments: list[str]
    output: str


COMMANDS = (
    Command("clean", ["clean", "run", "-o", "out/clean"], "out"),
    Command("clean --copy", ["clean", "run", "-o", "out/clean", "--copy", "out/copy"], "out"),
    Command("guard build", ["guard", "build", "run", "-o", "out/guard"], "out"),
    Command("report", ["report", "run", "--redact"], "run"),
    Command("study", ["study", "study.toml", "-o", "out/study"], "out"),
    Command("models fetch", ["models", "fetch", FETCHED, "--from", "mirror"], "out"),
)


class Workshop:
    """A folder in which one command runs again and again from the same start."""

    def __init__(self, folder: Path, mirror: Path | None) -> None:
        self.here, self._start = folder / "here", folder / "start"
        self._environment = {
            **os.environ,
            **{"UNVEIL_MODELS": str(self.here / "out/models"), "UNVEIL_STORE": str(self.here / "store")},
            **{"UNVEIL_KEY": str(folder / "key"), "PYTHONHASHSEED": "0"},
        }
        self.here.mkdir(parents=True)
        world = make_world(self.here / "world", 7, training=60, control=80, fresh=40, planted=4)
        places = {"synthetic": world.synthetic, "training": world.training, "control": world.control}
        (self.here / "study.toml").write_text(STUDY.format(**places))
        if mirror is not None:
            (self.here / "mirror").symlink_to(mirror)
        options = [word for role, place in places.items() for word in (f"--{role}", str(place))]
        audit = ["audit", *options, "-o", "run", "--aligned", "yes", "--planted-leaks", "off"]
        (self.here / "out").mkdir()
        done = self.run(audit)
        if done.returncode:
            raise RuntimeError(done.stderr)
        shutil.copytree(self.here, self._start, symlinks=True)

    def reset(self) -> None:
        """Brings the start back, under the same path."""
        for name in ("out", "run", "store"):
            if not os.path.ismount(self.here / name):
                shutil.rmtree(self.here / name, ignore_errors=True)
            shutil.copytree(self._start / name, self.here / name, dirs_exist_ok=True)

    def run(self, arguments: list[str], cpu_seconds: float = 0.0) -> subprocess.CompletedProcess[str]:
        """Runs a command; with ``cpu_seconds``, kills it after that time."""
        return subprocess.run(
            [sys.executable, "-c", PROGRAM, str(cpu_seconds), *arguments],
            cwd=self.here,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )


def contents(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file below a folder; of JSON without times."""
    found = {}
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            data = file.read_bytes()
            if file.suffix == ".json":
                document = json.loads(data)
                data = json.dumps({k: v for k, v in document.items() if k not in TIMES}, sort_keys=True).encode()
            found[file.relative_to(folder).as_posix()] = hashlib.sha256(data).hexdigest()
    return found


def killed(shop: Workshop, command: Command, expected: dict[str, str], seconds: float, seed: int) -> str:
    """Kills a command at random moments and runs it to its end. Returns what went wrong, or nothing."""
    rng = random.Random(seed)
    shop.reset()
    deaths = 0
    for _ in range(KILLS_IN_A_ROW):
        done = shop.run(command.arguments, rng.uniform(0.3, 1.0) * seconds)
        deaths += done.returncode == -signal.SIGPROF
        if done.returncode not in (0, -signal.SIGPROF):
            return f"seed {seed}: {done.stderr.strip()[-200:]}"
        if done.returncode == 0:
            shop.reset()
    done = shop.run(command.arguments)
    if done.returncode:
        return f"seed {seed}, after {deaths} kills: {done.stderr.strip()[-200:]}"
    return "" if contents(shop.here / command.output) == expected else f"seed {seed}, after {deaths} kills: other files"


def on_small_disks(shop: Workshop, command: Command, expected: dict[str, str], sizes: list[int]) -> list[str]:
    """Runs a command on disks of these sizes in KiB, then on a large one. Returns what went wrong."""
    wrong = []
    for size in sizes:
        shop.reset()
        place = shop.here / command.output
        saved = shop.here / "saved"
        shutil.rmtree(saved, ignore_errors=True)
        shutil.copytree(place, saved)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(place)], check=True)
        try:
            try:
                shutil.copytree(saved, place, dirs_exist_ok=True)
            except (OSError, shutil.Error):
                continue  # not even the start fits
            done = shop.run(command.arguments)
            if done.returncode not in (0, 4):
                wrong.append(f"{size} KiB: exit code {done.returncode}: {done.stderr.strip()[-200:]}")
            elif done.returncode == 4 and "disk is full" not in done.stderr and "No space left" not in done.stderr:
                wrong.append(f"{size} KiB: the message says nothing of a full disk: {done.stderr.strip()[-200:]}")
            subprocess.run(["mount", "-o", "remount,size=1g", str(place)], check=True)
            again = shop.run(command.arguments)
            if again.returncode and not (command.name == "clean --copy" and done.returncode == 0):
                wrong.append(f"{size} KiB, then enough: exit code {again.returncode}: {again.stderr.strip()[-200:]}")
            elif contents(place) != expected:
                wrong.append(f"{size} KiB, then enough: other files")
        finally:
            subprocess.run(["umount", str(place)], check=True)
    return wrong


def measured(shop: Workshop, command: Command) -> tuple[dict[str, str], float, int]:
    """The files of an undisturbed run, its CPU seconds, and the KiB that its folder holds."""
    shop.reset()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = shop.run(command.arguments)
    if done.returncode:
        raise RuntimeError(f"{command.name}: {done.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    place = shop.here / command.output
    size = sum(-(-file.stat().st_size // 4096) * 4 for file in place.rglob("*") if file.is_file())
    return contents(place), after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, size


def main(write: Callable[[str], object] = print) -> int:
    """Prints the table; returns the number of commands that went wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--mirror", type=Path, help=f"a folder with the file of {FETCHED}; without it, not fetched")
    parser.add_argument("--only", help="one command")
    options = parser.parse_args()
    write("# Interrupted commands and full disks\n")
    write(
        f"Each command was killed at random moments in {options.kills} trials, up to {KILLS_IN_A_ROW} times in a row, "
        "and run on disks of five sizes that are too small. Each trial ended with an undisturbed run. Made by "
        "`make interruptions`.\n"
    )
    write("| command | trials with kills | small disks | trials that ended with the files of an undisturbed run |")
    write("|---|---:|---:|---|")
    failed = 0
    with tempfile.TemporaryDirectory() as work:
        shop = Workshop(Path(work), options.mirror)
        for command in COMMANDS:
            if (command.name == "models fetch" and options.mirror is None) or options.only not in (None, command.name):
                continue
            expected, seconds, size = measured(shop, command)
            wrong = [w for seed in range(options.kills) if (w := killed(shop, command, expected, seconds, seed))]
            sizes = [max(64, size * share // 100) for share in (20, 45, 70, 90, 98)]
            wrong += on_small_disks(shop, command, expected, sizes) if os.geteuid() == 0 else []
            failed += bool(wrong)
            disks = len(sizes) if os.geteuid() == 0 else 0
            write(f"| {command.name} | {options.kills} | {disks} | {'all' if not wrong else f'{len(wrong)} did not'} |")
            for line in wrong:
                print(f"{command.name}: {line}", file=sys.stderr)
    return failed


if __name__ == "__main__":
    sys.exit(main() > 0)
