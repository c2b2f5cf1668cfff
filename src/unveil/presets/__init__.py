"""Facts about published sets: where their pictures and people lie, and what their generators were trained on."""

from unveil.presets.table import Preset, find_preset, presets, resolve

__all__ = ["Preset", "find_preset", "presets", "resolve"]
