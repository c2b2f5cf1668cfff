"""Computes the demo's statistical face model from a folder or zip of aligned faces, once.

    python tools/build_face_model.py ../shared/data/lfw/lfw_aligned112.zip

The model is a mean and the leading principal components of the pixels: an average over thousands of faces, from which
people who do not exist are drawn. Folders are people; they say how much of each component is the person and how much
the moment. Only a random half of the people go into it, so that the other half can show whether its drawings expose
anybody (benchmarks/audit_demo_model.py). Written to src/unveil/demo/face_model.npz.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from unveil.demo.faces import people_in_face_model
from unveil.images import decode_rgb, open_source

SIZE = 96  # pixels a side
COMPONENTS = 192
STEP = 0.6  # grey levels between two values of a stored component
MODEL = Path(__file__).parent.parent / "src" / "unveil" / "demo" / "face_model.npz"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces", type=Path, help="aligned faces, one folder a person")
    source = open_source(parser.parse_args().faces)
    taken = people_in_face_model(record.person or record.id for record in source.records)
    records = [record for record in source.records if (record.person or record.id) in taken]
    pixels = np.stack(
        [
            cv2.resize(decode_rgb(source.read(record)), (SIZE, SIZE), interpolation=cv2.INTER_AREA).ravel()
            for record in records
        ]
    ).astype(np.float32)
    mean = pixels.mean(0)
    pixels -= mean
    # Principal components from the smaller Gram matrix of the pictures.
    values, vectors = np.linalg.eigh((pixels @ pixels.T).astype(np.float64) / len(pixels))
    values, vectors = values[::-1][:COMPONENTS], vectors[:, ::-1][:, :COMPONENTS]
    # Each component carries its standard deviation, so that weights are standard normal.
    components = (pixels.T @ vectors).T / np.sqrt(len(pixels))
    weights = vectors * np.sqrt(len(pixels))

    people: dict[str, list[int]] = {}
    for i, record in enumerate(records):
        people.setdefault(record.person or record.id, []).append(i)
    within = [weights[rows].var(0, ddof=1) for rows in people.values() if len(rows) > 1]
    share_of_person = np.clip(1 - np.mean(within, axis=0), 0, 1)

    stored = np.round(components / STEP)
    np.savez_compressed(
        MODEL,
        mean=np.round(mean).astype(np.uint8).reshape(SIZE, SIZE, 3),
        components=np.clip(stored, -127, 127).astype(np.int8).reshape(COMPONENTS, SIZE, SIZE, 3),
        step=np.float32(STEP),
        share_of_person=share_of_person.astype(np.float32),
    )
    explained = float(values.sum() / (pixels**2).sum() * len(pixels))
    print(
        f"{len(pixels)} faces of {len(people)} people, {COMPONENTS} components explain {explained:.0%} of the "
        f"variance, {np.abs(stored).max():.0f} steps at most, {MODEL.stat().st_size / 1e6:.2f} MB"
    )


if __name__ == "__main__":
    main()
