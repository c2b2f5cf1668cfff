"""Small sets with known leaks: 250 training and 250 control people of LFW, 300 StyleGAN2 faces, 34 planted leaks.

    python benchmarks/small_sets.py --data ../shared/data --vectors build/small_sets > docs/figures/small_sets.md

Each split draws the people anew. Planted are 8 exact copies, 8 blurred, 6 mirrored and 6 rotated and faded copies, and
another photograph of 6 people. A false finding is a training person who was not planted. With ``--without-leaks N`` the
same sets are audited N times without planted leaks: the share of `leak found` is the share of false alarms.

With ``--vectors DIR``, the embeddings of each split are kept there, and its analysis is run on them: the matches, the
near-duplicates and the tests of an audit with all its defaults. Input checks, exact copies as a fact and what follows
the findings are left out.
"""

from __future__ import annotations

import argparse
import io
import pickle
import random
import shlex
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

import unveil
from unveil.analysis.comparisons import Comparisons
from unveil.analysis.findings import Findings
from unveil.auditor import analyse
from unveil.compare import open_backend
from unveil.config.channels import channel_config
from unveil.config.parsing import settings_from
from unveil.embedding.embed import decide_alignment
from unveil.embedding.embedder import AuditEmbedder
from unveil.embedding.images import ImageReader
from unveil.images import Source, open_source
from unveil.io.run_directory import RunDirectory
from unveil.progress import Silent
from unveil.types import ROLES, Embedded, Role

PEOPLE, SYNTHETIC, IMAGES_EACH = 250, 300, 3
EXACT, BLURRED, MIRRORED, ROTATED, OTHER = 8, 8, 6, 6, 6
PLANTED = EXACT + BLURRED + MIRRORED + ROTATED + OTHER
# FFHQ framing to the 112-pixel template: the mean of 60 detections, as parts of width and height.
FRAME = (0.116, 0.115, 0.886, 0.884)
MODELS = {"default": None, "w600k_mbf": "models/w600k_mbf/w600k_mbf_dequant_fp32.onnx"}


@dataclass(frozen=True)
class Outcome:
    """What one audit found: its verdict, planted people who are significant, and others."""

    verdict: str
    found: int
    false: int

    @property
    def false_share(self) -> float:
        """The false discovery proportion; 0 without findings."""
        return self.false / max(1, self.found + self.false)


class Faces:
    """LFW and StyleGAN2 images, by person and by name."""

    def __init__(self, data: Path) -> None:
        self.real = open_source(data / "lfw/lfw_aligned112.zip")
        self.made = open_source(data / "stylegan2/hardfake_stylegan2_300px.zip")
        self.by_person: dict[str, list[str]] = defaultdict(list)
        self._records = {r.id: r for s in (self.real, self.made) for r in s.records}
        for record in sorted(self.real.records, key=lambda r: r.id):
            self.by_person[str(record.person)].append(record.id)

    def data(self, source: Source, id: str) -> bytes:
        """The bytes of an image."""
        return source.read(self._records[id])

    def picture(self, source: Source, id: str) -> Image.Image:
        """A decoded image."""
        return Image.open(io.BytesIO(self.data(source, id))).convert("RGB")


def write_split(faces: Faces, split: int, folder: Path, *, leaks: bool) -> set[str]:
    """Writes the three sets of a split; returns the planted people."""
    rng = random.Random(split)  # noqa: S311
    everyone = sorted(faces.by_person)
    rng.shuffle(everyone)
    training, control = everyone[:PEOPLE], everyone[PEOPLE : 2 * PEOPLE]
    for role, people in (("training", training), ("control", control)):
        for person in people:
            for id in faces.by_person[person][:IMAGES_EACH]:
                target = folder / role / id
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(faces.data(faces.real, id))
    synthetic = folder / "synthetic"
    synthetic.mkdir(parents=True)
    for i, id in enumerate(rng.sample(sorted(r.id for r in faces.made.records), SYNTHETIC)):
        image = faces.picture(faces.made, id)
        left, top, right, bottom = FRAME
        box = (left * image.width, top * image.height, right * image.width, bottom * image.height)
        image.resize((112, 112), Image.Resampling.BICUBIC, box=box).save(synthetic / f"s{i:04d}.png")
    if not leaks:
        return set()
    several = [p for p in training if len(faces.by_person[p]) > IMAGES_EACH]
    rng.shuffle(several)
    others = [p for p in training if p not in several[:OTHER]]
    rng.shuffle(others)
    for i, person in enumerate(others[: PLANTED - OTHER]):
        first = faces.by_person[person][0]
        if i < EXACT:
            (synthetic / f"p{i:04d}.jpg").write_bytes(faces.data(faces.real, first))
            continue
        image = faces.picture(faces.real, first)
        if i < EXACT + BLURRED:
            image = image.filter(ImageFilter.GaussianBlur(1.5))
        elif i < EXACT + BLURRED + MIRRORED:
            image = ImageOps.mirror(image)
        else:
            image = ImageEnhance.Color(image.rotate(6, Image.Resampling.BICUBIC)).enhance(0.6)
        image.save(synthetic / f"p{i:04d}.png")
    for i, person in enumerate(several[:OTHER]):
        faces.picture(faces.real, faces.by_person[person][IMAGES_EACH]).save(synthetic / f"q{i:04d}.png")
    return {*others[: PLANTED - OTHER], *several[:OTHER]}


