"""`junit.xml`: the verdict and the input checks as test cases for continuous integration."""

from __future__ import annotations

from xml.etree import ElementTree

from unveil.choices import NO_LEAK
from unveil.results import AuditResult


def junit(result: AuditResult) -> str:
    """JUnit XML from a redacted result. Every verdict is a failure but those that report no leak, and so is each failed
    input check."""
    leak = None if result.verdict in NO_LEAK else result.verdict
    cases: list[tuple[str, str, str | None, str]] = [
        ("verdict", "no training person is significant", leak, " ".join([result.headline, *_next(result)])),
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
        skipped="0",
    )
    for group, name, failure, message in cases:
        case = ElementTree.SubElement(suite, "testcase", classname=f"unveil.{group}", name=name)
        if failure is not None:
            ElementTree.SubElement(case, "failure", message=_xml(failure)).text = _xml(message)
        else:
            ElementTree.SubElement(case, "system-out").text = _xml(message)
    suites = ElementTree.Element("testsuites")
    suites.append(suite)
    ElementTree.indent(suites)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(suites, "unicode") + "\n"


def _next(result: AuditResult) -> list[str]:
    step = result.next_step
    return [] if step is None else [f"Next step: {step.option}. {step.action}"]


def _xml(text: str) -> str:
    """Text without the characters that XML cannot contain."""
    allowed = (c for c in text if c in "\t\n" or (ord(c) >= 32 and c not in "\ufffe\uffff"))
    return "".join(allowed).encode("utf-8", "replace").decode()
