"""What the baselines of other authors measure on drawn sets with known copies, and on sets of the lab.

    python -m benchmarks.baselines --model ../shared/data/models/w600k_mbf/w600k_mbf_dequant_fp32.onnx \\
        --faces ../shared/data/lfw/lfw_aligned112.zip --sets build/lab

Each set is audited twice: against people whom the generator learnt, and against as many whom it never saw. The control
people are others. The table goes to docs/figures/baselines.md. Without --sets, drawn sets only.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import unveil
from unveil.demo.faces import Images, Weights, face_model
from unveil.images import open_source
from unveil.report.key_numbers import table
from unveil.results import Baselines

N = 200
MAX_CONTROL = 300
COLUMNS = {
    "AuthPct": "authenticity",
    "C_T": "data_copying",
    "closer to training": "closer_to_training",
    "distance ratio": "neighbour_ratio",
    "GAN-Leaks, DCR-Diff": "gan_leaks_auc",
    "FLD gap": "likelihood_gap",
    "memorised": "memorised",
}
Generator = Callable[[Weights, np.random.Generator], Weights]


def generators() -> dict[str, Generator]:
    """What 400 synthetic images show, from the 200 people learnt."""
    model = face_model()

    def copies(n: int, noise: float) -> Generator:
        def draw(people: Weights, rng: np.random.Generator) -> Weights:
            copied = model.perturb(people[rng.integers(N, size=n)], noise, rng)
            return np.concatenate([copied, model.sample(2 * N - n, rng)])

        return draw

    return {
        "nobody who was learnt": copies(0, 1.0),
        "20 near-duplicates (noise 0.1)": copies(20, 0.1),
        "200 near-duplicates (noise 0.1)": copies(200, 0.1),
        "400 changed images (noise 1)": copies(400, 1.0),
        "400 new images of the people": lambda people, rng: model.new_images(people[rng.integers(N, size=2 * N)], rng),
    }


def drawn_sets(folder: Path) -> Iterator[tuple[str, Path, Path, Path, Path]]:
    """Name, synthetic set, people learnt, people never seen, control people."""
    model, rng = face_model(), np.random.default_rng(0)
    real = {name: model.sample(N, rng) for name in ("learnt", "unseen", "control")}
    for name, people in real.items():
        save(folder / name, model.render(people))
    for i, (name, generator) in enumerate(generators().items()):
        save(folder / f"synthetic-{i}", model.render(generator(real["learnt"], rng)))
        yield name, folder / f"synthetic-{i}", folder / "learnt", folder / "unseen", folder / "control"


def lab_sets(sets: Path, faces: Path, folder: Path) -> Iterator[tuple[str, Path, Path, Path, Path]]:
    """The same of the lab's sets; people never seen are as many as those learnt."""
    source = open_source(faces)
    for facts in sorted(sets.glob("*/*/*/facts.json")):
        members = set((facts.parent / "members.txt").read_text("utf-8").split())
        others = sorted({str(r.person) for r in source.records} - members)
        np.random.default_rng(0).shuffle(others)
        groups = {
            "learnt": members,
            "unseen": set(others[: len(members)]),
            "control": set(others[len(members) : len(members) + MAX_CONTROL]),
        }
        place = folder / "-".join(facts.parts[-4:-1])
        for record in source.records:
            for name, people in groups.items():
                if record.person in people:
                    file = place / name / str(record.person) / Path(record.id).name
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_bytes(source.read(record))
        name = ", ".join(facts.parts[-4:-1])
        yield name, facts.parent / "synthetic.zip", place / "learnt", place / "unseen", place / "control"


def save(folder: Path, images: Images) -> None:
    folder.mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{i:04d}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="dlib")
    parser.add_argument("--faces", type=Path)
    parser.add_argument("--sets", type=Path)
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        every = list(drawn_sets(folder))
        if args.sets is not None:
            every += lab_sets(args.sets, args.faces, folder)
        for i, (name, synthetic, learnt, unseen, control) in enumerate(every):
            pairs = [
                {b.channel: b for b in measured(args.model, folder / f"run-{i}-{k}", synthetic, training, control)}
                for k, training in enumerate((learnt, unseen))
            ]
            rows += [[name, channel, *shown(pairs[0][channel], pairs[1][channel])] for channel in pairs[0]]
    print(table(("set", "channel", *COLUMNS), rows))


def measured(model: str, run: Path, synthetic: Path, training: Path, control: Path) -> tuple[Baselines, ...]:
    """The baselines of one audit."""
    settings: dict[str, Any] = {"planted_leaks": "off", "resamples": 1, "aligned": "yes", "store": run.parent / "store"}
    result: unveil.Audit = unveil.audit(synthetic, training, control, out=run, model=model, **settings)
    return result.baselines


def shown(learnt: Baselines, unseen: Baselines) -> Iterator[str]:
    """Each baseline for people learnt and for people never seen."""
    for field in COLUMNS.values():
        values = getattr(learnt, field).value, getattr(unseen, field).value
        digits = 1 if field in ("data_copying", "likelihood_gap") else 2
        yield " / ".join(f"{value:.{digits}f}" for value in values)


if __name__ == "__main__":
    main()
