"""The channels that settings ask for."""

from __future__ import annotations

from unveil.channels.base import ChannelConfig
from unveil.config.settings import Settings


def channel_config(settings: Settings) -> ChannelConfig:
    """The models, the detector and the channels of an audit."""
    return ChannelConfig(
        models=settings.model or (None,),
        detector=settings.detector,
        copy_model=settings.copy_model,
        channels=settings.channels,
        device=settings.device,
    )
