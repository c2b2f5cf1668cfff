"""The HTML report: one self-contained page. First what everybody needs to know, then the evidence."""

from __future__ import annotations

import functools
import json
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from jinja2 import Environment

from unveil.config.record import command_of
from unveil.report.charts import exposure_chart, roc_chart
from unveil.report.first_page import (
    HOLD,
    LEGAL,
    answers,
    audited_images,
    examples,
    is_leak,
    meaning,
    not_tested,
    steps,
    weakened_by,
)
from unveil.report.glossary import TERMS, anchor, breakable, command, hint, term
from unveil.report.key_numbers import strictest_rate
from unveil.report.protocol import NO_PROTOCOL, PROOF, at_level, decided, fixed_inputs
from unveil.report.templating import environment, label_cells
from unveil.report.text import (
    KIND_MEANINGS,
    NOT_OWN,
    STATEMENTS,
    as_close,
    can_invalidate,
    enumeration,
    evidence_meaning,
    false_findings,
    number,
    percent,
    q_in_words,
    would_be_found,
)
from unveil.report.thumbnails import Thumbnails
from unveil.report.units import IMAGES, IMAGES_COUNT, unit_of
from unveil.results import AuditResult, PairFinding, PersonFinding
from unveil.stats.hubness import chance_best_matches
from unveil.stats.strata import CONCENTRATED
from unveil.types import Estimate

MAX_FINDINGS = 12
GALLERY_PAIRS = 90
MAX_TOP_PAIRS = 12
MAX_HUBS = 10
MAX_CORRECTED = 6
MAX_SIGNIFICANT_ROWS = 200
MAX_IDENTITY_ROWS = 15
MAX_COPY_ROWS = 50
MAX_LINKED_ROWS = 50
MAX_REJECT_ROWS = 50


ShownPairs = tuple[tuple[PersonFinding, ...], tuple[PairFinding, ...], tuple[PairFinding, ...]]


def shown_pairs(result: AuditResult) -> ShownPairs:
    """The pairs whose images the report shows: the most exposed significant people, the closest pairs by uncorrected
    cosine, and the closest over all channels if there are several."""
    corrected = result.top_pairs_corrected[:MAX_CORRECTED] if len(result.channels) > 1 else ()
    return result.significant_people[:MAX_FINDINGS], result.top_pairs[:MAX_TOP_PAIRS], corrected


@dataclass(frozen=True)
class Gallery:
    """A page beside the report with the pairs of some significant people, counted from 1."""

    file: str
    first: int
    last: int


def galleries(result: AuditResult) -> tuple[Gallery, ...]:
    """Pages for all significant people; none if the report itself shows them all."""
    n = len(result.significant_people)
    if n <= MAX_FINDINGS:
        return ()
    starts = range(0, n, GALLERY_PAIRS)
    return tuple(
        Gallery(f"report.pairs-{i}.html", start + 1, min(start + GALLERY_PAIRS, n)) for i, start in enumerate(starts, 1)
    )


def render_gallery(result: AuditResult, here: Gallery, thumbnails: Thumbnails, *, own: bool = True) -> str:
    """One page of pairs. ``own`` says whether this user made the run."""
    page: str = (
        _pages()
        .get_template("gallery.html.j2")
        .render(
            r=result,
            here=here,
            galleries=galleries(result),
            pairs=result.significant_people[here.first - 1 : here.last],
            several=len(result.channels) > 1,
            unit=unit_of(result.counts),
            reviewed=_reviewed(result),
            up_to=_up_to(result),
            image=thumbnails.thumbnail,
            roles_read=thumbnails.roles,
            own=own,
            not_own=NOT_OWN,
        )
    )
    return page


