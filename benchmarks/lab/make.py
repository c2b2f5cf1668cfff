"""Trains the generators and writes their faces, with the truth beside them.

    python -m benchmarks.lab.make --faces ../shared/data/lfw/lfw_aligned112.zip --out build/lab

A folder a family, number of people and length of training: synthetic.zip, members.txt (the people it learnt) and
facts.json. What is there already is not made again. About an hour on two cores; with --device cuda and a larger --side
and --width, as large as one likes.
"""

from __future__ import annotations

import argparse
import json
import math
import time
import zipfile
from functools import lru_cache
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from benchmarks.lab.families import FAMILIES, Setup
from benchmarks.lab.people import Faces, load
from unveil.io.atomic import replacing, write_bytes

# People each family learns: convolutions take longer to learn many.
PEOPLE = {
    "components": (100, 400, 1600),
    "pixels": (100, 400, 1600),
    "variational": (100, 400, 1600),
    "adversarial": (50, 100),
    "conditional": (50, 100),
    "latent": (100, 400),
}
# Steps after which each family is asked for faces: stopped early, and trained for as long as minutes allow.
LENGTHS = {
    "components": (500, 2000, 8000),
    "pixels": (500, 2000),
    "variational": (800, 3000),
    "adversarial": (500, 1000),
    "conditional": (500, 2000),
    "latent": (500, 2000),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--families", nargs="*", default=list(FAMILIES))
    parser.add_argument("--people", type=int, nargs="*", help="instead of those of each family")
    parser.add_argument("--longer", type=float, default=1.0, help="multiplies every length")
    parser.add_argument("--until", type=float, default=math.inf, help="stop after these steps of the same training")
    parser.add_argument("--images", type=int, default=2000, help="faces a set")
    parser.add_argument("--side", type=int, help="instead of that of each family")
    parser.add_argument("--width", type=int, default=Setup.width)
    parser.add_argument("--device", default=Setup.device)
    parser.add_argument("--seed", type=int, default=Setup.seed)
    args = parser.parse_args()
    load_once = lru_cache(maxsize=1)(load)
    for family in args.families:
        side = args.side or FAMILIES[family].side
        setup = Setup(side, args.width, device=args.device, seed=args.seed)
        faces = load_once(args.faces, side)
        lengths = tuple(round(length * args.longer) for length in LENGTHS[family])
        wanted = tuple(length for length in lengths if length <= args.until)
        for n_people in args.people or PEOPLE[family]:
            make(faces, family, n_people, lengths, args.images, setup, args.out, wanted)


def make(
    faces: Faces,
    family: str,
    n_people: int,
    lengths: tuple[int, ...],
    n: int,
    setup: Setup,
    out: Path,
    wanted: tuple[int, ...] | None = None,
) -> None:
    """One generator, and a set at each length that is ``wanted``, the first of all lengths; by default all of them."""
    wanted = lengths if wanted is None else wanted
    folders = {length: out / family / f"{n_people}-people" / f"{length}-steps" for length in wanted}
    if all((folder / "facts.json").exists() for folder in folders.values()):
        return
    learnt = faces.learnt(n_people, setup.seed)
    started = time.perf_counter()
    generator = FAMILIES[family](faces.images[learnt], faces.person[learnt], setup)
    for length, loss in islice(generator.train(lengths), len(wanted)):
        trained = time.perf_counter() - started
        images, people = generator.faces(n)
        members = [faces.names[i] for i in np.unique(faces.person[learnt])]
        facts = {
            **{"family": family, "people": n_people, "training_pictures": int(learnt.sum()), "steps": length},
            **{"pictures": n, "side": setup.side, "width": setup.width, "seed": setup.seed, "loss": round(loss, 4)},
            **{"seconds": round(trained, 1), "device": setup.device},
        }
        folder = folders[length]
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / "synthetic.zip") as file, zipfile.ZipFile(file, "w") as packed:
            for i, image in enumerate(images):
                # Whom a face was asked to be is its identity, without telling which person that is.
                name = f"{i:06d}.png" if people is None else f"identity_{people[i]:04d}/{i:06d}.png"
                packed.writestr(name, cv2.imencode(".png", image[..., ::-1])[1].tobytes())
        write_bytes(folder / "members.txt", "".join(f"{name}\n" for name in members).encode())
        write_bytes(folder / "facts.json", json.dumps(facts, indent=1).encode())
        print(facts, flush=True)


if __name__ == "__main__":
    main()
