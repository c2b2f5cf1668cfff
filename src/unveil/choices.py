"""The names that a user can choose from. The command line imports this module, so it imports nothing heavy."""

from __future__ import annotations

from typing import Literal, get_args

Role = Literal["synthetic", "training", "control"]
ROLES: tuple[Role, ...] = get_args(Role)

# The two sets of an overlap.
SetName = Literal["A", "B"]
SET_NAMES: tuple[SetName, ...] = get_args(SetName)

Aligned = Literal["auto", "yes", "no"]
ALIGNED: tuple[Aligned, ...] = get_args(Aligned)

Device = Literal["auto", "cpu", "cuda", "tensorrt", "torch"]
DEVICES: tuple[Device, ...] = get_args(Device)

MatchControls = Literal["auto", "on", "off"]
MATCH_CONTROLS: tuple[MatchControls, ...] = get_args(MatchControls)

PlantedLeaks = Literal["full", "quick", "off"]
PLANTED_LEAKS: tuple[PlantedLeaks, ...] = get_args(PlantedLeaks)

AuditVerdict = Literal[
    "leak found",
    "leak indicated (no control set)",
    "none detected",
    "none detected (no control set)",
    "inconclusive",
]
# The verdicts that report a leak, and those that report none.
LEAK: tuple[AuditVerdict, ...] = ("leak found", "leak indicated (no control set)")
NO_LEAK: tuple[AuditVerdict, ...] = ("none detected", "none detected (no control set)")

BACKENDS = ("auto", "native", "onnxruntime", "torch", "numpy")
# The channel of every audit.
FACE = "face"
# Every channel: its name, and the module and class that implement it. The order is that of the report.
CHANNELS = {
    FACE: "unveil.channels.face:FaceChannel",
    "appearance": "unveil.channels.appearance:AppearanceChannel",
    "copy": "unveil.channels.copy:CopyChannel",
}
