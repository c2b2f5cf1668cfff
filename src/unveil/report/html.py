"""One self-contained page: verdict first, then the pairs, then everything that lets a reader doubt it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from jinja2 import Environment

from unveil.config.record import command_of
from unveil.report.charts import exposure_chart, roc_chart
from unveil.report.document import tidy
from unveil.report.templating import environment
from unveil.report.text import number
from unveil.report.thumbnails import Thumbnails
from unveil.results.audit import AuditResult, PairFinding, PersonFinding
from unveil.types import Estimate

MAX_FINDINGS = 24
# Pairs on a page beside the report.
A_GALLERY = 90
MAX_TOP_PAIRS = 12
MAX_CORRECTED = 6
MAX_SIGNIFICANT_ROWS = 200
MAX_REJECT_ROWS = 50


Shown = tuple[tuple[PersonFinding, ...], tuple[PairFinding, ...], tuple[PairFinding, ...]]


def shown_pairs(result: AuditResult) -> Shown:
    """The pairs that stand side by side on the page: the most exposed listed people, the closest pairs of all by the
    raw cosine, and by all channels where there are several."""
    corrected = result.top_pairs_corrected[:MAX_CORRECTED] if len(result.channels) > 1 else ()
    return result.significant_people[:MAX_FINDINGS], result.top_pairs[:MAX_TOP_PAIRS], corrected


@dataclass(frozen=True)
class Gallery:
    """A page beside the report with the pairs of some of the listed people, counted from 1."""

    file: str
    first: int
    last: int


def galleries(result: AuditResult) -> tuple[Gallery, ...]:
    """Pages for all listed people where the report itself shows only the most exposed."""
    n = len(result.significant_people)
    if n <= MAX_FINDINGS:
        return ()
    starts = range(0, n, A_GALLERY)
    return tuple(
        Gallery(f"report.pairs-{i}.html", start + 1, min(start + A_GALLERY, n)) for i, start in enumerate(starts, 1)
    )


def render_gallery(result: AuditResult, here: Gallery, shelf: Thumbnails) -> str:
    """One page of pairs."""
    page: str = (
        _pages()
        .get_template("gallery.html.j2")
        .render(
            r=result,
            here=here,
            galleries=galleries(result),
            pairs=result.significant_people[here.first - 1 : here.last],
            reviewed=_reviewed(result),
            image=shelf.thumbnail,
        )
    )
    return page


def _pages() -> Environment:
    pages = environment()
    pages.filters["p"] = number
    pages.filters["figure"] = _figure
    pages.filters["thousands"] = lambda n: f"{n:,}"
    return pages


def _reviewed(result: AuditResult) -> Callable[[PersonFinding | PairFinding], str]:
    """What reviewers said of a pair, in words; nothing where nobody looked."""
    said = {} if result.review is None else {(v.synthetic_id, v.real_id): v for v in result.review.pairs}

    def told(pair: PersonFinding | PairFinding) -> str:
        verdicts = said.get((pair.synthetic_id, pair.training_id))
        if verdicts is None:
            return ""
        words = [f"confirmed by {verdicts.confirmed} of {verdicts.decided}"] if verdicts.decided else []
        words += [f"{verdicts.cannot_tell} cannot tell"] if verdicts.cannot_tell else []
        return ", ".join(words)

    return told


def _contents(result: AuditResult) -> list[tuple[str, str]]:
    """The sections that are on the page: anchor and name."""
    sections: list[tuple[str, str, object]] = [
        ("people", "People", True),
        ("closest", "Closest pairs", True),
        ("review", "What people saw", result.review),
        ("control", "Against control people", result.calibration),
        ("kinds", "Kinds", True),
        ("power", "What would have been found", result.power),
        ("identities", "Synthetic identities", any(i.significant for i in result.synthetic_identities)),
        ("network", "The network", True),
        ("hubs", "Hubs", True),
        ("checks", "Checks", True),
        ("rejects", "Rejects", True),
        ("limits", "Limits", True),
        ("record", "Record", True),
    ]
    return [(anchor, name) for anchor, name, there in sections if there]


def render(result: AuditResult, shelf: Thumbnails | None) -> str:
    """The page. Without a shelf no picture is shown."""
    pages = _pages()
    findings, top, corrected = shown_pairs(result)
    calibration = result.calibration
    reasons = Counter((role, r.stage, r.reason) for role, rejects in result.rejects.items() for r in rejects)
    significant = np.array([p.score for p in result.significant_people])
    kinds = Counter(p.kind.kind for p in result.significant_people if p.kind is not None)
    recalls = [] if result.power is None else [(k, list(g)) for k, g in groupby(result.power.recalls, lambda r: r.kind)]
    page: str = pages.get_template("report.html.j2").render(
        r=result,
        c=calibration,
        several=len(result.channels) > 1,
        findings=findings,
        top=top,
        corrected=corrected,
        significant=result.significant_people,
        most_listed=MAX_SIGNIFICANT_ROWS,
        identities=[i for i in result.synthetic_identities if i.significant],
        contents=_contents(result),
        galleries=galleries(result) if shelf else (),
        reviewed=_reviewed(result),
        image=shelf.thumbnail if shelf else None,
        exposure=exposure_chart(calibration, significant) if calibration else None,
        roc=roc_chart(calibration) if calibration else None,
        reasons=sorted(reasons.items()),
        rejects=[(role, r) for role, rejects in result.rejects.items() for r in rejects][:MAX_REJECT_ROWS],
        n_rejects=sum(len(rejects) for rejects in result.rejects.values()),
        ranking=_ranking(result),
        kinds=sorted(kinds.items(), key=lambda item: -item[1]),
        recalls=recalls,
        most_steps=max((len(steps) for _, steps in recalls), default=0),
        manifest=json.dumps(tidy(result.manifest), indent=1, ensure_ascii=False),
        command=command_of(result.manifest["settings"]),
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
