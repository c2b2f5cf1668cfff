"""`croissant.json`: a sidecar in Croissant 1.1 with the RAI extension 1.0."""

from __future__ import annotations

from typing import Any

from unveil.choices import LEAK, NO_LEAK
from unveil.report.audit_facts import provenance, residual_risk, reviewers, threat_model, unit
from unveil.report.first_page import AUDIT_AGAIN
from unveil.report.key_numbers import key_numbers, own_limitations
from unveil.report.text import false_findings
from unveil.results import AuditResult, plain
from unveil.stats.statements import Evidence

CROISSANT, RAI = "http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"
# From the specification of Croissant 1.1.
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


def croissant(result: AuditResult) -> dict[str, Any]:
    """The sidecar, from a redacted result. Merge it into the set's own description."""
    values = [
        {
            "@type": "PropertyValue",
            "name": name,
            "value": e.value,
            "minValue": e.low,
            "maxValue": e.high,
            "measurementTechnique": f"{e.method}; {e.level:.0%} interval, n = {e.n}",
        }
        for name, e in key_numbers(result)
    ]
    sidecar: dict[str, Any] = plain(
        {
            "@context": CONTEXT,
            "@type": "sc:Dataset",
            "conformsTo": [CROISSANT, RAI],
            "name": "synthetic-face-set",
            "description": "Privacy audit of a synthetic face set. Merge these properties into the Croissant "
            "description of the set, which has its name and licence.",
            "identifier": f"sha256:{result.manifest['inputs']['synthetic']['sha256']}",
            "rai:personalSensitiveInformation": [
                "Images of faces made by a generator that was trained on images of real people. Audited with unveil "
                f"for people of the training set: {result.verdict}. {result.headline}"
            ],
            "rai:dataLimitations": own_limitations(result),
            "rai:dataSocialImpact": measured(result),
            "rai:dataCollectionRawData": " ".join(provenance(result)),
            "rai:dataAnnotationAnalysis": [reviewers(result)],
            "rai:dataReleaseMaintenancePlan": AUDIT_AGAIN,
            "additionalProperty": [
                {"@type": "PropertyValue", "name": "verdict of the unveil audit", "value": result.verdict},
                {"@type": "PropertyValue", "name": "threat model of the audit", "value": threat_model(result)},
                {"@type": "PropertyValue", "name": "unit of the audit", "value": unit(result)},
                {
                    "@type": "PropertyValue",
                    "name": "residual risk after the audit",
                    "value": " ".join(residual_risk(result)),
                },
                *values,
            ],
        }
    )
    return sidecar


_GROUP = "The training people as a group are closer to this set than other people are: the set depends on them."
# What evidence that names no person says of the set.
OF_THE_SET: dict[Evidence, str] = {
    "global test": _GROUP,
    "crowd test": _GROUP,
    "label link": "Labels of this set correspond to classes of the training set.",
    "identities": "Whole synthetic identities are closer to training people than chance explains.",
}


def measured(result: AuditResult) -> str:
    """What was measured about the people of the training set: no probability of membership, no legal conclusion."""
    significant = len(result.significant_people)
    if result.verdict in LEAK and significant:
        false = false_findings(result.expected_false_people, result.manifest["settings"]["fdr"])
        copied = len({copy.person for copy in result.copies})
        facts = f" The set has copies of images of {copied} of them." if copied else ""
        return (
            f"{significant} people of the training set are closer to images of this set than chance explains.{facts} "
            f"{false} Look at these images before the set is published."
        )
    if result.verdict in LEAK:
        said = dict.fromkeys(text for evidence, text in OF_THE_SET.items() if evidence in result.evidence)
        return " ".join(said) or "Images of this set are closer to training images than chance explains."
    if result.verdict in NO_LEAK:
        return "No training person was found in this set. An audit finds only what its model can show."
    return "Whether people of the training set can be recognised in images of this set is not known."