@functools.cache
def _pages() -> Environment:
    """The templates with the filters of the report; each is compiled once a process."""
    pages = environment()
    pages.filters["p"] = number
    pages.filters["percent"] = percent
    pages.filters["q_in_words"] = q_in_words
    pages.filters["figure"] = _figure
    pages.filters["share"] = _share
    pages.filters["signed"] = _signed
    pages.filters["as_close"] = as_close
    pages.filters["false_findings"] = false_findings
    pages.filters["can_invalidate"] = can_invalidate
    pages.filters["thousands"] = lambda n: f"{n:,}"
    pages.filters["anchor"] = anchor
    pages.filters["term"] = term
    pages.filters["hint"] = hint
    pages.filters["command"] = command
    pages.filters["breakable"] = breakable
    pages.filters["at_level"] = at_level
    return pages


def _reviewed(result: AuditResult) -> Callable[[PersonFinding | PairFinding], str]:
    """What reviewers decided about a pair, in words; nothing without verdicts."""
    of_pair = {} if result.review is None else {(v.synthetic_id, v.real_id): v for v in result.review.pairs}

    def decided(pair: PersonFinding | PairFinding) -> str:
        verdicts = of_pair.get((pair.synthetic_id, pair.training_id))
        if verdicts is None:
            return ""
        words = [f"confirmed by {verdicts.confirmed} of {verdicts.decided}"] if verdicts.decided else []
        words += [f"{verdicts.cannot_tell} cannot tell"] if verdicts.cannot_tell else []
        return ", ".join(words)

    return decided


def _contents(result: AuditResult) -> list[tuple[str, str]]:
    """The sections of the page: anchor and name."""
    sections: list[tuple[str, str, object]] = [
        ("copies", "Copies", result.copies),
        ("link", "Label link", result.label_link),
        ("people", f"Exposed {unit_of(result.counts).many}", True),
        ("closest", "Closest pairs", True),
        ("review", "Review", result.review),
        ("searches", "Searches of training people", result.no_control),
        ("control", "Training and control people", result.global_test),
        ("risks", "Risks in the words of the law", result.privacy_risks),
        ("kinds", "Kinds of leak", True),
        ("power", "Sensitivity", result.power),
        ("identities", "Synthetic identities", any(i.significant for i in result.synthetic_identities)),
        ("model", "Face model", True),
        ("hubs", "Hub images", True),
        ("checks", "Input checks", True),
        ("rejects", "Rejects", True),
        ("limitations", "Limitations", True),
        ("protocol", "Decided beforehand", True),
        ("record", "Repeat this audit", True),
        ("glossary", "Glossary", True),
    ]
    return [(anchor, name) for anchor, name, present in sections if present]


