"""What a dataset's author can publish of an audit: figures and sentences that name nobody and show no face.

Made from the redacted result, so that nothing else can be in them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any
from xml.etree import ElementTree

from unveil.report.document import tidy
from unveil.report.redact import SAID
from unveil.report.text import number
from unveil.results.audit import AuditResult
from unveil.types import Estimate

CROISSANT, RAI = "http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"
# The context that the specification of Croissant 1.1 gives.
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "key": "cr:key",
    "name": {"@container": "@language"},
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
    **{
        term: f"cr:{term}"
        for term in (
            *("arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "extract", "field", "fileObject"),
            *("fileProperty", "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath", "md5"),
            *("parentField", "path", "recordSet", "references", "regex", "repeated", "replace", "samplingRate"),
            *("separator", "source", "subField", "transform"),
        )
    },
}


def public_texts(nameless: AuditResult) -> dict[str, str]:
    """The texts by the names of their files, from a result that names nobody."""
    return {
        "report.md": markdown(nameless),
        "junit.xml": junit(nameless),
        "croissant.json": json.dumps(croissant(nameless), indent=1, ensure_ascii=False) + "\n",
        "datasheet.md": datasheet(nameless),
    }


def figures(result: AuditResult) -> list[tuple[str, Estimate]]:
    """The numbers that matter, by name."""
    calibration, line = result.calibration, result.candidate_threshold
    if result.verdict == "inconclusive":
        return []
    if calibration is None:
        return [] if line is None else [("synthetic pictures above the line expected by chance", line.expected_above)]
    first = calibration.membership[0]
    found = [
        ("training people exposed", calibration.exposed),
        ("training people found at 1% false positives", first.tpr_at_fpr["0.01"]),
        ("AUC of training against control people", first.auc),
    ]
    review = result.review
    if review is not None and review.reviewer_precision is not None:
        found.append(("findings that reviewers saw as leaks", review.reviewer_precision))
    return found


def markdown(result: AuditResult) -> str:
    """A summary for a pull request."""
    counts = result.counts
    rows = [_row(name, e) for name, e in figures(result)]
    noted = [c for c in result.input_checks if c.status != "pass"]
    kinds = Counter(p.kind.kind for p in result.significant_people if p.kind is not None)
    parts = [
        f"## unveil: {result.verdict}",
        result.headline,
        _table(("figure", "value", "95% interval", "n"), rows) if rows else "",
        f"All {result.pairs_compared:,} pairs of {counts['synthetic'].embedded:,} synthetic and "
        f"{counts['training'].embedded:,} training pictures of {counts['training'].people:,} people were compared"
        + (
            f"; {len(result.calibration.control):,} control people show what chance does."
            if result.calibration
            else "."
        ),
        _table(("kind of leak", "people"), [(kind, str(n)) for kind, n in kinds.most_common()]) if kinds else "",
        f"{len(result.input_checks) - len(noted)} of {len(result.input_checks)} checks of the inputs passed.",
        _table(("check", "result", "what was found"), [(c.name, c.status, c.message) for c in noted]) if noted else "",
        "<details><summary>What this audit cannot say</summary>\n\n" + _list(_limits(result)) + "\n</details>",
        _made_with(result),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _control(result: AuditResult) -> str:
    n = 0 if result.calibration is None else len(result.calibration.control)
    return f"; {n:,} control people show what chance does." if n else "."


def _row(name: str, e: Estimate) -> tuple[str, str, str, str]:
    """A figure with its interval; shares in percent, counts as counts."""
    if e.value > 1 or e.high > 1:
        # As many as there are is no limit.
        interval = f"at least {e.low:.0f}" if e.high == e.n else f"{e.low:.0f} to {e.high:.0f}"
        return name, f"{e.value:.0f}", interval, f"{e.n:,}"
    return name, f"{e.value:.3f}", f"{e.low:.3f} to {e.high:.3f}", f"{e.n:,}"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(head), *(list(row) for row in rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    """Text as a cell of Markdown: neither a table's bar nor markup."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def _list(items: Iterable[str]) -> str:
    return "\n".join(f"- {_cell(item)}" for item in items) + "\n"


def _made_with(result: AuditResult) -> str:
    names = " and ".join(str(model["name"]) for model in result.models)
    return (
        f"Made with unveil {result.manifest['versions'].get('unveil', '')} and {names}; synthetic set sha256 "
        f"`{result.manifest['inputs']['synthetic']['sha256'][:16]}`."
    )


def junit(result: AuditResult) -> str:
    """JUnit XML for gates: the verdict and every check are test cases; a leak and a failed check are failures."""
    cases: list[tuple[str, str, str | None, str]] = [
        ("verdict", "no training person is listed", _failure(result), result.headline),
        *(
            ("checks", c.name, "failed check" if c.status == "fail" else None, f"{c.status}: {c.message}")
            for c in result.input_checks
        ),
    ]
    suite = ElementTree.Element(
        "testsuite",
        name="unveil audit",
        tests=str(len(cases)),
        failures=str(sum(failure is not None for _, _, failure, _ in cases)),
        errors="0",
        skipped=str(int(result.verdict == "inconclusive")),
    )
    for group, name, failure, told in cases:
        case = ElementTree.SubElement(suite, "testcase", classname=f"unveil.{group}", name=name)
        if failure is not None:
            ElementTree.SubElement(case, "failure", message=_xml(failure)).text = _xml(told)
        elif group == "verdict" and result.verdict == "inconclusive":
            ElementTree.SubElement(case, "skipped", message=_xml(told))
        else:
            ElementTree.SubElement(case, "system-out").text = _xml(told)
    suites = ElementTree.Element("testsuites")
    suites.append(suite)
    ElementTree.indent(suites)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(suites, "unicode") + "\n"


