"""Facts about published sets: how to read their images and people, and what their generators were trained on."""

from unveil.presets.table import Preset, find_preset, presets, resolve

__all__ = ["Preset", "find_preset", "presets", "resolve"]
