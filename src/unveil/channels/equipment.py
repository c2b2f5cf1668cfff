"""What pictures are looked at with, by name: opened here, or once more by whoever works elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

from unveil.channels.appearance import AppearanceChannel
from unveil.channels.base import Channel
from unveil.channels.copies import CopyChannel
from unveil.channels.face import FaceChannel
from unveil.faces.detectors import Detector, open_detector
from unveil.faces.network import Device


@dataclass(frozen=True)
class Equipment:
    """Names of networks and detector (None: the default network, no detector), and which further channels there are."""

    models: tuple[str | None, ...]
    detector: str | None
    copy_model: str | None
    further: tuple[str, ...]  # of appearance and copy
    device: Device

    def open(self) -> Opened:
        """Networks loaded; ModelError when one is not there."""
        networks = [FaceChannel(model, self.device) for model in self.models]
        copies = None if self.copy_model is None else CopyChannel(self.copy_model, self.device)
        further: list[Channel] = []
        if AppearanceChannel.name in self.further:
            further.append(AppearanceChannel())
        if copies is not None and CopyChannel.name in self.further:
            further.append(copies)
        return Opened(networks, further, copies, open_detector(self.detector))


@dataclass(frozen=True)
class Opened:
    """Equipment that is ready: face networks, further channels, the copy network whether it is a channel or not."""

    networks: list[FaceChannel]
    further: list[Channel]
    copies: CopyChannel | None
    detector: Detector

    @property
    def channels(self) -> list[Channel]:
        """All channels, face networks first."""
        return [*self.networks, *self.further]
