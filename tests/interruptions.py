"""kill -9 at random moments and full disks, for an audit and each command that follows one.

    python -m tests.interruptions --kills 30 --mirror FOLDER > docs/figures/interruptions.md

Each command runs once without a disturbance. Then it is killed at a random moment and run again until it ends, and it
runs on disks that are too small and then on one that is not. Its files must be the same in the end. As root, since
small disks are mounted. `make interruptions` runs it.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import os
import platform
import random
import re
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from unveil import __version__
from unveil.demo.world import make_world
from unveil.io.atomic import is_temporary
from unveil.io.host import cores, processor
from unveil.review.verdicts import REVIEW_VERDICTS

TIMEOUT_SECONDS = 600
KILLS_IN_A_ROW = 2
# Random moments lie in the last part of a command: the first part loads libraries.
FIRST_MOMENT = 0.3
# The free space of each disk, as a share of what the command needs.
SHARES = (0.05, 0.25, 0.45, 0.65, 0.85)
# What a run records of its time and of the times of its inputs, and what depends on it.
TIMES = ("started", "finished", "seconds", "stamps", "signature")
# The only download of the table whose file the data folder holds.
FETCHED, FETCHED_FILE = "yunet", "face_detection_yunet_2023mar.onnx"
# A slow server: the bytes it sends at a time, and the pause after them. A fetch then takes two seconds.
PIECE, PAUSE_SECONDS = 2048, 0.02
# The folder of embeddings of a study.
STORE = "unveil-store"
DEATHS = (-signal.SIGKILL, -signal.SIGPROF, -signal.SIGALRM)
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
# Runs the command line, and kills it at a moment: after some seconds of CPU time, after some seconds, or before it
# changes a file for the nth time. Nothing handles these signals: they end the process at once, as kill -9 does.
PROGRAM = """
import os, signal, sys
clock, amount, count = sys.argv.pop(1), float(sys.argv.pop(1)), sys.argv.pop(1)
n = 0

def changed(event, arguments):
    global n
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    changes = writes or event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.truncate")
    if changes and "__pycache__" not in str(arguments[0]):
        n += 1
        if clock == "changes" and n >= amount > 0:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(changed)
if clock in ("cpu", "seconds") and amount:
    signal.setitimer(signal.ITIMER_PROF if clock == "cpu" else signal.ITIMER_REAL, amount)
from unveil.cli.app import main
try:
    main()
finally:
    if count:
        descriptor = os.open(count, os.O_WRONLY | os.O_TRUNC)
        os.write(descriptor, str(n).encode())
