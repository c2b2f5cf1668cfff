"""Runs of strangers with one forged value each: every command ends with an answer or with an error of this package.

Commands are called as the command line calls them, in this process. More values are tried at night.
"""

from __future__ import annotations

import contextlib
import io
import math
import random
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unveil
from tests.builders import NIGHTLY_FACTOR, PROFILE, audit, save_embeddings, unit_rows, write
from tests.conftest import made_once
from tests.runs.forging import Forger, Place, forged_arrays, forged_documents, forged_tables, nested, replaced
from unveil.cli.print_results import print_result
from unveil.demo.world import World, make_world
from unveil.errors import SettingError, StoreError, UnveilError
from unveil.mitigation import Guard, clean, cleaning, lookup
from unveil.mitigation.subject_letter import letter
from unveil.report import write_pages
from unveil.results import to_document
from unveil.review import review_summary
from unveil.review.images import ReviewImages
from unveil.review.queue import ReviewQueue
from unveil.review.server import _note
from unveil.runs.finished import FinishedRun
from unveil.study.report import row_of, write_comparison

# Of processor time, for one command on one run.
MOST_SECONDS = 20
TIMES = 1 if PROFILE == "ci" else NIGHTLY_FACTOR
Command = Callable[[Path], None]


@pytest.fixture(scope="module")
def small(shared_folder: Path) -> tuple[World, Path]:
    """A small world and its finished audit."""
    folder = shared_folder / "forging"

    def make() -> World:
        world = make_world(folder / "world", 7, training=40, control=60, fresh=30, planted=4)
        sets = (world.synthetic, world.training, world.control)
        audit(*sets, out=folder / "run", store=folder / "store", resamples=1, learned_score=True)
        return world

    return made_once(shared_folder, "forging", make), folder / "run"


@pytest.fixture(scope="module")
def without_control(shared_folder: Path) -> Path:
    """A finished audit of labelled embeddings under a protocol, without a control set."""
    folder = shared_folder / "without control"

    def make() -> Path:
        rng, n, d = np.random.default_rng(5), 120, 32
        folder.mkdir()
        people = unit_rows(rng, n, d)
        near = [people + 0.4 * unit_rows(rng, n, d) for _ in range(5)]
        images = {"training": near[:3], "synthetic": [*near[3:], near[0][:6]]}
        for role, parts in images.items():
            vectors = np.concatenate([part / np.linalg.norm(part, axis=1, keepdims=True) for part in parts])
            labels = [f"person {i}" for part in parts for i in range(len(part))]
            ids = [f"{role} {i}" for i in range(len(vectors))]
            save_embeddings(folder / f"{role}.npz", np.asarray(vectors, np.float32), ids, labels)
        sets = (folder / "synthetic.npz", folder / "training.npz")
        unveil.write_protocol(folder / "protocol.json", *sets, resamples=1, planted_leaks="off")
        made = unveil.audit(*sets, out=folder / "run", protocol=folder / "protocol.json")
        assert made.no_control is not None and made.label_link is not None
        return folder / "run"

    return made_once(shared_folder, "without control", make)


