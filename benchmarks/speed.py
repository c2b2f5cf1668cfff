"""Speed of embedding and of comparison, each beside its peer in the same run; medians of interleaved repetitions.

python benchmarks/speed.py --pictures 200 --rows 20000
"""

from __future__ import annotations

import argparse
import platform
import resource
import statistics
import time
from collections.abc import Callable

import dlib
import numpy as np

from unveil.channels import FaceChannel
from unveil.compare import compare_all
from unveil.demo.faces import face_model
from unveil.faces import dlib_onnx
from unveil.machine import cores, processor

Timed = tuple[float, float]


def timed(work: Callable[[], object]) -> Timed:
    """Wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def interleaved(works: dict[str, Callable[[], object]], repetitions: int) -> dict[str, Timed]:
    """Median wall and CPU seconds of each, the repetitions taking turns."""
    seen: dict[str, list[Timed]] = {name: [] for name in works}
    for _ in range(repetitions):
        for name, work in works.items():
            seen[name].append(timed(work))
    return {n: (statistics.median(w for w, _ in t), statistics.median(c for _, c in t)) for n, t in seen.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--rows", type=int, default=20000)
    parser.add_argument("--repetitions", type=int, default=3)
    args = parser.parse_args()
    print(f"{processor()}, {cores()} cores, {platform.system()}, Python {platform.python_version()}\n")

    model, rng = face_model(), np.random.default_rng(0)
    channel = FaceChannel()
    faces = model.draw(model.pictures(args.pictures, rng))
    crops = np.stack([channel.crop(face, aligned=True) for face in faces])
    peer = dlib.face_recognition_model_v1(str(dlib_onnx.package_file(dlib_onnx.WEIGHTS)))
    few = list(crops[: max(1, args.pictures // 10)])
    embedding = interleaved(
        {
            "unveil, default network, one thread": lambda: [
                channel.embed(crops[i : i + 32]) for i in range(0, len(crops), 32)
            ],
            "dlib's own network, one thread": lambda: [peer.compute_face_descriptor(crop) for crop in few],
        },
        args.repetitions,
    )
    print("| embedding aligned 150-pixel chips | pictures/s | CPU s/picture | ratio to dlib |")
    print("|---|---|---|---|")
    counts = dict(zip(embedding, (len(crops), len(few)), strict=True))
    base = counts["dlib's own network, one thread"] / embedding["dlib's own network, one thread"][0]
    for name, (wall, cpu) in embedding.items():
        rate = counts[name] / wall
        print(f"| {name} | {rate:.1f} | {cpu / counts[name]:.4f} | {rate / base:.1f} |")

    x = rng.normal(size=(2, args.rows, 512)).astype(np.float32)
    x /= np.linalg.norm(x, axis=2, keepdims=True)

    def plain() -> None:
        """What one would write by hand: float32 products and the maxima of both axes; not exact in ties."""
        best = np.full(args.rows, -1.0, np.float32)
        for start in range(0, args.rows, 1024):
            block = x[0, start : start + 1024] @ x[1].T
            block.argmax(1)
            np.maximum(best, block.max(0), out=best)

    comparing = interleaved(
        {
            "reference, top-10 and top-1 of the other axis, exact": lambda: compare_all(x[0], x[1], top_k=10),
            "NumPy by hand, top-1 of both axes, float32": plain,
        },
        args.repetitions,
    )
    pairs = args.rows**2
    print(f"\n| comparing {args.rows} x {args.rows} x 512 | Gp/s | Gp/cpu-s | ratio to NumPy |")
    print("|---|---|---|---|")
    by_hand = comparing["NumPy by hand, top-1 of both axes, float32"][0]
    for name, (wall, cpu) in comparing.items():
        print(f"| {name} | {pairs / wall / 1e9:.3f} | {pairs / cpu / 1e9:.3f} | {by_hand / wall:.2f} |")
    print(f"\npeak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()
