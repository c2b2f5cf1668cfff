"""Writes `unveil/api/keywords.py`: the keyword arguments of `unveil.audit`, typed, from the table of settings.

python -m tools.audit_keywords
"""

from __future__ import annotations

import textwrap
from pathlib import Path

from unveil.config.settings import SETTINGS

FILE = Path(__file__).resolve().parents[1] / "src/unveil/api/keywords.py"
# Arguments of their own in `unveil.audit`.
ARGUMENTS = {"synthetic", "training", "control", "out"}
# What a caller writes for a field of each type.
TYPES = {
    "bool": "bool",
    "int": "int",
    "float": "float",
    "str": "str | Path",
    "str | None": "str | Path",
    "Path | None": "str | Path",
    "tuple[str, ...]": "str | Path | Sequence[str | Path]",
    "dict[Role, Aligned]": "Aligned | Mapping[Role, Aligned]",
    "dict[Role, LabelRule]": "str | Mapping[Role, str]",
    "MatchControls": "MatchControls",
    "Device": "Device",
    "PlantedLeaks": "PlantedLeaks",
}
HEAD = '''"""Keyword arguments of `unveil.audit`, for editors and type checkers (`python -m tools.audit_keywords`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

from unveil.choices import Aligned, Device, MatchControls, PlantedLeaks, Role


class AuditKeywords(TypedDict, total=False):
    """Settings of an audit. One that is left out or None has its default."""

'''


def text() -> str:
    """The module as it stands in the file. Raises KeyError for a setting of a type without a spelling."""
    fields = []
    for name, setting in SETTINGS.items():
        if name not in ARGUMENTS:
            said = textwrap.fill(f'"""{setting.help}"""', 116, break_long_words=False, break_on_hyphens=False)
            fields.append(f"    {name}: {TYPES[setting.type]} | None\n{textwrap.indent(said, '    ')}\n")
    return HEAD + "".join(fields)


if __name__ == "__main__":
    FILE.write_text(text(), "utf-8")
