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
    IdentityEvidence,
    Membership,
    Power,
    Stability,
    Stratum,
    VerificationPerformance,
)
from unveil.results.findings import (
    ChannelScore,
    ExactCopy,
    HubnessFinding,
    IdentityFinding,
    IdentityMatch,
    ModelScore,
    OverlapFinding,
    PairFinding,
    PairKind,
    PersonFinding,
)
from unveil.results.label_link import LabelLink, LinkedClass, TriedCorrespondence
from unveil.results.no_control import ImprobablePair, NoControl, SearchShift
from unveil.results.protocol import Deviation, FixedBy, PlannedStatement, ProtocolRecord
from unveil.results.review import Agreement, Outcome, PairVerdicts, Review
from unveil.results.risk import HighestRisk, PrivacyRisk
from unveil.results.serialise import from_document, plain, schema, to_document

__all__ = [
    "Agreement",
    "AuditResult",
    "Balance",
    "Baselines",
    "Calibration",
    "ChannelScore",
    "DetectionLimit",
    "Deviation",
    "ExactCopy",
    "Exposures",
    "FixedBy",
    "GPDFit",
    "HighestRisk",
    "HubnessFinding",
    "IdentityCompetition",
    "IdentityEvidence",
    "IdentityFinding",
    "IdentityMatch",
    "ImprobablePair",
    "InputFacts",
    "LabelLink",
    "LinkedClass",
    "MachineFacts",
    "Manifest",
    "Membership",
    "Method",
    "ModelFacts",
    "ModelScore",
    "NoControl",
    "Outcome",
    "OverlapFinding",
    "PairFinding",
    "PairKind",
    "PairVerdicts",
    "PersonFinding",
    "PlannedStatement",
    "Power",
    "PrivacyRisk",
    "ProtocolRecord",
    "Review",
    "RoleCounts",
    "SearchShift",
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
