"""How close different pictures come to the rule of a near-identical copy, and how often a pair is improbable by chance.

    python -m benchmarks.copies --data ../shared/data > docs/figures/copies.md

All pairs of pictures of different people are ordered by a coarse correlation; the closest are measured as an audit
measures them. Then come audits without a control set, of an honest set and of one with an image that is nearly a
training image: how many have an improbable pair, with the fitted tail alone and as it is now.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from unveil.analysis.searches import IMPROBABLE
from unveil.channels.similarity import ImageDescriptor, correlation, describe_image, hash_distance
from unveil.demo.faces import face_model
from unveil.embedding.embed import embed
from unveil.faces.align import ImageArray
from unveil.images import LabelRule, decode_rgb, open_source
from unveil.stats.leak_kinds import SAME_BITS, SAME_CORRELATION
from unveil.stats.no_control import CLUMP, far_beyond, search_p
from unveil.stats.tail import fit_tail
from unveil.types import Floats, Vectors

SIDE = 24  # pixels of the first, coarse look
CLOSEST = 1000  # pairs that are measured
AUDITS = 60
COPY_NOISE = 0.25  # length of the noise of a near copy: cosine about .97


@dataclass(frozen=True)
class Faces:
    """Face crops (N, 112, 112, 3) and who is on them."""

    name: str
    pixels: list[ImageArray]
    people: list[str]


def crops(name: str, place: Path, *, whole: bool) -> Faces:
    """The face crops of a set; of pictures that are not ``whole`` faces the middle."""
    source = open_source(place, LabelRule.parse("folder" if whole else "none"))
    pixels = []
    for record in source.records:
        image = decode_rgb(source.read(record))
        if not whole:
            height, width = image.shape[:2]
            image = image[height // 5 : height * 17 // 20, width // 5 : width * 4 // 5]
        pixels.append(np.asarray(cv2.resize(image, (112, 112), interpolation=cv2.INTER_AREA), np.uint8))
    return Faces(name, pixels, [str(r.person) if whole else f"{name} {r.id}" for r in source.records])


def drawn(n: int) -> Faces:
    """Faces of the demo, each of another person."""
    model, rng = face_model(), np.random.default_rng(11)
    pixels = [face for _ in range(n // 100) for face in model.render(model.sample(100, rng))]
    return Faces("drawn faces of the demo", [cv2.resize(p, (112, 112)) for p in pixels], [str(i) for i in range(n)])


def coarse(pixels: list[ImageArray]) -> Vectors:
    """Unit vectors (N, SIDE * SIDE) of coarse grey levels, of which a product is a correlation."""
    small = [
        cv2.resize(cv2.cvtColor(p, cv2.COLOR_RGB2GRAY), (SIDE, SIDE), interpolation=cv2.INTER_AREA) for p in pixels
    ]
    vectors = np.array(small, np.float32).reshape(len(small), -1)
    vectors -= vectors.mean(axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6), np.float32)


def closest_pictures(a: Faces, b: Faces) -> str:
    """A row: the pairs of different people, and how close the closest come to the rule."""
    first, second = coarse(a.pixels), coarse(b.pixels)
    mirrored = coarse([np.ascontiguousarray(p[:, ::-1]) for p in a.pixels])
    alike = np.maximum(first @ second.T, mirrored @ second.T)
    codes = {person: i for i, person in enumerate({*a.people, *b.people})}
    person_a, person_b = (np.array([codes[p] for p in faces.people]) for faces in (a, b))
    alike[person_a[:, None] == person_b[None, :]] = -1
    if a is b:
        alike[np.tril_indices(len(alike))] = -1
    n_pairs = int((alike > -1).sum())
    rows = np.argpartition(-alike, CLOSEST, axis=None)[:CLOSEST]
    described: dict[tuple[str, int], ImageDescriptor] = {}

    def describe(faces: Faces, i: int) -> ImageDescriptor:
        if (faces.name, i) not in described:
            described[faces.name, i] = describe_image(faces.pixels[i], [faces.pixels[i]])
        return described[faces.name, i]

    pairs = [
        (describe(a, int(i)), describe(b, int(j))) for i, j in zip(*np.unravel_index(rows, alike.shape), strict=True)
    ]
    measured = sorted(((correlation(x, y), hash_distance(x, y)) for x, y in pairs), reverse=True)
    found = [m for m in measured if m[0] >= SAME_CORRELATION and m[1] <= SAME_BITS]
    rest = [m for m in measured if m not in found]
    name = a.name if a is b else f"{a.name} and {b.name}"
    return f"| {name} | {n_pairs:,} | {len(found)} | {max(r[0] for r in rest):.3f} | {min(r[1] for r in rest):.0f} |"


def improbable(real: Vectors, synthetic: Vectors) -> tuple[bool, bool]:
    """Whether an audit has an improbable pair, with the fitted tail alone and as it is now."""
    among = real @ real.T
    np.fill_diagonal(among, -2)
    searches: Floats = among.max(axis=1).astype(np.float64)
    cosine: Floats = (synthetic @ real.T).max(axis=1).astype(np.float64)
    p, tail = search_p(cosine, searches), fit_tail(searches, CLUMP)
    if tail is not None:
        beyond = cosine > tail.threshold
        p[beyond] = tail.p_values(cosine[beyond])
    alone = bool((p * len(cosine) < IMPROBABLE).any())
    if tail is not None:
        far = far_beyond(cosine, searches)
        p[far] = np.minimum(p[far], tail.exponential_p(cosine[far]))
    return alone, bool((p * len(cosine) < IMPROBABLE).any())


def audits(people: Vectors, n_training: int, generated: Vectors) -> str:
    """A row: audits with an improbable pair among ``AUDITS`` draws of training people from ``people``."""
    rng = np.random.default_rng(1)
    counts = np.zeros((2, 2), np.int64)
    for _ in range(AUDITS):
        training = people[rng.permutation(len(people))[:n_training]]
        counts[0] += improbable(training, generated)
        noise = rng.normal(size=training.shape[1]) * COPY_NOISE / np.sqrt(training.shape[1])
        copy = training[0] + noise
        copied = np.vstack([generated, copy / np.linalg.norm(copy)]).astype(np.float32)
        counts[1] += improbable(training, copied)
    return f"| {n_training:,} | " + " | ".join(str(count) for count in counts.ravel()) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--store", type=Path, help="keeps embeddings for the next time")
    args = parser.parse_args()
    data: Path = args.data
    lfw = crops("LFW", data / "lfw/lfw_aligned112.zip", whole=True)
    made = crops("StyleGAN2", data / "stylegan2/hardfake_stylegan2_300px.zip", whole=False)
    ffhq = crops("FFHQ", data / "ffhq600/ffhq600_256px_q92.zip", whole=False)
    demo = drawn(1500)
    print("# Copies and improbable pairs\n")
    print("Made by `benchmarks/copies.py`. Audits have no control set; training people are drawn from LFW.\n")
    print("| pictures of different people | pairs | by the rule | closest of the rest: correlation | bits |")
    print("|---|---|---|---|---|")
    for a, b in ((lfw, lfw), (made, lfw), (made, ffhq), (ffhq, ffhq), (made, made), (demo, demo)):
        print(closest_pictures(a, b), flush=True)
    for model in ("mobilefacenet/mobilefacenet_foamliu.onnx", "w600k_mbf/w600k_mbf_dequant_fp32.onnx"):
        with tempfile.TemporaryDirectory() as folder:
            store, network = args.store or Path(folder), data / "models" / model
            real = embed(data / "lfw/lfw_aligned112.zip", model=network, aligned="yes", store=store).embedded
            detector = data / "models/yunet/yunet_n_dynamic.onnx"
            generated = embed(
                data / "stylegan2/hardfake_stylegan2_300px.zip", model=network, detector=detector, store=store
            ).embedded.vectors
        names = np.array([str(person) for person in real.people])
        people = np.asarray(real.vectors)[np.unique(names, return_index=True)[1]]
        of = f"audits of {AUDITS} with an improbable pair, {len(generated)} StyleGAN2 faces"
        print(f"\n{Path(model).parent}: {of}\n")
        print("| training people | honest set: fitted tail | now | with one near copy: fitted tail | now |")
        print("|---|---|---|---|---|")
        for n_training in (100, 200, 300, 600, 1500):
            print(audits(people, n_training, np.asarray(generated)), flush=True)


if __name__ == "__main__":
    main()
