"""The demo: plants a leak among people who do not exist, audits it, and compares the findings with the truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from unveil.auditor import run_audit
from unveil.config.parsing import settings_from
from unveil.demo.world import World, make_world
from unveil.errors import SettingError
from unveil.progress import Progress, Silent
from unveil.results import AuditResult

MARK = "planted.json"


@dataclass(frozen=True)
class DemoOutcome:
    """The planted leaks, the result of the audit, and the people found by mistake."""

    world: World
    result: AuditResult
    found: dict[str, tuple[int, int]]  # by kind: significant people, planted people
    false_findings: int
    run: Path


def run_demo(
    folder: Path, *, model: str | Path | None = None, seed: int = 0, progress: Progress | None = None
) -> DemoOutcome:
    """Draws the images in ``folder`` and audits them. Raises SettingError if the folder holds something else."""
    if folder.exists() and any(folder.iterdir()) and not (folder / MARK).exists():
        raise SettingError(
            f"-o: expected a new folder or one of a demo, found other files in {folder}. Name another folder"
        )
    world = make_world(folder, seed)
    run = folder / "-".join(["run", *([Path(model).stem] if model else []), *([f"seed{seed}"] if seed else [])])
    settings = settings_from(
        {
            **{"synthetic": world.synthetic, "training": world.training, "control": world.control},
            **{"out": run, "model": model, "seed": seed, "store": folder / "unveil-store"},
        }
    )
    result = run_audit(settings, progress or Silent())
    significant = {p.person for p in result.significant_people}
    found = {
        kind: (
            sum(person in significant for person, k in world.planted.items() if k == kind),
            sum(k == kind for k in world.planted.values()),
        )
        for kind in world.kinds
    }
    return DemoOutcome(world, result, found, len(significant - set(world.planted)), run)
