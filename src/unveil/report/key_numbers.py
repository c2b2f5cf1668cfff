"""The main numbers of a result, and how Markdown shows them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from unveil.report.redact import REDACTED
from unveil.report.units import unit_of
from unveil.results import AuditResult
from unveil.types import Estimate

# Beside the headline stands the true positive rate at this false positive rate.
HEADLINE_FPR = 0.01
_MARKUP = re.compile(r"([\\`*_\[\]|~#])")


def key_numbers(result: AuditResult) -> list[tuple[str, Estimate]]:
    """The main numbers, by name."""
    if result.verdict == "inconclusive":
        return []
    if result.exposed_people is None or not result.membership:
        if result.no_control is None:
            return []
        return [("synthetic identities or images below the median of searches", result.no_control.below_median)]
    unit = unit_of(result.counts).many
    if not result.tests_are_reliable:
        return [(f"training {unit} exposed", result.exposed_people)]
    found = [(f"training {unit} exposed", result.exposed_people)]
    if result.exposed_share is not None:
        found.append((f"estimated share of training {unit} exposed", result.exposed_share))
    fpr, tpr = strictest_rate(result)
    if tpr is not None:
        found.append((f"training {unit} found at a false positive rate of {100 * fpr:g}%", tpr))
    found.append(("AUC of training against control people", result.membership[0].auc))
    found += [(f"risk of {risk.criterion}", risk.risk) for risk in result.privacy_risks if risk.risk is not None]
    if result.review is not None:
        of_findings, of_controls = result.review.reviewer_precision, result.review.reviewer_false_positive_rate
        found += [] if of_findings is None else [("share of decided findings that reviewers call leaks", of_findings)]
        found += [] if of_controls is None else [("share of control pairs that reviewers call leaks", of_controls)]
    return found


def strictest_rate(result: AuditResult) -> tuple[float, Estimate | None]:
    """The true positive rate at a false positive rate of 1%, or at 10% with too few control people for 1%."""
    rates = result.membership[0].tpr_at_fpr if result.membership else {}
    found = [(float(fpr), tpr) for fpr, tpr in rates.items() if tpr is not None and float(fpr) >= HEADLINE_FPR]
    return min(found, key=lambda rate: rate[0], default=(HEADLINE_FPR, None))


def risk_rows(result: AuditResult) -> list[tuple[str, str, str, str, str]]:
    """Singling out, linkability and inference: attack, control and baseline rate, and the risk or why there is none."""
    rows: list[tuple[str, str, str, str, str]] = []
    for risk in result.privacy_risks:
        if risk.attack is None or risk.control is None or risk.baseline is None or risk.risk is None:
            rows.append((risk.criterion, "", "", "", f"not assessed: {risk.not_assessed_because}"))
            continue
        attack, control, guessing = (f"{rate.value:.1%}" for rate in (risk.attack, risk.control, risk.baseline))
        found = f"{risk.risk.value:.1%} ({risk.risk.low:.1%} to {risk.risk.high:.1%})"
        rows.append((risk.criterion, attack, control, guessing, found))
    return rows


def own_limitations(result: AuditResult) -> list[str]:
    """The limitations of the audit, without the note that the copy is redacted."""
    return [text for text in result.limitations if text != REDACTED]


def number_table(result: AuditResult) -> str:
    """The main numbers as a Markdown table; nothing if there are none."""
    rows = [_row(name, estimate) for name, estimate in key_numbers(result)]
    return table(("number", "value", "95% interval", "n"), rows) if rows else ""


def _row(name: str, e: Estimate) -> tuple[str, str, str, str]:
    if e.value > 1 or e.high > 1:
        # An upper limit that includes everybody is none.
        interval = f"at least {e.low:.0f}" if e.high == e.n else f"{e.low:.0f} to {e.high:.0f}"
        return name, f"{e.value:.0f}", interval, f"{e.n:,}"
    return name, f"{e.value:.3f}", f"{e.low:.3f} to {e.high:.3f}", f"{e.n:,}"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    lines = [list(head), *(list(row) for row in rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join("| " + " | ".join(escaped(cell) for cell in line) + " |" for line in lines)


def bullets(items: Iterable[str]) -> str:
    """A Markdown list."""
    return "\n".join(f"- {escaped(item)}" for item in items) + "\n"


def escaped(text: str) -> str:
    """Text as Markdown shows it: no markup, no HTML, no link and no mention, whatever a name of a model holds."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = _MARKUP.sub(r"\\\1", " ".join(text.split()))
    return text.replace("@", "&#64;").replace("://", "&#58;//")


def made_with(result: AuditResult) -> str:
    """The software, the models and the synthetic set of the audit."""
    names = " and ".join(escaped(str(model["name"])) for model in result.models)
    return (
        f"Made with unveil {escaped(str(result.manifest['versions'].get('unveil', '')))} and {names}. SHA-256 of the "
        f"synthetic set: `{escaped(result.manifest['inputs']['synthetic']['sha256'][:16])}`."
    )
