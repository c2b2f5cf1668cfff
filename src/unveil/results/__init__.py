"""The records of an audit's result, by topic, and their JSON.

A docstring below a field is its description in the JSON Schema of `audit.json` (`python -m tools.audit_schema`).
"""

from unveil.results.audit import (
    AuditResult,
    InputFacts,
    MachineFacts,
    Manifest,
    Method,
    ModelFacts,
    RoleCounts,
    foremost,
    shortened,
)
from unveil.results.calibration import (
    Balance,
    Baselines,
    Calibration,
    DetectionLimit,
    Exposures,
    GPDFit,
    IdentityCompetition,
    Membership,
    Power,
    Stability,
    Stratum,
    VerificationPerformance,
)
from unveil.results.findings import (
    CandidateThreshold,
    ChannelScore,
    ExactCopy,
    HubnessFinding,
    IdentityFinding,
    ModelScore,
    PairFinding,
    PairKind,
    PersonFinding,
)
from unveil.results.label_link import LabelLink, LinkedClass, TriedCorrespondence
from unveil.results.review import Agreement, Outcome, PairVerdicts, Review
from unveil.results.risk import HighestRisk, PrivacyRisk
from unveil.results.serialise import from_document, plain, schema, to_document

__all__ = [
    "Agreement",
    "AuditResult",
    "Balance",
    "Baselines",
    "Calibration",
    "CandidateThreshold",
    "ChannelScore",
    "DetectionLimit",
    "ExactCopy",
    "Exposures",
    "GPDFit",
    "HighestRisk",
    "HubnessFinding",
    "IdentityCompetition",
    "IdentityFinding",
    "InputFacts",
    "LabelLink",
    "LinkedClass",
    "MachineFacts",
    "Manifest",
    "Membership",
    "Method",
    "ModelFacts",
    "ModelScore",
    "Outcome",
    "PairFinding",
    "PairKind",
    "PairVerdicts",
    "PersonFinding",
    "Power",
    "PrivacyRisk",
    "Review",
    "RoleCounts",
    "Stability",
    "Stratum",
    "TriedCorrespondence",
    "VerificationPerformance",
    "foremost",
    "from_document",
    "plain",
    "schema",
    "shortened",
    "to_document",
]
