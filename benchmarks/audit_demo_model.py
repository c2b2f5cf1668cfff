"""An audit of the demo: are its drawn faces free of the real people behind their face model?

    python benchmarks/audit_demo_model.py --data ../shared/data

The face model that ships with unveil was built from a random half of the people of an LFW collection
(tools/build_face_model.py). Faces drawn from it are the synthetic set, that half is the training set, and the other
half, whom the model never saw, the control set. Prints the verdict, the evidence and the recall of planted
leaks.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import unveil
from unveil.demo.faces import face_model, people_in_face_model
from unveil.images import open_source

DRAWN = 2000
NETWORKS: dict[str, str | None] = {
    "dlib_resnet_v1": None,
    "mobilefacenet": "models/mobilefacenet/mobilefacenet_foamliu.onnx",
    "w600k_mbf": "models/w600k_mbf/w600k_mbf_dequant_fp32.onnx",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS))
    args = parser.parse_args()
    source = open_source(args.data / "lfw/lfw_aligned112.zip")
    behind = people_in_face_model(record.person or record.id for record in source.records)
    print("# Auditing the demo model\n")
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        for record in source.records:
            file = folder / ("training" if (record.person or record.id) in behind else "control") / record.id
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(source.read(record))
        model, rng = face_model(), np.random.default_rng(2026)
        (folder / "drawn").mkdir()
        for i, image in enumerate(model.render(model.sample(DRAWN, rng))):
            Image.fromarray(image).save(folder / "drawn" / f"{i:05d}.png")
        for name in args.networks:
            weights = NETWORKS[name]
            result = unveil.audit(
                *(folder / "drawn", folder / "training", folder / "control"),
                out=folder / f"run-{name}",
                model=None if weights is None else args.data / weights,
            )
            tell(name, result)


def tell(name: str, result: unveil.AuditResult) -> None:
    test = result.global_test
    if test is None:
        raise SystemExit("the audit was not calibrated")
    print(f"## {name}: {result.verdict}\n")
    print(
        f"- {test.n_training} people behind the model, {test.n_control} control people, "
        f"{DRAWN} drawn; global p {test.p_value:.2g}, "
        f"significant {len(result.significant_people)}"
    )
    for seen in result.membership or ():
        auc, tpr = seen.auc, seen.tpr_at_fpr["0.01"]
        if tpr is None:
            raise SystemExit(seen.not_resolved["0.01"])
        print(
            f"- {seen.score}: AUC {auc.value:.3f} ({auc.low:.3f} to {auc.high:.3f}), TPR at 1% FPR "
            f"{tpr.value:.3f} ({tpr.low:.3f} to {tpr.high:.3f}), global p {seen.global_p:.2g}"
        )
    for check in result.input_checks:
        if check.status != "pass":
            print(f"- {check.status}: {check.message}")
    if result.power is not None:
        for kind in dict.fromkeys(r.kind for r in result.power.recalls):
            steps = (r for r in result.power.recalls if r.kind == kind)
            print(f"- {kind}: " + ", ".join(f"{r.strength} {r.one_leak.value:.0%}" for r in steps))
    print(flush=True)


if __name__ == "__main__":
    main()
