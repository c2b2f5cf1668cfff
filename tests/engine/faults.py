"""kill -9 of workers, machines and drivers at random moments over many seeds; prints a table. Run by `make faults`."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.builders import drawn_faces, encoded, write
from tests.engine.cluster import Driver, Machines, differences, machines

EVENTS = ("worker", "machine", "driver")
# Deaths a run, and about how long an undisturbed one takes.
DEATHS, SECONDS = 3, 14.0


def images(folder: Path) -> list[Path]:
    """150 synthetic images, 20 of them of the 90 training people; 80 control people."""
    faces = drawn_faces(320, 5)
    for i in range(150):
        write(folder / f"synthetic/{i:03d}.png", encoded(faces[i if i < 20 else 170 + i]))
    for i in range(90):
        write(folder / f"training/t{i:03d}/1.png", encoded(faces[i], "JPEG", quality=90))
    for i in range(80):
        write(folder / f"control/c{i:03d}/1.png", encoded(faces[90 + i]))
    return [folder / role for role in ("synthetic", "training", "control")]


def disturbed(start: Callable[[], Driver], cluster: Machines, seed: int) -> tuple[list[str], Driver]:
    """An audit to its end, with some deaths on the way; what died, and when."""
    rng = random.Random(seed)
    driver, begun, died = start(), time.monotonic(), []
    for moment in sorted(rng.uniform(0.5, SECONDS) for _ in range(DEATHS)):
        while driver.running and time.monotonic() - begun < moment:
            time.sleep(0.02)
        if not driver.running:
            break
        event = rng.choice(EVENTS)
        stage = driver.output.rpartition("STAGE ")[2].splitlines()[0] if "STAGE" in driver.output else "starting"
        if event == "worker" and not cluster.kill_worker(rng.randrange(8)):
            continue
        if event == "machine":
            cluster.kill_machine(rng.randrange(8))
        if event == "driver":
            driver.kill()
            driver = start()
        died.append(f"{event} ({stage})")
    return died, driver


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=20)
    options = parser.parse_args()
    failed = 0
    print("# A cluster whose workers, machines and drivers are killed\n")
    print("Made by `make faults`.\n")
    print("| seed | died, and what the audit was doing | retries | seconds | result |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name, machines() as cluster:
        folder = Path(name)
        sources = images(folder / "images")
        whole = Driver(sources, folder / "whole", folder / "whole-store", "local")
        if whole.wait():
            raise SystemExit(whole.output)
        for seed in range(options.seeds):
            run, store = folder / f"run{seed}", folder / f"store{seed}"
            begun = time.monotonic()
            died, driver = disturbed(partial(Driver, sources, run, store, f"ray:{cluster.address}"), cluster, seed)
            code = driver.wait(300)
            wrong = [f"exit code {code}"] if code else differences(folder / "whole", run)
            failed += bool(wrong)
            seconds, retries = time.monotonic() - begun, driver.output.count("its item is retried")
            outcome = "the same bytes" if not wrong else ", ".join(wrong)
            print(f"| {seed} | {'; '.join(died)} | {retries} | {seconds:.0f} | {outcome} |", flush=True)
            if wrong:
                print(driver.output, file=sys.stderr)
    if failed:
        raise SystemExit(f"{failed} of {options.seeds} differ")


if __name__ == "__main__":
    main()
