"""Whether the same images through every container give the same map from images to embeddings, to the last bit.

    python benchmarks/containers.py [--images 2000] > docs/figures/containers.md

Each container is embedded anew, without a store. Pictures are told by the numbers in their ids.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.containers import WRITERS, drawn_items, grid, number_in
from unveil import embed
from unveil.embedding.embed import EmbeddedSource

GRID = "grid sheets"


def by_number(found: EmbeddedSource, container: str) -> dict[int, bytes]:
    """The vector of each image; of a sheet of ten, the cells are counted."""
    vectors = np.asarray(found.embedded.vectors)
    numbers = [
        int(id[:3]) * 10 + int(id[-2:]) if container == GRID else number_in(id, container) for id in found.embedded.ids
    ]
    return {number: vector.tobytes() for number, vector in zip(numbers, vectors, strict=True)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    args = parser.parse_args()
    items = drawn_items(args.images, each=10)
    print(f"# The same {args.images:,} images through every container\n")
    print("`python benchmarks/containers.py`: drawn faces, default model; vectors compared to the last bit.\n")
    print("| container | images | people | embedded | same vectors as the folder |")
    print("|---|---|---|---|---|")
    truth: dict[int, bytes] = {}
    for name, write in {**WRITERS, GRID: grid}.items():
        with tempfile.TemporaryDirectory() as folder:
            path = write(Path(folder), items)
            found = embed(f"grid,cell=96:{path}" if name == GRID else path, aligned="yes")
            vectors = by_number(found, name)
            truth = truth or vectors
            same = sum(vectors.get(number) == vector for number, vector in truth.items())
            people = len({person for person in found.embedded.people if person is not None})
            # Where ten images do not fill the last row of a sheet, the rest is rejected as empty.
            n = found.n_images - sum(r.reason == "empty cell" for r in found.rejects)
            print(f"| {name} | {n:,} | {people:,} | {len(found.embedded):,} | {same:,} |", flush=True)


if __name__ == "__main__":
    main()