def _limits(result: AuditResult) -> list[str]:
    return [said for said in result.limitations if said != SAID]


def _failure(result: AuditResult) -> str | None:
    return result.verdict if result.verdict in ("leak found", "candidates") else None


def _xml(text: str) -> str:
    """Text without the characters that no XML can hold."""
    return "".join(c for c in text if c in "\t\n" or ord(c) >= 32).encode("utf-8", "replace").decode()


def croissant(result: AuditResult) -> dict[str, Any]:
    """A sidecar in Croissant 1.1 with the RAI extension 1.0, to be merged into the set's own description."""
    values = [
        {
            "@type": "PropertyValue",
            "name": name,
            "value": e.value,
            "minValue": e.low,
            "maxValue": e.high,
            "measurementTechnique": f"{e.method}; {e.level:.0%} interval, n = {e.n}",
        }
        for name, e in figures(result)
    ]
    sidecar: dict[str, Any] = tidy(
        {
            "@context": CONTEXT,
            "@type": "sc:Dataset",
            "conformsTo": [CROISSANT, RAI],
            "name": "synthetic-face-set",
            "description": "Privacy audit of a synthetic face set. Merge these properties into the Croissant "
            "description of the set, whose name and licence they do not know.",
            "identifier": f"sha256:{result.manifest['inputs']['synthetic']['sha256']}",
            "rai:personalSensitiveInformation": [_sensitive(result)],
            "rai:dataLimitations": _limits(result),
            "rai:dataSocialImpact": _impact(result),
            "additionalProperty": [
                {"@type": "PropertyValue", "name": "verdict of the unveil audit", "value": result.verdict},
                *values,
            ],
        }
    )
    return sidecar


def _sensitive(result: AuditResult) -> str:
    return (
        "Pictures of faces, made by a generator trained on real people. Audited for people of the training set with "
        f"unveil: {result.verdict}. {result.headline}"
    )


def _impact(result: AuditResult) -> str:
    significant = len(result.significant_people)
    if result.verdict == "leak found" and significant:
        return (
            f"{significant} people of the training set can be recognised in images of this set, at a false discovery "
            f"rate of "
            f"{result.manifest['settings']['fdr']:g}. Until those pictures are removed, publishing the set publishes "
            "those people's biometric data."
        )
    if result.verdict == "leak found":
        return "The training people as a whole are closer to this set than other people are: it carries traces of them."
    if result.verdict == "none detected":
        return (
            "No training person was found in this set. An audit finds what its network can show; no set is proven safe."
        )
    return "Whether people of the training set can be recognised in this set is not established."


def datasheet(result: AuditResult) -> str:
    """Answers to the questions of a datasheet (Gebru et al. 2018, arXiv 1803.09010) on which an audit has a word."""
    q = [
        (
            "Does the dataset relate to people?",
            "It shows faces that were generated. The generator was trained on pictures of real people; this section "
            "says what an audit found of them in it.",
        ),
        (
            "Is it possible to identify individuals, either directly or indirectly, from the dataset?",
            f"**{result.verdict.capitalize()}.** {result.headline}",
        ),
        (
            "Does the dataset contain data that might be considered sensitive in any way?",
            "Faces that can be matched with a real person are biometric data (GDPR, article 9). " + _impact(result),
        ),
        (
            "Has an analysis of the potential impact of the dataset and its use on data subjects been conducted?",
            _conducted(result),
        ),
        (
            "Are there any errors, sources of noise, or redundancies in the dataset?",
            _list(f"{c.name}: {c.message}" for c in result.input_checks)
            + f"\n{result.counts['synthetic'].rejected:,} of {result.counts['synthetic'].images:,} files gave no face; "
            f"{result.counts['synthetic'].repeats:,} repeat another byte for byte.",
        ),
        ("What does this analysis not show?", _list(_limits(result))),
    ]
    body = "\n\n".join(f"### {question}\n\n{answer.strip()}" for question, answer in q)
    return f"## People of the training set: a section for the datasheet\n\n{body}\n\n{_made_with(result)}\n"


def _conducted(result: AuditResult) -> str:
    calibration = result.calibration
    said = (
        f"A membership inference attack (arXiv 2410.24015) compared all {result.pairs_compared:,} pairs of synthetic "
        "and training pictures"
    )
    if calibration is None:
        return said + ", without control people: its result is not calibrated."
    p = number(calibration.decision.global_test.p_value)
    said += (
        f", calibrated on {len(calibration.control):,} people whom the generator never saw. The chance of ranks like "
        f"these had nothing leaked is p = {p}."
    )
    rows = [_row(name, e) for name, e in figures(result)]
    said += "\n\n" + _table(("figure", "value", "95% interval", "n"), rows)
    review = result.review
    if review is not None:
        said += f"\n\n{len(review.reviewers)} people looked at {len(review.pairs):,} pairs."
    return said