"""
Done = subprocess.CompletedProcess[str]


@dataclass(frozen=True)
class Moment:
    """When a command is killed: on which clock, and after how much of it. Never, if that is nothing."""

    clock: str = "cpu"
    amount: float = 0.0


NEVER = Moment()


class Workshop:
    """A folder in which one command runs again and again from the same start."""

    def __init__(self, folder: Path, mirror: str) -> None:
        self.here, self._start = folder / "here", folder / "start"
        self.mirror = mirror
        self.changes = 0
        # The pairs whose verdict the review has acknowledged.
        self.acknowledged: set[int] = set()
        self._count = folder / "count"
        self._count.touch()
        self._environment = {
            **os.environ,
            **{"UNVEIL_MODELS": str(self.here / "out/models"), "UNVEIL_STORE": str(self.here / "store")},
            **{"UNVEIL_KEY": str(folder / "key"), "PYTHONHASHSEED": "0", "PYTHONUNBUFFERED": "1"},
        }
        self.here.mkdir(parents=True)
        world = make_world(self.here / "world", 7, training=60, control=80, fresh=40, planted=4)
        places = {"synthetic": world.synthetic, "training": world.training, "control": world.control}
        (self.here / "study.toml").write_text(STUDY.format(**places))
        options = [word for role, place in places.items() for word in (f"--{role}", str(place))]
        audit = ["audit", *options, "-o", "run", "--aligned", "yes", "--planted-leaks", "off"]
        (self.here / "out").mkdir()
        done = self.run(audit)
        if done.returncode:
            raise RuntimeError(done.stderr)
        shutil.copytree(self.here, self._start, symlinks=True)

    def reset(self) -> None:
        """Brings the start back, under the same path."""
        self.acknowledged = set()
        for name in ("out", "run", "store"):
            if not os.path.ismount(self.here / name):
                shutil.rmtree(self.here / name, ignore_errors=True)
            shutil.copytree(self._start / name, self.here / name, dirs_exist_ok=True)

    def start(self, arguments: list[str], moment: Moment = NEVER) -> subprocess.Popen[str]:
        """Starts a command, which is killed at a moment."""
        program = [sys.executable, "-c", PROGRAM, moment.clock, str(moment.amount), str(self._count), *arguments]
        piped = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(program, cwd=self.here, env=self._environment, text=True, **piped)  # type: ignore[call-overload,no-any-return]

    def run(self, arguments: list[str], moment: Moment = NEVER) -> Done:
        """Runs a command, or kills it at a moment."""
        process = self.start(arguments, moment)
        try:
            out, err = process.communicate(timeout=TIMEOUT_SECONDS)
        finally:
            process.kill()
            process.wait()
        if process.returncode == 0:
            self.changes = int(self._count.read_text())
        return Done(arguments, process.returncode, out, err)


@dataclass(frozen=True)
class Command:
    """A command in a folder with a finished run; ``output`` is what it writes there.

    ``clocks`` are those on which it is killed, in turn.
    """

    name: str
    arguments: list[str]
    output: str
    clocks: tuple[str, ...] = ("cpu", "changes")

    def run(self, shop: Workshop, moment: Moment = NEVER) -> Done:
        """Runs the command to its end, or kills it at a moment."""
        return shop.run([shop.mirror if word == "MIRROR" else word for word in self.arguments], moment)


class Reviewed(Command):
    """`unveil review` with a reviewer who gives a verdict on every pair that has none.

    On the clock ``verdicts`` it is killed while that verdict is stored. It is an error if a verdict that was
    acknowledged is no longer there.
    """

    def run(self, shop: Workshop, moment: Moment = NEVER) -> Done:
        kill_at = int(moment.amount) if moment.clock == "verdicts" and moment.amount else None
        process = shop.start(self.arguments, NEVER)
        timers: list[threading.Timer] = []
        refusal = ""
        try:
            address = _address(process)
            if address is not None:
                status, body = _asked(address, "queue?reviewer=anna")
                answered = json.loads(body)
                refusal = answered.get("error", "")
                found = answered.get("verdicts", [0] * len(shop.acknowledged))
                lost = {i for i in shop.acknowledged if found[i] is None}
                if lost:
                    return Done(self.arguments, 1, "", f"lost the verdicts on {sorted(lost)}")
                for i in [i for i, verdict in enumerate(found) if verdict is None]:
                    if kill_at == i:
                        timers.append(threading.Timer(random.Random(i).random() * 0.02, process.kill))
                        timers[-1].start()
                    answer = {"reviewer": "anna", "index": i, "verdict": REVIEW_VERDICTS[i % len(REVIEW_VERDICTS)]}
                    status, body = _asked(address, "verdict", json.dumps(answer))
                    if status != 200:
                        refusal = str(json.loads(body)["error"])
                        break
                    shop.acknowledged.add(i)
                process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=TIMEOUT_SECONDS)
        except (OSError, http.client.HTTPException):
            out, err = process.communicate(timeout=TIMEOUT_SECONDS)
        finally:
            process.kill()
            process.wait()
            for timer in timers:
                timer.cancel()
        code = 4 if refusal and process.returncode == 0 else process.returncode
        return Done(self.arguments, code, out, err + refusal)


def _address(process: subprocess.Popen[str]) -> str | None:
    """The address that `unveil review` prints, or None if it ends before."""
    if process.stdout is None:
        raise RuntimeError("no output")
    for line in process.stdout:
        if line.strip().startswith("http://"):
            return line.strip()
    return None


def _asked(address: str, path: str, body: str | None = None) -> tuple[int, bytes]:
    """The status and the body of an answer of the review page."""
    parts = urlsplit(address)
    with closing(http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=60)) as connection:
        headers = {} if body is None else {"Content-Type": "application/json"}
        connection.request("GET" if body is None else "POST", parts.path + path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()


class SlowServer(BaseHTTPRequestHandler):
    """A mirror of models that sends a little at a time, from where it is asked to."""

    def __init__(self, folder: Path, *arguments: object) -> None:
        self._folder = folder
        super().__init__(*arguments)  # type: ignore[arg-type]

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""

    def do_GET(self) -> None:
        data = (self._folder / Path(self.path).name).read_bytes()
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        if start >= len(data):
            self.send_error(416)
            return
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        try:
            for at in range(start, len(data), PIECE):
                self.wfile.write(data[at : at + PIECE])
                time.sleep(PAUSE_SECONDS)
        except OSError:
            return  # the client was killed


# An audit that embeds its images anew.
AUDIT = [
    *("audit", "--synthetic", "world/synthetic", "--training", "world/training", "--control", "world/control"),
    *("-o", "out/run", "--store", f"out/{STORE}", "--aligned", "yes", "--planted-leaks", "off"),
]
COMMANDS = (
    Command("audit", AUDIT, "out"),
    Command("models fetch", ["models", "fetch", FETCHED, "--accept-licence", "--from", "MIRROR"], "out", ("seconds",)),
    Reviewed("review", ["review", "run"], "run", ("verdicts",)),
    Command("report", ["report", "run", "--redact"], "run"),
    Command("guard build", ["guard", "build", "run", "-o", "out/guard"], "out"),
    Command("clean", ["clean", "run", "-o", "out/clean"], "out"),
    Command("clean --copy", ["clean", "run", "-o", "out/clean", "--copy", "out/copy"], "out"),
    Command(
        "overlap --remove",
        [
            *("overlap", "world/training", "world/synthetic", "-o", "out/overlap", "--aligned", "yes"),
            *("--remove", "A", "--copy", "out/copy"),
        ],
        "out",
    ),
    Command("study", ["study", "study.toml", "-o", "out/study"], "out"),
)


def contents(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file below a folder; of JSON and of verdicts without times.

    Without temporary files in a store: they stay for a day, since another process may be writing them.
    """
    found = {}
    for file in sorted(folder.rglob("*")):
        if not file.is_file() or (is_temporary(file) and STORE in file.parts):
            continue
        data = file.read_bytes()
        if file.suffix == ".json":
            document = json.loads(data)
            data = json.dumps({k: v for k, v in document.items() if k not in TIMES}, sort_keys=True).encode()
        if file.suffix == ".sqlite":
            with closing(sqlite3.connect(file)) as verdicts:
                rows = verdicts.execute("SELECT * FROM verdicts ORDER BY id").fetchall()
                data = repr([row[:-1] for row in rows]).encode()  # the time is last
        found[file.relative_to(folder).as_posix()] = hashlib.sha256(data).hexdigest()
    return found


