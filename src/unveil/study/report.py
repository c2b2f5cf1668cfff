"""The report of a study: a table of its audits, and the closest pairs of each set."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from unveil.io.atomic import csv_text, write_bytes
from unveil.io.output_file import HTML_PAGE, OutputKind, beginning_with, check_output_file
from unveil.io.text import printable
from unveil.report.templating import environment, label_cells
from unveil.report.text import few
from unveil.results import plain
from unveil.types import Estimate, Role

REDACTED = "study.redacted.html"
FILES = {
    "study.csv": OutputKind("the table of a study", beginning_with("name,state,verdict,synthetic images,")),
    "study.json": OutputKind("the rows of a study", beginning_with('{\n "title": ')),
    **dict.fromkeys(("study.html", REDACTED), HTML_PAGE),
}
SHOWN_PAIRS = 6
LEAK_KINDS = ("exact copy", "near-identical copy", "similar image", "appearance match", "identity match")
Thumbnail = Callable[[Role, str], str | None]
State = Literal["audited", "absent", "failed"]


@dataclass(frozen=True)
class StudyPair:
    """A pair of the published attack's ranking, with its kind of leak if it shows one person."""

    synthetic_id: str
    training_id: str
    cosine: float
    kind: str | None


@dataclass(frozen=True)
class SetRow:
    """One synthetic set of a study. None stands for what was not measured: the set is absent or has no control set."""

    name: str
    title: str
    state: State
    headline: str  # of the audit, or the reason why there is none
    notes: tuple[str, ...] = ()
    verdict: str | None = None
    n_synthetic: int | None = None
    n_training_people: int | None = None
    exposed: Estimate | None = None
    expected_false: float | None = None  # significant people expected to be false
    auc: Estimate | None = None
    tpr_at_1_percent: Estimate | None = None
    tpr_at_1_permille: Estimate | None = None
    pairs: tuple[StudyPair, ...] = ()
    hub_share: Estimate | None = None
    kinds: tuple[tuple[str, int], ...] = ()
    report: str | None = None  # relative to the study's page


def row_of(name: str, title: str, audit: dict[str, Any], report: str, notes: Sequence[str]) -> SetRow:
    """The row of an audit, from its `audit.json`."""
    first = (audit["membership"] or [None])[0]
    tpr = {} if first is None else first["tpr_at_fpr"]
    significant = [p["kind"]["kind"] for p in audit["people"] if p["significant_by"] and p["kind"] is not None]
    counts = Counter(significant)
    top = audit["top_pairs"]
    in_hubs = sum(hub["in_top_pairs"] for hub in audit["hubness"])
    pairs = [
        StudyPair(p["synthetic_id"], p["training_id"], p["cosine"], None if p["kind"] is None else p["kind"]["kind"])
        for p in top[:SHOWN_PAIRS]
    ]
    share = in_hubs / len(top) if top else 0.0
    return SetRow(
        name=name,
        title=title,
        state="audited",
        headline=audit["headline"],
        notes=tuple(notes),
        verdict=audit["verdict"],
        n_synthetic=audit["counts"]["synthetic"]["embedded"],
        n_training_people=audit["counts"]["training"]["people"],
        exposed=_estimate(audit["exposed_people"]) if audit["verdict"] != "inconclusive" else None,
        expected_false=audit["expected_false_people"] if audit["verdict"] != "inconclusive" else None,
        auc=_estimate(first and first["auc"]),
        tpr_at_1_percent=_estimate(tpr.get("0.01")),
        tpr_at_1_permille=_estimate(tpr.get("0.001")),
        pairs=tuple(pairs),
        hub_share=Estimate(
            share, share, share, 1.0, len(top), "counted in full: top pairs whose training image is a hub image"
        ),
        kinds=tuple((kind, counts[kind]) for kind in LEAK_KINDS if counts[kind]),
        report=report,
    )


def _estimate(plain: dict[str, Any] | None) -> Estimate | None:
    return None if plain is None else Estimate(**plain)


def write_comparison(
    title: str, rows: Sequence[SetRow], images: dict[str, Thumbnail], out: Path, *, redact: bool
) -> None:
    """Writes `study.html`, `study.csv` and `study.json`; with ``redact``, also a page without faces and file names.

    An earlier page of that kind is written again in any case.
    """
    # A study may come from somebody else.
    title = printable(title)
    rows = [
        replace(row, name=printable(row.name), title=printable(row.title), headline=printable(row.headline))
        for row in rows
    ]
    study = {"title": title, "sets": [asdict(row) for row in rows]}
    write_bytes(out / "study.csv", _csv(rows).encode())
    write_bytes(out / "study.html", _page(title, rows, images, redacted=False).encode("utf-8", "backslashreplace"))
    if redact or (out / REDACTED).exists():
        write_bytes(out / REDACTED, _page(title, rows, {}, redacted=True).encode("utf-8", "backslashreplace"))
    text = json.dumps(plain(study), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_bytes(out / "study.json", text.encode("utf-8", "backslashreplace"))


def check_comparison_files(out: Path) -> None:
    """Raises SettingError for a file in ``out`` that `write_comparison` would replace and never wrote."""
    for name, kind in FILES.items():
        check_output_file("-o", out / name, kind)


def _csv(rows: Sequence[SetRow]) -> str:
    """One line per set. Every estimate has its interval."""
    figures = ("exposed", "auc", "tpr_at_1_percent", "tpr_at_1_permille")
    head: list[object] = [
        *("name", "state", "verdict", "synthetic images", "training people"),
        *(f"{figure}{end}" for figure in figures for end in ("", " low", " high")),
        *("people expected to be false", "top cosine", "share of top pairs with a hub image", *LEAK_KINDS, "headline"),
    ]
    lines: list[list[object]] = [head]
    for row in rows:
        estimates: list[Estimate | None] = [getattr(row, figure) for figure in figures]
        kinds = dict(row.kinds)
        lines.append(
            [
                *(row.name, row.state, row.verdict, row.n_synthetic, row.n_training_people),
                *(cell for estimate in estimates for cell in _cells(estimate)),
                None if row.expected_false is None else f"{row.expected_false:.6g}",
                f"{row.pairs[0].cosine:.6g}" if row.pairs else None,
                None if row.hub_share is None else f"{row.hub_share.value:.6g}",
                *(kinds.get(kind, 0) if row.state == "audited" else None for kind in LEAK_KINDS),
                row.headline,
            ]
        )
    return csv_text(lines)


def _cells(estimate: Estimate | None) -> list[str | None]:
    if estimate is None:
        return [None] * 3
    return [f"{value:.6g}" for value in (estimate.value, estimate.low, estimate.high)]


def _page(title: str, rows: Sequence[SetRow], images: dict[str, Thumbnail], *, redacted: bool) -> str:
    pages = environment()
    pages.filters["few"] = few
    page: str = pages.get_template("study.html.j2").render(
        title=title,
        rows=rows,
        audited=[row for row in rows if row.state == "audited"],
        others=[row for row in rows if row.state != "audited"],
        images=images,
        redacted=redacted,
    )
    return label_cells(page)
