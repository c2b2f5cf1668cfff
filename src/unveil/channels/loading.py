"""Opens channels by name: in this process, or again in a worker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module

from unveil.channels.base import Channel, ChannelConfig
from unveil.channels.copy import CopyChannel
from unveil.channels.face import FaceChannel
from unveil.choices import CHANNELS, FACE
from unveil.errors import SettingError
from unveil.faces.detectors import Detector, open_detector


@dataclass(frozen=True)
class LoadedChannels:
    """Opened channels: one face channel for each face model, the other channels, and the copy-detection model."""

    faces: Sequence[FaceChannel]
    others: Sequence[Channel]
    copy_channel: CopyChannel | None
    detector: Detector

    @property
    def all(self) -> list[Channel]:
        """All channels, face models first."""
        return [*self.faces, *self.others]


def load_channels(config: ChannelConfig) -> LoadedChannels:
    """Loads the models. Raises ModelError if one is not available, SettingError for an unknown channel."""
    faces = [FaceChannel(model, config.device) for model in config.models]
    others = [open_channel(name, config) for name in config.channels if name != FACE]
    copies = [channel for channel in others if isinstance(channel, CopyChannel)]
    if not copies and config.copy_model is not None:
        copies = [CopyChannel.open(config)]
    return LoadedChannels(faces, others, copies[0] if copies else None, open_detector(config.detector))


def open_channel(name: str, config: ChannelConfig) -> Channel:
    """Opens the channel of this name. Raises SettingError if ``unveil.choices.CHANNELS`` has none."""
    if name not in CHANNELS:
        raise SettingError(f"channels should be any of {', '.join(CHANNELS)}, got {name}")
    module, cls = CHANNELS[name].split(":")
    channel: Channel = getattr(import_module(module), cls).open(config)
    return channel