@dataclass(frozen=True)
class Undisturbed:
    """What a command does without a disturbance: its files, the totals of its clocks, and the space that it needs.

    ``start_kib`` is held before it starts, and ``needed_kib`` is what it needs beyond that.
    """

    files: dict[str, str]
    totals: dict[str, float]
    start_kib: int
    needed_kib: int


def measured(shop: Workshop, command: Command) -> Undisturbed:
    """Runs a command without a disturbance. Raises RuntimeError if it fails."""
    shop.reset()
    place = shop.here / command.output
    start, times = _sizes(place), _times(place)
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = command.run(shop)
    if done.returncode:
        raise RuntimeError(f"{command.name}: {done.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    totals = {"cpu": cpu, "seconds": time.monotonic() - began, "changes": float(shop.changes)}
    end = _sizes(place)
    # A file that replaces another needs its space beside it.
    largest = max(end[name] for name, at in _times(place).items() if times.get(name) != at)
    needed = max(sum(end.values()) - sum(start.values()), largest)
    totals["verdicts"] = float(len(shop.acknowledged))
    return Undisturbed(contents(place), totals, sum(start.values()), needed)


def _sizes(folder: Path) -> dict[str, int]:
    """The size of every file below a folder in KiB, in whole pages."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    return {file.relative_to(folder).as_posix(): -(-file.stat().st_size // 4096) * 4 for file in files}


def _times(folder: Path) -> dict[str, int]:
    """The time of every file below a folder, which a file keeps that is not written again."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    return {file.relative_to(folder).as_posix(): file.stat().st_mtime_ns for file in files}


def killed(shop: Workshop, command: Command, expected: Undisturbed, kills: int, seed: int) -> list[str]:
    """Kills a command that often at random moments and runs it to its end after some. Returns what went wrong."""
    wrong = []
    rng = random.Random(f"{command.name} {seed}")
    deaths = 0
    while deaths < kills:
        shop.reset()
        moments = []
        for _ in range(KILLS_IN_A_ROW):
            clock = command.clocks[deaths % len(command.clocks)]
            moment = Moment(clock, rng.uniform(FIRST_MOMENT, 1.0) * expected.totals[clock])
            done = command.run(shop, moment)
            if done.returncode in DEATHS:
                deaths += 1
                moments.append(moment)
            elif done.returncode == 0:  # it ended before the moment came
                shop.reset()
                moments = []
            elif not _complete(done):
                wrong.append(f"killed at {moments}, then {moment}: {done.stderr.strip()[-300:]}")
        done = command.run(shop)
        if done.returncode and not _complete(done):
            wrong.append(f"killed at {moments}: {done.stderr.strip()[-300:]}")
        else:
            wrong += [f"killed at {moments}: {line}" for line in _differences(shop, command, expected)]
        print(f"{command.name}: {deaths} kills, {len(wrong)} wrong", file=sys.stderr, flush=True)
    return wrong


def _complete(done: Done) -> bool:
    """Whether a command says that the one before it, which was killed, had written its copy already."""
    return done.returncode == 2 and "--copy out/copy exists already" in done.stderr


def _differences(shop: Workshop, command: Command, expected: Undisturbed) -> list[str]:
    found = contents(shop.here / command.output)
    names = sorted(n for n in {*found, *expected.files} if found.get(n) != expected.files.get(n))
    return [f"other files: {', '.join(names[:5])}"] if names else []


def on_small_disks(shop: Workshop, command: Command, expected: Undisturbed) -> tuple[int, list[str]]:
    """Runs a command on small disks, then on a large one. Returns how many were full, and what went wrong."""
    wrong = []
    full = 0
    place, saved = shop.here / command.output, shop.here / "saved"
    for share in SHARES:
        size = expected.start_kib + max(4, int(expected.needed_kib * share)) + 4 * _folders(place)
        shop.reset()
        shutil.rmtree(saved, ignore_errors=True)
        shutil.copytree(place, saved)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(place)], check=True)
        try:
            shutil.copytree(saved, place, dirs_exist_ok=True)
            done = command.run(shop)
            full += done.returncode == 4
            if done.returncode not in (0, 4):
                wrong.append(f"{size} KiB: exit code {done.returncode}: {done.stderr.strip()[-300:]}")
            elif done.returncode == 4 and "disk is full" not in done.stderr and "No space left" not in done.stderr:
                wrong.append(f"{size} KiB: the message says nothing of a full disk: {done.stderr.strip()[-300:]}")
            subprocess.run(["mount", "-o", "remount,size=1g", str(place)], check=True)
            again = command.run(shop)
            if again.returncode and not _complete(again):
                wrong.append(f"{size} KiB, then enough: exit code {again.returncode}: {again.stderr.strip()[-300:]}")
            else:
                wrong += [f"{size} KiB, then enough: {line}" for line in _differences(shop, command, expected)]
        finally:
            subprocess.run(["umount", str(place)], check=True)
    return full, wrong


