"""What `unveil plan` prints, and that an audit then makes the planned comparisons."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.whole import measured, write_sets
from tests.cli.runner import Done, unveil
from tests.conftest import Unplanted
from unveil.cli.print_plan import core_seconds
from unveil.demo.world import World
from unveil.errors import SettingError
from unveil.planning import Machines, Rates, expected_units, known_machines, parse_machine, rates
from unveil.planning.sample import parse_counts
from unveil.planning.workload import Workload, planted_images
from unveil.planting import PERTURBATIONS, QUICK
from unveil.types import Role


@pytest.fixture
def short_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measures this machine on few images and vectors: how fast it is, is not the point."""
    for name, size in {"SAMPLE": 16, "WARM": 8, "MEASURED": 24, "QUERIES": 256, "GALLERY": 512}.items():
        monkeypatch.setattr(rates, name, size)


def plan(*arguments: str | Path) -> Done:
    return unveil("plan", *arguments)


def test_an_audit_compares_what_was_planned(unplanted: Unplanted) -> None:
    result, _, started = unplanted
    images = {role: n.embedded for role, n in result.counts.items()}
    people = result.counts["training"].people + result.counts["control"].people
    workload = Workload(images, people, {"face": 128, "appearance": 768}, 10)
    by_name = {planned.comparison.name: planned.pairs for planned in workload.comparisons}
    # What near-duplicates and other hub corrections change depends on the images.
    started = {n: pairs for n, pairs in started.items() if "after near-duplicates" not in n and " alone by " not in n}
    for name, pairs in started.items():
        # Control people who are in the training set leave before the comparison; a plan cannot know them.
        assert 0.95 * by_name[name] <= pairs <= by_name[name], name
    assert set(started) == {
        c.comparison.name
        for c in workload.comparisons
        if c.comparison.shows_progress and not (c.comparison.unless_leak and result.verdict == "leak found")
    }
    assert workload.store_bytes == sum(images.values()) * (128 + 768) * 4


@pytest.mark.usefixtures("short_measurement")
def test_a_plan_for_existing_images(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = plan("--synthetic", world.synthetic, "--training", world.training, "--control", world.control)
    assert done.returncode == 0, done.stderr
    n = len(list(world.synthetic.rglob("*.*")))
    assert f"planting   {100 * len(PERTURBATIONS):>14,} changed images" in done.stdout
    assert f"synthetic  {n:>14,} images" in done.stdout and "hub-corrected" in done.stdout
    assert all(name in done.stdout for name in ("this machine", *known_machines())) and "$" in done.stdout
    assert not list(tmp_path.iterdir()), "a plan writes nothing"


@pytest.mark.usefixtures("short_measurement")
def test_a_plan_for_numbers_of_images() -> None:
    done = plan("--counts", "10M,42M,1M", "--machine", "20xc7a.48xlarge", "--machine", "ours=64@2")
    assert done.returncode == 0, done.stderr
    assert "10,000,000 images" in done.stdout and "4.2e+14 synthetic with training" in done.stdout
    assert "20 x c7a.48xlarge" in done.stdout and "3,840" in done.stdout and "days" in done.stdout
    for wrong in (["--counts", "5"], ["--counts", "0,5"], ["--counts", "a,b"], [], ["--synthetic", "x"]):
        refused = plan(*wrong)
        assert refused.returncode == 2 and "Traceback" not in refused.stderr and "--counts" in refused.stderr


def test_planted_images_take_time() -> None:
    sizes: dict[Role, int] = {"synthetic": 1000, "training": 500, "control": 60}
    with_plants = Workload(sizes, 560, {"face": 128}, 10, planted=planted_images("full", 60))
    assert with_plants.planted == 60 * len(PERTURBATIONS) and planted_images("quick", 60) == 40 * len(QUICK)
    assert planted_images("off", 60) == planted_images("full", 0) == 0
    assert expected_units(with_plants, {})["images"] == 1560 + with_plants.planted
    embedding, _ = core_seconds(with_plants, Rates(10.0, 0.0, {"face": 1e9}, 1.0, "drawn"))
    assert embedding == pytest.approx((1560 + with_plants.planted) / 10)
    assert with_plants.store_bytes == 1560 * 128 * 4  # they are not stored


@pytest.mark.nightly
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="own memory is read from /proc")
def test_an_audit_takes_the_planned_memory_and_disk(tmp_path: Path) -> None:
    """What more images take is planned within a third; the whole is no more than planned. The run is within a fifth."""
    own, planned = [], []
    for n in (10_000, 160_000):
        sizes: dict[Role, int] = {"synthetic": n, "training": 600, "control": 600}
        folder = tmp_path / str(n)
        folder.mkdir()
        write_sets(folder, {str(role): size for role, size in sizes.items()}, 8)
        places = [word for role in sizes for word in (f"--{role}", f"embeddings:{folder / role}.npy")]
        command = [sys.executable, "-m", "unveil", "audit", *places, "-o", str(tmp_path / f"run {n}")]
        own.append(measured(command, tmp_path / "messages.txt").own * 2**20)
        workload = Workload(sizes, 120, {"face": 8}, 10, n // 10)
        planned.append(workload.driver_bytes)
        written = sum(file.stat().st_size for file in (tmp_path / f"run {n}").rglob("*") if file.is_file())
        assert workload.run_bytes == pytest.approx(written, rel=0.2)
        assert own[-1] <= planned[-1]
    assert own[1] - own[0] == pytest.approx(planned[1] - planned[0], rel=0.35)


def test_machines() -> None:
    assert parse_machine("20xours=64@2.5") == Machines("ours", 20, 64, 2.5)
    assert parse_machine("c7a.4xlarge") == known_machines()["c7a.4xlarge"]
    assert parse_machine("3xc7a.4xlarge@1").price == 1.0
    two = Machines("m", 2, 8, 3.0)
    assert two.hours(16 * 3600 * 0.9) == pytest.approx(1) and two.cost(1.0) == 6.0
    assert Machines("one", 1, 1).hours(3600) == 1 and Machines("one", 1, 1).cost(1) is None
    for wrong in ("unknown", "=3", "x=0", "0xm=4", "a=b", "m=4@x"):
        with pytest.raises(SettingError, match="--machine"):
            parse_machine(wrong)
    assert parse_counts("1.5k,2M,3") == {"synthetic": 1500, "training": 2_000_000, "control": 3}
