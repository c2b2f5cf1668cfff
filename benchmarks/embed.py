"""Speed of embedding beside its peer in the same run; medians of interleaved repetitions.

python benchmarks/embed.py --pictures 200
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

from unveil.channels import FaceChannel, Shot
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
    parser.add_argument("--repetitions", type=int, default=3)
    args = parser.parse_args()
    print(f"{processor()}, {cores()} cores, {platform.system()}, Python {platform.python_version()}\n")

    model, rng = face_model(), np.random.default_rng(0)
    channel = FaceChannel()
    faces = model.draw(model.pictures(args.pictures, rng))
    crops = np.stack([channel.crop(Shot(face, aligned=True)) for face in faces])
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

    print(f"\npeak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()