def _folders(place: Path) -> int:
    return 1 + sum(path.is_dir() for path in place.rglob("*"))


def write(line: str) -> None:
    """Prints a line at once."""
    print(line, flush=True)


def main() -> int:
    """Prints the table; returns the number of commands that went wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--mirror", type=Path, help=f"a folder with {FETCHED_FILE}; without it, nothing is fetched")
    parser.add_argument("--only", action="append", help="a command; may be repeated")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    parser.add_argument("--no-disks", action="store_true", help="kills alone")
    options = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("small disks are mounted, which only root may do")
    write("# Interrupted commands and full disks\n")
    write(
        "Each command was killed at random moments, up to "
        f"{KILLS_IN_A_ROW} times in a row, and run on {len(SHARES)} disks that were too small. Each trial ended with "
        "an undisturbed run. The files of that run must be the same, byte for byte, as those of a command that was "
        "never disturbed. Times and signatures are left out, and temporary files in a store, which stay for a day.\n"
    )
    write(
        f"`python -m tests.interruptions {' '.join(sys.argv[1:])}`, unveil {__version__}, {processor()}, "
        f"{cores()} cores, {platform.system()}, Python {platform.python_version()}, {datetime.now(UTC):%d %B %Y}.\n"
    )
    write("| command | kills | clock | full disks | trials that ended with other files or a wrong message |")
    write("|---|---:|---|---:|---:|")
    failed = 0
    handler = cast("type[BaseHTTPRequestHandler]", partial(SlowServer, options.mirror))
    with tempfile.TemporaryDirectory() as work, ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        shop = Workshop(Path(work), f"http://127.0.0.1:{server.server_address[1]}")
        for command in COMMANDS:
            if command.name == "models fetch" and options.mirror is None:
                continue
            if options.only and command.name not in options.only:
                continue
            expected = measured(shop, command)
            wrong = killed(shop, command, expected, options.kills, options.seed)
            full, of_disks = (0, []) if options.no_disks else on_small_disks(shop, command, expected)
            wrong += of_disks
            failed += bool(wrong)
            write(f"| {command.name} | {options.kills} | {', '.join(command.clocks)} | {full} | {len(wrong)} |")
            for line in wrong:
                print(f"{command.name}: {line}", file=sys.stderr, flush=True)
        server.shutdown()
    return failed


if __name__ == "__main__":
    sys.exit(main() > 0)