@dataclass(frozen=True)
class Runner:
    """Audits splits of the data, in full or on kept vectors."""

    data: Path
    store: Path
    vectors: Path | None
    workers: int

    def outcomes(self, splits: Sequence[int], model: str, *, leaks: bool) -> list[Outcome]:
        """One outcome for each split, computed by several processes."""
        n = len(splits)
        with ProcessPoolExecutor(self.workers) as pool:
            return list(pool.map(self.outcome, splits, [model] * n, [leaks] * n))

    def outcome(self, split: int, model: str, leaks: bool) -> Outcome:
        """One audit of one split."""
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            planted = write_split(open_faces(self.data), split, folder, leaks=leaks)
            settings: dict[str, Any] = {"store": self.store, "aligned": "yes", "planted_leaks": "off", "resamples": 1}
            file = MODELS[model]
            if file is not None:
                settings["model"] = str(self.data / file)
            settings |= {role: folder / role for role in ROLES} | {"out": folder / "run"}
            result: Findings | unveil.Audit
            if self.vectors is None:
                result = unveil.audit(**settings)
            else:
                result = findings(settings, self.vectors / f"{model}_{split:04d}.pkl")
        significant = {p.person for p in result.significant_people}
        print(f"{split}: {result.verdict}, {len(significant & planted)} found", file=sys.stderr, flush=True)
        return Outcome(result.verdict, len(significant & planted), len(significant - planted))


@lru_cache(maxsize=1)
def open_faces(data: Path) -> Faces:
    """The images, opened once in each process."""
    return Faces(data)


def findings(values: dict[str, Any], vectors: Path) -> Findings:
    """The findings of an audit with these settings, on the embeddings in a file, which is made where it is missing."""
    settings = settings_from(values | {"workers": 1})
    sources: dict[Role, Source] = {role: open_source(values[role]) for role in ROLES}
    embedder = AuditEmbedder(channel_config(settings), sources, store=settings.store_place, workers=1)
    run = RunDirectory(settings.out, settings.facts())
    if not vectors.exists():
        run.begin()
        made = embedder.embed_roles(sources, run, settings.random("networks"), aligned=settings.aligned)
        vectors.parent.mkdir(parents=True, exist_ok=True)
        vectors.write_bytes(pickle.dumps({role: in_memory(made[role].embedded) for role in ROLES}))
    sets = pickle.loads(vectors.read_bytes())  # noqa: S301
    images = {
        role: ImageReader(source, sets[role].distinct, embedder.preprocessor(decide_alignment(source, "yes")))
        for role, source in sources.items()
    }
    synthetic, training, control = (images["synthetic"].embedded, sets["training"], sets["control"])
    compare = Comparisons(run, open_backend(settings.backend, 1), Silent(), settings.top_k, settings.top_pairs)
    return analyse(settings, synthetic, training, control, [], compare, {}, images=images)


def in_memory(images: Embedded) -> Embedded:
    """The same without files."""
    views = tuple(replace(view, vectors=np.array(view.vectors)) for view in images.views)
    return replace(images, vectors=np.array(images.vectors), views=views)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="number of the first split, which is its seed")
    parser.add_argument("--without-leaks", type=int, default=40, metavar="N")
    parser.add_argument("--store", type=Path, help="keep embeddings here, so that the next run makes none")
    parser.add_argument("--vectors", type=Path, help="keep vectors here, and audit them up to the findings")
    parser.add_argument("--workers", type=int, default=1, help="processes, each of which audits a split at a time")
    args = parser.parse_args()
    what = "Whole audits" if args.vectors is None else "Analyses of kept embeddings, without input checks,"
    print(
        f"# Small sets{', other splits' if args.first else ''}\n\nVersion {unveil.__version__}. {what} of {PEOPLE} "
        f"training people, of whom {PLANTED} leak, "
        f"{PEOPLE} control people of LFW and {SYNTHETIC} StyleGAN2 faces. False: people reported who were not planted. "
        f"Command:\n\n    python {shlex.join(sys.argv)}\n"
    )
    print(f"| model | splits | found of {PLANTED}, mean | least | most | false, mean | false discovery proportion |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        runner = Runner(args.data, args.store or Path(name), args.vectors, args.workers)
        for model in MODELS:
            splits = range(args.first, args.first + args.splits)
            outcomes = runner.outcomes(splits, model, leaks=True)
            found, shares = [o.found for o in outcomes], [o.false_share for o in outcomes]
            error = np.std(shares, ddof=1) / np.sqrt(len(shares)) if len(shares) > 1 else float("nan")
            print(
                f"| {model} | {splits[0]} to {splits[-1]} | {np.mean(found):.1f} | {min(found)} | {max(found)} | "
                f"{np.mean([o.false for o in outcomes]):.2f} | {np.mean(shares):.3f} (standard error {error:.3f}) |",
                flush=True,
            )
        if args.without_leaks:
            first = 1000 + args.first
            without = runner.outcomes(range(first, first + args.without_leaks), "default", leaks=False)
            quiet, reported = [outcome.verdict for outcome in without], sum(outcome.false for outcome in without)
            unclear = "" if args.vectors else f", `inconclusive` in {quiet.count('inconclusive')}"
            print(
                f"\nWithout planted leaks (default model): `leak found` in {quiet.count('leak found')} of {len(quiet)} "
                f"splits{unclear}; {reported} people reported."
            )


if __name__ == "__main__":
    main()
