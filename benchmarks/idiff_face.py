"""Published IDiff-Face images of five people of LFW among StyleGAN2 faces: what whole identities find.

    python -m benchmarks.idiff_face --data ../shared/data --work build/idiff_face > docs/figures/idiff_face.md

Training people are the five and 1,888 others of LFW, control people the other 1,888. Two audits by w600k_mbf: with the
35 images of the five people, and with the 24 images of invented people in their place. Everybody takes part with all
images; with --one-image with the first. About five minutes on two cores.
"""

from __future__ import annotations

import argparse
import zipfile
from pathlib import Path

import numpy as np

import unveil
from unveil.images import Source, open_source
from unveil.results import AuditResult, PersonFinding

FIVE = ("Alejandro_Avila", "Charlotte_Church", "David_Ho", "Elizabeth_Smart", "Gary_Bergeron")
LFW, STYLEGAN2 = "lfw/lfw_aligned112.zip", "stylegan2/hardfake_stylegan2_300px.zip"
# The images of the five people, and those of people whom the generator invented.
COPIED, INVENTED = "idiff_face/authentic_id_to_image.zip", "idiff_face/synthetic_variations.zip"
MODEL = "models/w600k_mbf/w600k_mbf_dequant_fp32.onnx"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder for the sets, the store and the runs")
    parser.add_argument("--faces", type=int, default=700, help="StyleGAN2 faces")
    parser.add_argument("--one-image", action="store_true", help="one image of each real person")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    write_real(args.data, args.work, one_image=args.one_image)
    print("# Five people of LFW by IDiff-Face\n")
    print("| synthetic images | verdict | significant | person | conformal q | GPD q | images that agree |")
    print("|---|---|---|---|---|---|---|")
    for name, identities in (("of the five people", COPIED), ("of invented people", INVENTED)):
        result = audit(args.data, args.work, identities, args.faces)
        shown = [p for p in result.people if p.person in FIVE or p.significant_by]
        for p in sorted(shown, key=lambda p: p.person):
            agree = _agreement(result, p.person)
            significant = "yes" if p.significant_by else "no"
            print(f"| {name} | {result.verdict} | {significant} | {p.person} | {_lowest([p])} | {agree} |")
        others = [p for p in result.people if p.person not in FIVE]
        print(f"| {name} | {result.verdict} | | lowest of the others | {_lowest(others)} | |", flush=True)


def _agreement(result: AuditResult, person: str) -> str:
    """How many images of the closest identity of a person have this person as their closest; nothing without one."""
    for identity in result.synthetic_identities:
        if identity.n_images > 1 and (identity.training_id or "").startswith(f"{person}/"):
            return f"{identity.n_agreeing} of {identity.n_images}"
    return ""


def _lowest(people: list[PersonFinding]) -> str:
    """The lowest conformal and GPD q of some people."""
    columns = ([p.q for p in people], [p.q_gpd for p in people])
    return " | ".join(f"{min(q for q in column if q is not None):.3f}" for column in columns)


def write_real(data: Path, work: Path, *, one_image: bool) -> None:
    """training.zip and control.zip: the people of LFW in halves, the five among the first."""
    source = open_source(data / LFW)
    people = sorted({str(r.person) for r in source.records} - set(FIVE))
    chosen = {people[i] for i in np.random.default_rng(0).permutation(len(people))[: len(people) // 2]} | set(FIVE)
    seen: set[str] = set()
    with zipfile.ZipFile(work / "training.zip", "w") as training, zipfile.ZipFile(work / "control.zip", "w") as control:
        for record in source.records:
            person = str(record.person)
            if not one_image or person not in seen:
                (training if person in chosen else control).writestr(record.id, source.read(record))
            seen.add(person)


def write_synthetic(data: Path, identities: str, n_faces: int, path: Path) -> None:
    """Images of identities in folders, and StyleGAN2 faces without a label."""
    with zipfile.ZipFile(path, "w") as packed:
        _copy(open_source(data / identities), packed, None)
        _copy(open_source(data / STYLEGAN2), packed, n_faces)


def _copy(source: Source, packed: zipfile.ZipFile, n: int | None) -> None:
    for record in source.records[:n]:
        packed.writestr(record.id, source.read(record))


def audit(data: Path, work: Path, identities: str, n_faces: int) -> AuditResult:
    """The audit of one of the two synthetic sets; both share a store."""
    name = Path(identities).stem
    write_synthetic(data, identities, n_faces, work / f"{name}.zip")
    result: unveil.Audit = unveil.audit(
        *(work / f"{name}.zip", work / "training.zip", work / "control.zip"),
        out=work / f"run_{name}",
        store=work / "store",
        model=data / MODEL,
        aligned={"training": "yes", "control": "yes"},
        planted_leaks="off",
    )
    return result


if __name__ == "__main__":
    main()