def render(result: AuditResult, thumbnails: Thumbnails | None, *, own: bool = True) -> str:
    """The report. Without thumbnails it shows no image. ``own`` says whether this user made the run."""
    findings, top, corrected = shown_pairs(result)
    rejects = [(role, r) for role, of_role in result.rejects.items() for r in of_role]
    reasons = Counter((role, r.stage, r.reason) for role, r in rejects)
    significant = np.array([p.score for p in result.significant_people])
    kinds = Counter(p.kind.kind for p in result.significant_people if p.kind is not None)
    recalls = [] if result.power is None else [(k, list(g)) for k, g in groupby(result.power.recalls, lambda r: r.kind)]
    charts = {}
    next_steps, unit = steps(result), unit_of(result.counts)
    hub_limit = chance_best_matches(result.counts["synthetic"].embedded, result.counts["training"].embedded)
    if result.exposures is not None and result.membership:
        charts["exposure"] = exposure_chart(result.exposures, significant)
        charts["roc"] = roc_chart(result.exposures, result.membership[0].auc.value)
    page: str = (
        _pages()
        .get_template("report.html.j2")
        .render(
            r=result,
            leak=is_leak(result),
            hold=HOLD,
            legal=LEGAL,
            meaning=meaning(result),
            answers=answers(result),
            examples=examples(result),
            steps=next_steps,
            audit_again=any(command.startswith("unveil audit") for step in next_steps for command in step.commands),
            not_tested=not_tested(result),
            audited_images=audited_images(result),
            weakened_by=weakened_by(result),
            decided="" if result.protocol is None else decided(result.protocol),
            fixed_inputs="" if result.protocol is None else fixed_inputs(result.protocol),
            proof=PROOF,
            no_protocol=NO_PROTOCOL,
            would_be_found=would_be_found(result.power),
            terms=TERMS,
            several=len(result.channels) > 1,
            findings=findings,
            top=top,
            corrected=corrected,
            significant=result.significant_people,
            max_rows=MAX_SIGNIFICANT_ROWS,
            max_copies=MAX_COPY_ROWS,
            linked=[] if result.label_link is None else [c for c in result.label_link.classes if c.significant],
            max_linked=MAX_LINKED_ROWS,
            max_improbable=MAX_COPY_ROWS,
            identities=[i for i in result.synthetic_identities if i.significant],
            max_identities=MAX_IDENTITY_ROWS,
            contents=_contents(result),
            strictest=strictest_rate(result),
            tested_scores=_tested_scores(result),
            concentrated=CONCENTRATED,
            missing=enumeration([STATEMENTS[s] for s in result.next_step.missing], "and") if result.next_step else "",
            galleries=galleries(result) if thumbnails else (),
            reviewed=_reviewed(result),
            up_to=_up_to(result),
            image=thumbnails.thumbnail if thumbnails else None,
            roles_read=thumbnails.roles if thumbnails else (),
            own=own,
            not_own=NOT_OWN,
            charts=charts,
            reasons=sorted(reasons.items()),
            rejects=rejects[:MAX_REJECT_ROWS],
            n_rejects=len(rejects),
            max_top_pairs=max(Counter(pair.training_id for pair in result.top_pairs).values(), default=0),
            kinds=sorted(kinds.items(), key=lambda item: -item[1]),
            kind_meanings=KIND_MEANINGS,
            evidence=[evidence_meaning(test, unit) for test in result.evidence],
            unit=unit,
            images_count=IMAGES_COUNT if unit is IMAGES else "",
            recalls=recalls,
            hub_limit=hub_limit,
            hubs=[h for h in result.hubness if h.n_best_match_of > hub_limit][:MAX_HUBS],
            significant_names={p.person for p in result.significant_people},
            lowest_found=min((p.score for p in result.significant_people), default=None),
            max_steps=max((len(steps) for _, steps in recalls), default=0),
            manifest=json.dumps(result.manifest, indent=1, ensure_ascii=False),
            command=command_of(result.manifest["settings"], result.manifest["inputs"]),
        )
    )
    return label_cells(page)


def _up_to(result: AuditResult) -> Callable[..., int]:
    """How many people have a q-value up to one that is given, by counting (``q``) or by the GPD tail (``q_gpd``)."""
    columns = {by: sorted(q for p in result.people if (q := getattr(p, by)) is not None) for by in ("q", "q_gpd")}

    def up_to(q: float, by: str = "q") -> int:
        return bisect_right(columns[by], q)

    return up_to


def _tested_scores(result: AuditResult) -> str:
    """The scores by which the global test ranks people, which are the first of the membership, in words."""
    if result.global_test is None or not result.membership:
        return ""
    return enumeration([score.score for score in result.membership[: result.global_test.n_scores]], "and")


def _figure(estimate: Estimate) -> str:
    """A number with its interval, as in 0.12 (0.08 to 0.17). A count stands alone."""
    if estimate.low == estimate.high:
        return f"{estimate.value:g}"
    return f"{estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"


def _signed(estimate: Estimate) -> str:
    """A difference with its sign and interval, as in +0.12 (-0.08 to +0.17); 0.00 has no sign."""
    value, low, high = (
        text if float(text) else text[1:]
        for text in (f"{part:+.2f}" for part in (estimate.value, estimate.low, estimate.high))
    )
    return f"{value} ({low} to {high})"


def _share(estimate: Estimate) -> str:
    """A share in percent with its interval, as in 12.0% (8.1 to 17.2)."""
    return f"{100 * estimate.value:.1f}% ({100 * estimate.low:.1f} to {100 * estimate.high:.1f})"
