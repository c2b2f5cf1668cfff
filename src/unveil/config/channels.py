"""From settings to the channels of an audit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unveil.channels.base import ChannelConfig
from unveil.config.settings import SETTINGS, Settings


def channel_config(settings: Settings) -> ChannelConfig:
    """The models, the detector and the channels of an audit."""
    return channels_of(vars(settings))


def channels_of(values: Mapping[str, Any]) -> ChannelConfig:
    """The models, the detector and the channels of parsed settings; those that are absent have their defaults."""
    model, detector, copy_model, channels, device = (
        values.get(name, SETTINGS[name].default) for name in ("model", "detector", "copy_model", "channels", "device")
    )
    return ChannelConfig(
        models=model or (None,), detector=detector, copy_model=copy_model, channels=channels, device=device
    )
