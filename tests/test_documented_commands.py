"""The commands of README.md and docs/ run as typed, in the folder of a user who has the files that the pages name.

Pages are read in the order of the navigation, so that a later page uses the run of an earlier one. A block of output is
compared with what the command above it prints.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import chdir
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from PIL import Image
from typer._click import Context

from tests import containers
from tests.browser import CHROMIUM, PHONE, Watched, chromium
from tests.builders import drawn_faces, encoded, write
from tests.cli.runner import Done, unveil
from tests.conftest import LONGEST
from tests.models import small_model
from tools import reference
from unveil.analysis import power
from unveil.cli.app import app
from unveil.config.parsing import settings_from
from unveil.config.settings import SETTINGS
from unveil.demo.faces import face_model
from unveil.demo.world import make_world

ROOT = Path(__file__).parents[1]

# What is not run: the beginning of the command, and the reason. Commands of unveil are parsed nonetheless.
NOT_RUN = {
    "python3 -m venv": "makes an environment; `make dist` does it with the wheel",
    "pip install": "needs a package index; `make dist` does it with the wheel",
    "ray start": "starts a cluster of its own; tests/engine does it",
    "pipx run cibuildwheel": "needs containers of other systems; .github/workflows/release.yml runs it",
    "make ": "CI runs the targets, or they need other compilers or hours",
    "git clone": "needs the address of the repository",
    ".venv/bin/python -m pytest": "this is pytest",
    ".venv-fuzz/bin/python": "needs an environment with atheris; tests/images/test_containers.py is a short run",
    ".venv/bin/unveil demo": "README.md runs it",
    "unveil models fetch": "downloads; tests/cli/test_command_line.py fetches from a folder",
    "unveil audit --synthetic synthetic --training training --control control -o run-r50": "needs w600k_r50",
    "unveil audit --synthetic synthetic --training training --control control -o run-two-models": "needs w600k_r50",
    "unveil audit --synthetic s3://": "needs a cluster and a storage service; tests/engine audits on both",
    "unveil audit --synthetic hardfake_stylegan2_300px.zip": "needs FFHQ",
}
# Exit codes other than 0, as the page says.
EXIT_CODES = {
    "unveil audit --synthetic synthetic --training training --control control -o run --fail-on leak": 1,
    "unveil guard check guard new-images": 1,
}
# Commands that are run with a further option, and the reason. Their output differs from the page, which has the whole.
SMALLER = {"python examples/draw_embeddings.py hunt": ("--scale 0.02", "65 billion pairs")}
OF_SMALLER = "hunt/"
# Pages that use no run of another page; they are tested beside the others.
INDEPENDENT = {"published-sets.md", "leak-hunting.md", "study.md"}
# Pages of further audits that no other page builds on. CI leaves them out, and `make nightly` runs every page in order.
NIGHTLY = (
    "choose-a-model",
    "cluster",
    "embeddings-only",
    "no-control-set",
    "overlap",
    "pipelines",
    "protocol",
    "python",
)
AT_NIGHT = {f"{page}.md" for page in NIGHTLY}
IN_CI = "pages that build on one another"
PARTS = {
    IN_CI: lambda page: page not in INDEPENDENT | AT_NIGHT,
    "independent pages": lambda page: page in INDEPENDENT,
    "every page that is not independent": lambda page: page not in INDEPENDENT,
}
# Blocks of Python that are not run, by their beginning.
PYTHON_NOT_RUN = {
    "class MeanColour": "tests/channels/test_adding.py runs it",
    "torch.onnx.export": "needs PyTorch",
    "import fiftyone": "needs FiftyOne, which brings a database",
}


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    language: str
    text: str

    def commands(self) -> Iterator[str]:
        """The commands of a shell block, with continued lines joined and comments removed."""
        for line in re.sub(r"\\\n\s*", "", self.text).splitlines():
            if command := re.sub(r"\s+#.*", "", line).strip():
                yield command


def pages() -> list[Path]:
    """README.md, the pages of docs/ in the order of the navigation, and CONTRIBUTING.md."""
    navigation = (ROOT / "mkdocs.yml").read_text("utf-8")
    named = [ROOT / "docs" / path for path in re.findall(r"^ +- (?:.*: )?(\S+\.md)$", navigation, re.M)]
    written = [page for page in named if page.exists()]
    assert set(written) == set((ROOT / "docs").rglob("*.md"))
    return [ROOT / "README.md", *written, ROOT / "CONTRIBUTING.md"]


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text("utf-8"), re.S | re.M)
    return [Block(page, language, text) for language, text in found]


def reason_not_run(command: str) -> str | None:
    """Why a command is not run; None if it is."""
    return next((why for start, why in NOT_RUN.items() if command.startswith(start)), None)


def shell_commands() -> list[tuple[Path, str]]:
    """Each command with its page."""
    found = chain.from_iterable(blocks(page) for page in pages())
    return [(block.page, command) for block in found if block.language == "sh" for command in block.commands()]


def test_every_block_has_a_language() -> None:
    """A command in another kind of block would not be run. Formulas are indented."""
    figures = ROOT / "docs/figures"
    for page in pages():
        for block in blocks(page):
            assert block.language in {"sh", "python", "toml", "yaml", "text"}, f"{page}: {block.text}"
        # Figures are written by programs, and say by which.
        if figures not in page.parents:
            prose = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.S | re.M)
            indented = re.findall(r"(?:^|\n\n)(    \w.*)", prose)
            assert [line for line in indented if " = " not in line] == [], f"{page}: use a fenced block"


def test_every_exception_is_of_a_command() -> None:
    commands = [command for _, command in shell_commands()]
    python = [b.text for page in pages() for b in blocks(page) if b.language == "python"]
    assert [start for start in NOT_RUN if not any(c.startswith(start) for c in commands)] == []
    assert [command for command in (*EXIT_CODES, *SMALLER) if command not in commands] == []
    assert [start for start in PYTHON_NOT_RUN if not any(text.startswith(start) for text in python)] == []


def test_the_longest_test_of_ci_begins_first() -> None:
    """Its name in `LONGEST` is one that pytest gives."""
    test, part = test_commands_run_as_typed.__name__, IN_CI
    assert f"tests/{Path(__file__).name}::{test}[{part}]".startswith(LONGEST[0][0])


def test_commands_that_are_not_run_are_valid() -> None:
    """Options exist, values have their types, and the settings of an audit are accepted."""
    checked = 0
    help_page = reference.commands_page()
    examples = [(Path("--help"), line) for line in re.findall(r"^    (unveil (?!.*[A-Z]{3,}).*)$", help_page, re.M)]
    assert len(examples) >= 5
    not_run = [(page, command) for page, command in shell_commands() if reason_not_run(command) is not None]
    for page, command in [*not_run, *examples]:
        words = shlex.split(command)
        if not words[0].endswith("unveil"):
            continue
        name, context = parsed(words[1:])
        if name == "audit":
            given = {key: value for key, value in context.params.items() if value not in (None, False, [], ())}
            settings = settings_from({key: value for key, value in given.items() if key in SETTINGS})
            assert settings.out is not None, f"{page}: {command}"
        checked += 1
    assert checked >= 5


def parsed(words: list[str]) -> tuple[str, Context]:
    """The name of the command and what Click read, without running it. Unknown options and values are raised."""
    group: Any = typer.main.get_command(app)
    context = group.make_context("unveil", list(words))
    while True:
        name, command, rest = group.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(name, rest, parent=context)
        if not hasattr(command, "commands"):
            return str(name), context
        group = command


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder: drawn images under every name that the pages use."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("UNVEIL_MODELS", str(tmp_path / "models"))
    user = tmp_path / "user"
    world = make_world(user, 7, training=100, control=150, fresh=60, planted=6)
    (user / "planted.json").unlink()

    # Another control set lacks two people.
    shutil.copytree(world.control, user / "other")
    for name in ("control-0000", "control-0001"):
        shutil.rmtree(user / "other" / name)
    # An evaluation set shares ten people with the training set.
    for k in range(40):
        source = world.training / f"person-{k:04d}" if k < 10 else world.control / f"control-{k:04d}"
        shutil.copytree(source, user / "evaluation" / source.name)
    # A person of the training set asks, and a generator made images, one of them a copy.
    asks = Image.open(world.training / "person-0000/1.png")
    asks.save(user / "photo.jpg", quality=90)
    (user / "new-images").mkdir()
    for k, face in enumerate(drawn_faces(8, seed=5)):
        Image.fromarray(face).save(user / f"new-images/{k}.png")
    asks.save(user / "new-images/8.png")

    # Containers, published layouts, and a model of another author.
    items = containers.drawn_items(24)
    containers.write_records(user / "train", [containers.labelled(i.data, i.person, key=i.number) for i in items])
    containers.parquet(user, items).rename(user / "set.parquet")
    renamed_column(user / "set.parquet", "photo")
    containers.grid(user, items)
    (user / "dcface").mkdir()
    containers.dcface(user / "dcface", items)
    linked_classes(user)
    write(user / "ada.onnx", small_model())
    for page in pages():
        for block in blocks(page):
            if block.language == "toml" and "[[set]]" in block.text:
                write(user / "study.toml", block.text)
    shutil.copytree(ROOT / "examples", user / "examples")
    return user


def renamed_column(file: Path, name: str) -> None:
    """Gives the column of images another name."""
    import pyarrow.parquet as pq

    table = pq.read_table(file)
    pq.write_table(table.rename_columns([name if c == "image" else c for c in table.column_names]), file)


def linked_classes(user: Path, people: int = 40, each: int = 3) -> None:
    """`casia`, and `sface` whose class numbers are those of the training people; `map.tsv` says so."""
    import numpy as np

    model, rng = face_model(), np.random.default_rng(3)
    weights = np.repeat(model.sample(people, rng), each, axis=0)
    (user / "casia").mkdir()
    for name, faces in (("casia", weights), ("sface", model.perturb(weights, 0.5, rng))):
        drawn = [containers.Item(k, k // each, encoded(image), image) for k, image in enumerate(model.render(faces))]
        if name == "casia":
            containers.insightface(user / name, drawn)
        for item in drawn if name == "sface" else ():
            write(user / f"sface/{item.person:06d}/{item.number:06d}.png", item.data)
    write(user / "map.tsv", "".join(f"{k:06d}\t{k}\n" for k in range(people)))


def python_names() -> dict[str, Any]:
    """What the Python blocks take as given: arrays of drawn faces."""
    faces = drawn_faces(280, seed=9)
    return {
        "generated": faces[:60],
        "photographs": faces[60:170],
        "names": [f"person {k}" for k in range(110)],
        "held_out": faces[170:],
        "held_out_names": [f"other {k}" for k in range(110)],
        "images": list(faces[:6]),
    }


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "part", [pytest.param(part, marks=() if part == IN_CI else pytest.mark.nightly) for part in PARTS]
)
def test_commands_run_as_typed(folder: Path, part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "Agg")
    # Fewer leaks are planted than by default, since they take most of the time of a small audit.
    monkeypatch.setitem(power.N_PEOPLE, "full", 10)
    wrong: list[str] = []
    ran: dict[str, Done] = {}
    with chdir(folder):
        for page in (page for page in pages() if PARTS[part](page.name)):
            names: dict[str, Any] = {"unveil": sys.modules["unveil"], **python_names()}
            last: Done | None = None
            for block in blocks(page):
                where = page.relative_to(ROOT)
                if block.language == "sh":
                    for command in block.commands():
                        last = None
                        if reason_not_run(command) is not None:
                            continue
                        if command not in ran:
                            began = time.perf_counter()
                            ran[command] = run(command)
                            print(f"{time.perf_counter() - began:6.1f} s  {command}")
                            code, expected = ran[command].returncode, EXIT_CODES.get(command, 0)
                            if code != expected:
                                wrong.append(f"{where}: {command}\nexit code {code}\n{ran[command].stderr[-2000:]}")
                        last = ran[command] if OF_SMALLER not in command else None
                elif block.language == "yaml":
                    wrong += [f"{where}: {fault}" for fault in faults_of_gate(block.text)]
                elif block.language == "text" and last is not None and not same_output(block.text, last.stdout):
                    wrong.append(f"{where}: expected\n{block.text}\nfound\n{last.stdout}")
                elif block.language == "python" and not block.text.startswith(tuple(PYTHON_NOT_RUN)):
                    try:
                        exec(compile(block.text, f"{where}", "exec"), names)  # noqa: S102
                    except Exception as error:
                        wrong.append(f"{where}: {block.text}\n{error!r}")
        if CHROMIUM is not None or os.environ.get("UNVEIL_REQUIRE_BROWSER"):
            wrong += faults_of_reports()
    assert not wrong, "\n\n".join(wrong)
    assert len(ran) > (20 if "build" in part else 5)


def faults_of_reports() -> list[str]:
    """What is hard to read in the reports of these commands: every kind of audit is among them, and a study."""
    faults = []
    reports = [*Path().glob("run*/report.html"), *Path().glob("runs/study.html")]
    assert reports
    with chromium() as browser:
        for file in reports:
            watched = Watched(browser, PHONE)
            watched.page.goto(file.resolve().as_uri())
            watched.page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
            faults += [f"{file}: {fault}" for fault in (*watched.phone_faults(), *watched.violations())]
    return faults


def run(command: str) -> Done:
    """Runs a command of unveil, or an example, in the current folder."""
    option, _ = SMALLER.get(command, ("", ""))
    program, *words = shlex.split(f"{command} {option}")
    assert not re.search(r"[|&;<>$*?`]", command), f"a shell would expand this: {command}"
    if program == "unveil" and words[0] == "review":
        return reviewed(words)
    if program == "unveil":
        return unveil(*words)
    if program == "sha256sum":
        return Done(subprocess.run([program, *words], capture_output=True, timeout=10).returncode, "", "")
    assert program == "python" and words[0].startswith("examples/"), f"list the reason in NOT_RUN: {command}"
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=200)
    return Done(done.returncode, done.stdout, done.stderr)


def faults_of_gate(text: str) -> list[str]:
    """What is wrong with an example of a gate: a workflow that uses the action, or hooks of pre-commit.

    Both are run here as their program runs them; the run that they audit has a leak.
    """
    document = yaml.safe_load(text)
    faults = []
    for step in document.get("jobs", {}).get("audit", {}).get("steps", ()):
        if "unveil" in step["uses"]:
            done = action(step["with"])
            if done.returncode != 1 or "verdict=leak found\n" not in done.stdout:
                faults.append(f"the action ends with {done.returncode}: {done.stdout}{done.stderr}")
    manifest = {hook["id"]: hook for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text("utf-8"))}
    for hook in document.get("repos", [{"hooks": ()}])[0]["hooks"]:
        command = shlex.join([*manifest[hook["id"]]["entry"].split(), *hook["args"]])
        done = run(command)
        if done.returncode != 1:
            faults.append(f"{command} ends with {done.returncode}: {done.stderr}")
    return faults


def action(inputs: dict[str, str]) -> Done:
    """Runs the audit of action.yml in the current folder, with `unveil` where the action installs it.

    What it prints are the outputs and the summary of the action.
    """
    described = yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))
    unknown = set(inputs) - set(described["inputs"])
    missing = {name for name, one in described["inputs"].items() if one.get("required")} - set(inputs)
    assert not unknown and not missing, f"unknown {unknown}, missing {missing}"
    values = {name: inputs.get(name, one.get("default", "")) for name, one in described["inputs"].items()}
    (step,) = (step for step in described["runs"]["steps"] if step.get("id") == "audit")
    named = {name: re.fullmatch(r"\$\{\{ inputs\.([\w-]+) \}\}", value) for name, value in step["env"].items()}
    files = {name: Path(name).resolve() for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    installed = write(Path("runner/unveil/bin/unveil"), f'#!/bin/sh\nexec "{sys.executable}" -m unveil "$@"\n')
    installed.chmod(0o755)
    environment = {name: values[match[1]] for name, match in named.items() if match}
    assert set(environment) == set(step["env"])
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
        env={
            **os.environ,
            **environment,
            "RUNNER_TEMP": str(Path("runner").resolve()),
            **{k: str(v) for k, v in files.items()},
        },
        capture_output=True,
        text=True,
        timeout=200,
    )
    # Between these lines, GitHub takes nothing that the audit prints for a command.
    first, *_, last = done.stdout.splitlines()
    assert (
        re.fullmatch("::stop-commands::[0-9a-f]{32}", first)
        and last == f"::{first.removeprefix('::stop-commands::')}::"
    )
    token = first.removeprefix("::stop-commands::")
    outputs = re.findall(rf"(\w+)<<{token}\n(.*?)\n{token}\n", files["GITHUB_OUTPUT"].read_text("utf-8"), re.DOTALL)
    assert {name for name, _ in outputs} == {"verdict", "publish"} and len(outputs) == 2
    shown = "".join(f"{name}={value}\n" for name, value in outputs) + files["GITHUB_STEP_SUMMARY"].read_text("utf-8")
    return Done(done.returncode, shown, done.stderr)


def reviewed(words: list[str]) -> Done:
    """Serves the review page until its address answers; then Ctrl-C, as the page says."""
    with subprocess.Popen(
        [sys.executable, "-m", "unveil", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as served:
        assert served.stdout is not None and served.stderr is not None
        shown = ""
        for line in served.stdout:
            shown += line
            if line.startswith("Press Ctrl-C"):
                (address,) = re.findall(r"http://\S+", shown)
                with urllib.request.urlopen(address, timeout=30) as page:  # noqa: S310
                    assert page.status == 200
                served.send_signal(signal.SIGINT)
        return Done(served.wait(60), shown, served.stderr.read())


NUMBER = re.compile(r"\d[\d,]*\.?\d*(?:e[-+]?\d+)?")


def same_output(shown: str, printed: str) -> bool:
    """Whether both have the same words, and about the same numbers: another processor rounds otherwise."""
    if [NUMBER.sub("#", word) for word in shown.split()] != [NUMBER.sub("#", word) for word in printed.split()]:
        return False
    pairs = [(a.strip(".,%)("), b.strip(".,%)(")) for a, b in zip(shown.split(), printed.split(), strict=True)]
    whole = [(float(a.replace(",", "")), float(b.replace(",", ""))) for a, b in pairs if NUMBER.fullmatch(a)]
    return all(abs(a - b) <= max(2, 0.1 * max(a, b)) for a, b in whole)


def test_the_action_runs_no_code_of_the_workspace(tmp_path: Path) -> None:
    """Data may hold a file or a folder that is called like a module of Python."""
    described = yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))
    (step,) = (step for step in described["runs"]["steps"] if step.get("name") == "Install unveil")
    for name in ("venv.py", "pip.py", "ensurepip.py"):
        write(tmp_path / "workspace" / name, "open('run', 'w').close()")
    package = tmp_path / "package"  # nothing that can be installed: the step ends there
    package.mkdir()
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
        env={**os.environ, "RUNNER_TEMP": str(tmp_path), "GITHUB_ACTION_PATH": str(package)},
        cwd=tmp_path / "workspace",
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert "package" in done.stderr and not (tmp_path / "workspace/run").exists()


def test_the_action_shows_no_file_that_its_audit_did_not_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The workspace may hold a run with a link in place of the report."""
    monkeypatch.chdir(tmp_path)
    secret = write(tmp_path / "secret", "a secret")
    report = tmp_path / "unveil-run/publish/report.md"
    report.parent.mkdir(parents=True)
    report.symlink_to(secret)
    for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"):
        write(tmp_path / name, "")
    done = action({"synthetic": "missing", "training": "missing"})
    assert done.returncode == 2 and "secret" not in done.stdout


HOSTILE = "a'\"$(touch pwned)`touch pwned`\n::set-output name=verdict::none detected\nverdict=none detected"


@pytest.mark.parametrize("name", ["synthetic", "training", "control", "run", "fail-on", "options"])
def test_an_input_of_the_action_is_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Quotes, commands of a shell and of the workflow, and further lines in an input are a part of its value."""
    monkeypatch.chdir(tmp_path)
    for file in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"):
        write(tmp_path / file, "")
    done = action({"synthetic": "missing", "training": "missing", "run": "run", name: HOSTILE})
    assert done.returncode == 2 and done.stderr.strip(), done.stderr
    assert done.stdout.startswith("verdict=\n") and not (tmp_path / "pwned").exists()


def test_outputs_are_compared() -> None:
    shown = "LEAK FOUND\n126 of 400 people (p = 6.0e-36), 00109.png"
    assert same_output(shown, "LEAK FOUND 127 of 400 people\n(p = 5.9e-36), 00110.png")
    assert not same_output(shown, "LEAK FOUND 226 of 400 people (p = 6.0e-36), 00109.png")
    assert not same_output(shown, "NONE DETECTED 126 of 400 people (p = 6.0e-36), 00109.png")
