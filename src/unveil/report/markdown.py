"""`report.md`: a summary for a pull request."""

from __future__ import annotations

from collections import Counter

from unveil.report.key_numbers import bullets, escaped, made_with, number_table, own_limitations, risk_rows, table
from unveil.report.protocol import decided
from unveil.report.text import false_findings
from unveil.report.units import IMAGES, unit_of
from unveil.results import AuditResult


def markdown(result: AuditResult) -> str:
    """The summary, from a redacted result."""
    counts = result.counts
    noted = [c for c in result.input_checks if c.status != "pass"]
    significant = result.significant_people
    kinds = Counter(p.kind.kind for p in significant if p.kind is not None)
    unit = unit_of(counts)
    false = false_findings(result.expected_false_people, result.manifest["settings"]["fdr"])
    people = "" if unit is IMAGES else f" of {counts['training'].people:,} people"
    compared = (
        f"All {result.pairs_compared:,} pairs of {counts['synthetic'].embedded:,} synthetic and "
        f"{counts['training'].embedded:,} training images{people} were compared."
    )
    if result.global_test is not None:
        compared += f" {result.global_test.n_control:,} control people calibrate the result."
    parts = [
        f"## unveil: {result.verdict}",
        escaped(result.headline),
        f"**Next step:** `{result.next_step.option}`. {result.next_step.action}" if result.next_step else "",
        false if significant and false not in result.headline else "",
        number_table(result),
        compared,
        "" if result.protocol is None else f"{escaped(decided(result.protocol))} SHA-256: `{result.protocol.sha256}`.",
        table(("kind of leak", unit.many), [(kind, str(n)) for kind, n in kinds.most_common()]) if kinds else "",
        table(("risk (WP216)", "attack", "control", "guessing", "risk"), risk_rows(result)),
        f"{len(result.input_checks) - len(noted)} of {len(result.input_checks)} input checks passed.",
        table(("input check", "result", "found"), [(c.name, c.status, c.message) for c in noted]) if noted else "",
        "<details><summary>Limitations</summary>\n\n" + bullets(own_limitations(result)) + "\n</details>",
        made_with(result),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"
