"""`datasheet.md`: a section for the datasheet of a set (Gebru et al. 2018, arXiv 1803.09010)."""

from __future__ import annotations

from unveil.report.audit_facts import provenance, residual_risk, reviewers, threat_model, unit
from unveil.report.croissant import measured
from unveil.report.first_page import AUDIT_AGAIN
from unveil.report.key_numbers import bullets, escaped, made_with, number_table, own_limitations, risk_rows, table
from unveil.report.protocol import NO_PROTOCOL, PROOF, decided, fixed_inputs
from unveil.report.text import number
from unveil.results import AuditResult
from unveil.stats.statements import FACTS


def datasheet(result: AuditResult) -> str:
    """Answers to the questions of a datasheet that an audit can answer, from a redacted result."""
    synthetic = result.counts["synthetic"]
    answers = [
        (
            "Does the dataset relate to people?",
            "It contains generated faces. The generator was trained on images of real people. This section states what "
            "an audit found of them.",
        ),
        (
            "Is it possible to identify individuals, either directly or indirectly, from the dataset?",
            f"**{result.verdict.capitalize()}.** {escaped(result.headline)}\n\n{_risks(result)}",
        ),
        (
            "Does the dataset contain data that might be considered sensitive in any way?",
            "Faces may be. Whether these images are personal data is a legal question that this audit does not answer. "
            "It measured this: " + measured(result),
        ),
        (
            "Has an analysis of the potential impact of the dataset and its use on data subjects been conducted?",
            _analysis(result),
        ),
        (
            "Are there any errors, sources of noise, or redundancies in the dataset?",
            bullets(f"{c.name}: {c.message}" for c in result.input_checks)
            + f"\n{synthetic.rejected:,} of {synthetic.images:,} files have no usable face. {synthetic.repeats:,} "
            "images repeat another byte for byte.",
        ),
        ("Against which attacker was the dataset audited?", escaped(threat_model(result))),
        ("What is counted?", unit(result)),
        (
            "Where do the audited data come from?",
            bullets(provenance(result))
            + "\nWhether the control people are like the training people was tested only as "
            "far as the input checks say. Describe the origin of each set here.",
        ),
        ("What was decided before the audit?", _decided(result)),
        ("Who reviewed the findings?", escaped(reviewers(result))),
        ("Which risk remains?", bullets(residual_risk(result))),
        ("When must the dataset be audited again?", AUDIT_AGAIN),
        ("What does this analysis not show?", bullets(own_limitations(result))),
    ]
    body = "\n\n".join(f"### {question}\n\n{answer.strip()}" for question, answer in answers)
    return f"## People of the training set: a section for the datasheet\n\n{body}\n\n{made_with(result)}\n"


def _decided(result: AuditResult) -> str:
    protocol = result.protocol
    if protocol is None:
        return NO_PROTOCOL
    return (
        f"{escaped(decided(protocol))} {fixed_inputs(protocol)} {PROOF}\n\nSHA-256 of the protocol: `{protocol.sha256}`"
    )


def _searches(result: AuditResult) -> str:
    statement = result.no_control
    if statement is None:
        return "There was no control set, so the result is not calibrated."
    return (
        f"There was no control set. Chance was measured by searching {statement.n_searches:,} training people among "
        "the other training people. This assumes that a synthetic image that copies nobody behaves like a real image "
        "of one more person."
    )


def _analysis(result: AuditResult) -> str:
    text = (
        f"Yes. A membership inference attack (arXiv 2410.24015) compared all {result.pairs_compared:,} pairs of "
        "synthetic and training images."
    )
    test = result.global_test
    if test is None:
        return f"{text} {_searches(result)}"
    text += (
        f" It was calibrated on {test.n_control:,} people whom the generator never saw. If nothing had leaked, ranks "
        f"like these would have a probability of {number(test.p_value)}.\n\n{number_table(result)}"
    )
    return text


def _risks(result: AuditResult) -> str:
    """The criteria of WP216 as a table, and the highest individual risk."""
    text = table(("risk (WP216)", "attack", "control", "guessing", "risk (95% interval)"), risk_rows(result))
    highest = result.highest_individual_risk
    if highest is None:
        return text + "\n\nHighest individual risk: not assessed."
    if not FACTS.isdisjoint(highest.significant_by):
        return text + "\n\nHighest individual risk: a synthetic image is a copy of a training image of a person."
    if highest.control_as_close is None:
        return text
    share = highest.control_as_close
    return (
        f"{text}\n\nHighest individual risk: {share.value * share.n:.0f} of {share.n:,} control people are as close to "
        "the synthetic set as the most exposed training person."
    )
