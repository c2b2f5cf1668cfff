"""What pictures are looked at with, by name: opened here, or once more by whoever works elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from unveil.channels.appearance import AppearanceChannel
from unveil.channels.base import Channel
from unveil.channels.copy import CopyChannel
from unveil.channels.face import FaceChannel
from unveil.choices import Device
from unveil.faces.detectors import Detector, open_detector


@dataclass(frozen=True)
class ChannelConfig:
    """Names of networks and detector (None: the default network, no detector), and which further channels there are."""

    models: tuple[str | None, ...]
    detector: str | None
    copy_model: str | None
    further: tuple[str, ...]  # of appearance and copy
    device: Device

    @property
    def absolute(self) -> ChannelConfig:
        """The same for a process that runs in another folder."""
        return replace(
            self,
            models=tuple(_absolute(model) for model in self.models),
            detector=_absolute(self.detector),
            copy_model=_absolute(self.copy_model),
        )

    def open(self) -> LoadedChannels:
        """Networks loaded; ModelError when one is not there."""
        networks = [FaceChannel(model, self.device) for model in self.models]
        copy_channel = None if self.copy_model is None else CopyChannel(self.copy_model, self.device)
        further: list[Channel] = []
        if AppearanceChannel.name in self.further:
            further.append(AppearanceChannel())
        if copy_channel is not None and CopyChannel.name in self.further:
            further.append(copy_channel)
        return LoadedChannels(networks, further, copy_channel, open_detector(self.detector))


@dataclass(frozen=True)
class LoadedChannels:
    """Equipment that is ready: face networks, further channels, the copy network whether it is a channel or not."""

    networks: list[FaceChannel]
    further: list[Channel]
    copy_channel: CopyChannel | None
    detector: Detector

    @property
    def channels(self) -> list[Channel]:
        """All channels, face networks first."""
        return [*self.networks, *self.further]


def _absolute(name: str | None) -> str | None:
    """A file by its whole path; any other name as it is."""
    return str(Path(name).absolute()) if name is not None and Path(name).is_file() else name