@pytest.fixture
def commands(small: tuple[World, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Command]:
    """What a user does with a run, by name. Images are named by the user; the audit of the rest is not run."""
    world, _ = small
    places = {"synthetic": str(world.synthetic), "training": str(world.training), "control": str(world.control)}
    places["store"] = str(tmp_path / "store")
    photos = [min(world.training.rglob("*.png"))]

    def not_run(*_: Any, **__: Any) -> Any:
        raise SettingError("the rest would be audited")

    monkeypatch.setattr(cleaning, "_audit_rest", not_run)

    def load(run: Path) -> None:
        loaded = unveil.load(run)
        _ = loaded.summary(), repr(loaded), loaded._repr_html_()
        for records in (loaded.people, loaded.top_pairs, loaded.hubness, loaded.baselines, loaded.input_checks):
            records.to_frame()
        with contextlib.redirect_stdout(io.StringIO()):
            print_result(loaded, run, verbose=True)

    def export(run: Path) -> None:
        loaded = unveil.load(run)
        loaded.write_scores(tmp_path / "scores.txt")
        loaded.write_roc(tmp_path / "roc.csv")

    def plots(run: Path) -> None:
        from matplotlib import pyplot

        plot = unveil.load(run).plot
        for draw in (plot.scores, plot.roc, plot.det, plot.power):
            draw().figure.canvas.draw()
            pyplot.close("all")

    def report(run: Path) -> None:
        finished = FinishedRun(run)
        result = replace(finished.result, review=review_summary(run, finished.pairs))
        write_pages(result, run, finished.sources(), redact=True)

    def study(run: Path) -> None:
        row = row_of("name", "title", to_document(FinishedRun(run).result), "report.html", [])
        write_comparison("title", [row], {}, tmp_path, redact=True)

    def review(run: Path) -> None:
        finished = FinishedRun(run, places)
        queue, images = ReviewQueue(finished.pairs, blind=True, seed=finished.seed), ReviewImages(finished)
        _ = queue.order("anna"), images.all_aligned, images.missing, _note(finished.result)
        for pair in (*queue.pairs[:2], *queue.pairs[-2:]):
            images.data(images.number("synthetic", pair.synthetic_id), face=True)
            images.neighbours(pair, blind=False)

    def cleans(run: Path) -> None:
        for threshold in ("significant", "fpr:0.1"):
            with contextlib.suppress(SettingError):
                clean(FinishedRun(run, places), tmp_path / "clean", threshold=threshold)

    def guard(run: Path) -> None:
        shutil.rmtree(tmp_path / "guard", ignore_errors=True)
        Guard.build(FinishedRun(run), tmp_path / "guard", names=True)
        Guard.open(tmp_path / "guard").check(photos)

    def ask(run: Path) -> None:
        finished = FinishedRun(run)
        letter(lookup(finished, photos), finished.result)

    return {
        **{"load": load, "export": export, "plots": plots, "report": report, "study": study, "review": review},
        **{"clean": cleans, "guard": guard, "lookup": ask},
    }


def test_a_forged_run_without_a_change_is_answered(
    small: tuple[World, Path], commands: dict[str, Command], tmp_path: Path
) -> None:
    """So that refusals below are those of the values."""
    run = Forger(small[1], tmp_path).forge()
    assert not FinishedRun(run).own
    for command in commands.values():
        command(run)


def tried(cases: Iterator[tuple[str, Callable[[], Path]]], commands: dict[str, Command], *names: str) -> int:
    """Runs some commands on each run. Returns the number of runs that were refused by one of them."""
    refused = 0
    for what, forge in cases:
        run = forge()
        errors = []
        for name in names:
            start = time.process_time()
            try:
                commands[name](run)
            except UnveilError as error:
                errors.append(error)
                assert str(error).isprintable() and len(str(error)) < 1000, what
            except Exception as error:
                raise AssertionError(f"{what}: {name} ended with {type(error).__name__}: {error}") from error
            assert time.process_time() - start < MOST_SECONDS, what
            if errors and name == "load":
                break  # no other command opens it
        refused += bool(errors)
    return refused


def test_forged_documents(small: tuple[World, Path], commands: dict[str, Command], tmp_path: Path) -> None:
    n = 25 * TIMES
    cases = forged_documents(Forger(small[1], tmp_path), random.Random(2), n)
    assert tried(cases, commands, "load", "study", "report", "review", "clean") > n / 2
    if TIMES > 1:
        cases = forged_documents(Forger(small[1], tmp_path), random.Random(3), n)
        tried(cases, commands, "load", "export", "plots", "guard", "lookup")


def test_forged_documents_without_a_control_set(
    without_control: Path, commands: dict[str, Command], tmp_path: Path
) -> None:
    n = 10 * TIMES
    cases = forged_documents(Forger(without_control, tmp_path), random.Random(6), n)
    assert tried(cases, commands, "load", "study", "report") > n / 2


FOUND: tuple[tuple[Place, Any, str], ...] = (
    (("privacy_risks", 0, "risk"), None, "expected a value in each of attack, control"),
    (("privacy_risks", 0, "assessed"), False, "expected its rates if it is assessed"),
    (("highest_individual_risk", "q"), None, "expected a value in each of control_as_close, q"),
    (("people", 0, "p_gpd"), None, "expected a value in each of p_gpd, q_gpd"),
    (("exposed_people", "n"), 0, "expected at least 1"),
    (("manifest", "settings", "fdr"), None, "expected a value, found null"),
    (("membership",), [], "expected a score"),
    (("models",), [], "expected a face model"),
    (("copy_thresholds",), None, "expected thresholds where kinds"),
    (("membership", 0, "tpr_at_fpr"), {"abc": None}, "expected a text of the form"),
    (("exposed_people", "value"), 10**400, "expected a number, found a whole number of 1329 bits"),
    (("counts", "training", "images"), -1, "expected a whole number from 0, found -1"),
    (("counts", "training", "images"), True, "expected a whole number from 0, found true"),
    (("manifest", "settings"), [], "expected a table, found a list"),
    (("headline",), nested(900), "nested too deep"),
    (("headline",), math.nan, "NaN is no number"),
)


@pytest.mark.parametrize(("place", "value", "message"), FOUND)
def test_an_error_names_the_value(
    small: tuple[World, Path], tmp_path: Path, place: Place, value: Any, message: str
) -> None:
    forger = Forger(small[1], tmp_path)
    run = forger.forge(replaced(forger.audit, place, value))
    with pytest.raises(StoreError, match=rf"audit.json is damaged \(.*{message}"):
        FinishedRun(run)


# Commands read these tables; the others are for people.
READ = ("exposures", "images", "pairs", "matches", "stores")


def test_forged_tables(small: tuple[World, Path], commands: dict[str, Command], tmp_path: Path) -> None:
    every = [case for case in forged_tables(Forger(small[1], tmp_path), small[1]) if case[0].startswith(READ)]
    random.Random(4).shuffle(every)
    names = ("review", "clean") if TIMES == 1 else ("load", "report", "review", "clean", "guard", "lookup")
    n = min(20 * TIMES, len(every))
    assert tried(islice(every, n), commands, *names) > n / 2


def test_forged_arrays(small: tuple[World, Path], commands: dict[str, Command], tmp_path: Path) -> None:
    every = list(forged_arrays(Forger(small[1], tmp_path), small[1]))
    random.Random(5).shuffle(every)
    n = min(8 * TIMES, len(every))
    assert tried(islice(every, n), commands, "review", "lookup", "guard") > n / 2


@pytest.mark.parametrize("name", ["stores/training.npy", "stores/state.npz", "images.parquet", "audit.json"])
def test_an_empty_file_in_a_run_is_an_error(
    small: tuple[World, Path], commands: dict[str, Command], tmp_path: Path, name: str
) -> None:
    run = Forger(small[1], tmp_path).forge(part=lambda run: write(run / name, b""))
    if name == "audit.json":
        write(run / name, b"")
    with pytest.raises(StoreError, match=f"{name} is damaged"):
        commands["lookup" if name.startswith("stores") else "clean"](run)


def test_an_image_that_is_in_no_set_is_an_error(
    small: tuple[World, Path], commands: dict[str, Command], tmp_path: Path
) -> None:
    cases = dict(forged_tables(Forger(small[1], tmp_path), small[1]))
    for table, column, command in (("images", "id", "clean"), ("pairs", "real_id", "review")):
        with pytest.raises(StoreError, match=rf'{column}: expected \w+ images, found "abc"'):
            commands[command](cases[f"{table}.parquet: {column} texts"]())
