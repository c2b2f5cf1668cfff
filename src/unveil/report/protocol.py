"""What a report says of a protocol: what was decided before the audit, when, and what differs."""

from __future__ import annotations

from datetime import datetime

from unveil.report.text import enumeration, percent
from unveil.results import PlannedStatement, ProtocolRecord

PROOF = (
    "The time is that of a machine's clock. The hash proves that the protocol came first only if it was published or "
    "time-stamped elsewhere before the audit."
)
NO_PROTOCOL = "Nothing was fixed before this audit. A protocol does that (unveil plan --protocol)."


def day(protocol: ProtocolRecord) -> str:
    """The day of a protocol in words, in universal time."""
    when = datetime.fromisoformat(protocol.made)
    return f"{when.day} {when:%B %Y, %H:%M} ({when:%Z})"


def decided(protocol: ProtocolRecord) -> str:
    """When the protocol was made, and whether the audit follows it, in two sentences."""
    text = f"Inputs, models, thresholds and statements were fixed in a protocol of {day(protocol)}."
    return f"{text} {followed(protocol)}"


def followed(protocol: ProtocolRecord) -> str:
    """Whether the audit follows its protocol."""
    if not protocol.deviations:
        return "The audit follows it."
    n = len(protocol.deviations)
    names = enumeration(dict.fromkeys(deviation.what for deviation in protocol.deviations), "and")
    return f"The audit deviates from it in {n} {'point' if n == 1 else 'points'}: {names}."


def fixed_inputs(protocol: ProtocolRecord) -> str:
    """How the images of each role were fixed."""
    by_content = [role for role, how in protocol.inputs.items() if how == "content"]
    by_names = [role for role, how in protocol.inputs.items() if how == "names"]
    parts = []
    if by_content:
        parts.append(f"All bytes of the {enumeration(by_content, 'and')} images were fixed.")
    if by_names:
        parts.append(
            f"Of the {enumeration(by_names, 'and')} images, only the number, names and labels were fixed: the content "
            "could have changed."
        )
    return " ".join(parts)


def at_level(planned: PlannedStatement) -> str:
    """The level of a planned statement in words."""
    if planned.level is None:
        return "a fact, without a level"
    return f"{'level' if planned.level_of == 'test' else 'false discovery rate'} {percent(planned.level)}"
