"""One self-contained page: verdict first, then the pairs, then everything that lets a reader doubt it."""

from __future__ import annotations

import json
from collections import Counter
from itertools import groupby
from shlex import quote
from typing import Any

import numpy as np

from unveil.report.charts import exposure_chart, roc_chart
from unveil.report.document import tidy
from unveil.report.page import environment
from unveil.report.shelf import PictureShelf
from unveil.result import AuditResult, PairFinding, PersonFinding
from unveil.types import Estimate
from unveil.words import number

MOST_FINDINGS = 24
MOST_TOP_PAIRS = 12
MOST_CORRECTED = 6
MOST_LISTED_ROWS = 200
MOST_REJECT_ROWS = 50


Shown = tuple[tuple[PersonFinding, ...], tuple[PairFinding, ...], tuple[PairFinding, ...]]


def shown_pairs(result: AuditResult) -> Shown:
    """The pairs that stand side by side on the page: the most exposed listed people, the closest pairs of all by the
    raw cosine, and by all channels where there are several."""
    corrected = result.top_pairs_corrected[:MOST_CORRECTED] if len(result.channels) > 1 else ()
    return result.listed_people[:MOST_FINDINGS], result.top_pairs[:MOST_TOP_PAIRS], corrected


def render(result: AuditResult, shelf: PictureShelf | None) -> str:
    """The page. Without a shelf no picture is shown."""
    pages = environment()
    pages.filters["p"] = number
    pages.filters["figure"] = _figure
    pages.filters["thousands"] = lambda n: f"{n:,}"
    findings, top, corrected = shown_pairs(result)
    calibration = result.calibration
    reasons = Counter((role, r.stage, r.reason) for role, rejects in result.rejects.items() for r in rejects)
    listed = np.array([p.score for p in result.listed_people])
    kinds = Counter(p.kind.kind for p in result.listed_people if p.kind is not None)
    recalls = [] if result.power is None else [(k, list(g)) for k, g in groupby(result.power.recalls, lambda r: r.kind)]
    page: str = pages.get_template("report.html.j2").render(
        r=result,
        c=calibration,
        several=len(result.channels) > 1,
        findings=findings,
        top=top,
        corrected=corrected,
        listed=result.listed_people,
        most_listed=MOST_LISTED_ROWS,
        identities=[i for i in result.identities if i.listed],
        picture=shelf.thumbnail if shelf else None,
        exposure=exposure_chart(calibration, listed) if calibration else None,
        roc=roc_chart(calibration) if calibration else None,
        reasons=sorted(reasons.items()),
        rejects=[(role, r) for role, rejects in result.rejects.items() for r in rejects][:MOST_REJECT_ROWS],
        n_rejects=sum(len(rejects) for rejects in result.rejects.values()),
        ranking=_ranking(result),
        kinds=sorted(kinds.items(), key=lambda item: -item[1]),
        recalls=recalls,
        most_steps=max((len(steps) for _, steps in recalls), default=0),
        manifest=json.dumps(tidy(result.manifest), indent=1, ensure_ascii=False),
        command=_command(result.manifest),
    )
    return page


def _figure(estimate: Estimate) -> str:
    """A figure with its interval: 0.12 (0.08 to 0.17); a count by itself."""
    if estimate.low == estimate.high:
        return f"{estimate.value:g}"
    return f"{estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"


def _ranking(result: AuditResult) -> dict[str, Any]:
    """How concentrated the published ranking is: the share of its top pairs that one training picture takes."""
    rows = Counter(pair.training_id for pair in result.top_pairs)
    return {"pairs": len(result.top_pairs), "largest": max(rows.values(), default=0)}


def _command(manifest: dict[str, Any]) -> str:
    """The command that repeats the audit."""
    s = manifest["settings"]
    if "synthetic" not in s:
        return "unveil audit --synthetic ... --training ..."
    words = ["unveil audit"]
    words += [f"--{name} {quote(s[name])}" for name in ("synthetic", "training", "control") if s[name]]
    words += [f"--model {quote(path)}" for path in s["model"]]
    words += [] if s["detector"] == "dlib" else [f"--detector {quote(s['detector'])}"]
    words += [f"--channels {','.join(s['channels'])}"]
    words += [f"--{name.replace('_', '-')} {quote(s[name])}" for name in ("copy_model", "strata") if s[name]]
    words += [f"--{role}-identity {quote(rule)}" for role, rule in s["identity"].items() if rule != "auto"]
    words += ["--follow-links"] if s["follow_links"] else []
    if len(set(s["aligned"].values())) == 1:
        value = next(iter(s["aligned"].values()))
        words += [] if value == "auto" else [f"--aligned {value}"]
    else:
        words.append("--aligned " + ",".join(f"{role}={value}" for role, value in s["aligned"].items()))
    numbers = ("q", "fpir", "top_k", "top_pairs", "match", "draws", "power", "seed")
    return " ".join([*words, *(f"--{name.replace('_', '-')} {s[name]}" for name in numbers), "-o RUN"])
