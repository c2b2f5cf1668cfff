"""Draws docs/images/architecture.svg: the packages of unveil in layers.

python tools/draw_architecture.py

The layers are those of the import contract in pyproject.toml, the captions those of the table in
docs/explanation/architecture.md. `tests/test_docs.py` fails when the stored figure differs from both.
"""

from __future__ import annotations

import re
import tomllib
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "unveil"
PAGE = ROOT / "docs" / "explanation" / "architecture.md"
FIGURE = ROOT / "docs" / "images" / "architecture.svg"
WIDTH, BOX_HEIGHT, GAP, MARGIN, LEFT = 960, 44, 8, 12, 44
LEFT_OUT = {"__init__", "__main__", "_version", "py.typed"}


def packages() -> set[str]:
    """The packages and modules directly below `unveil`."""
    return {p.stem for p in PACKAGE.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()} - LEFT_OUT


def layers() -> list[list[str]]:
    """The packages of each layer, from the top down, as the import contract states them."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    (stated,) = (c["layers"] for c in contracts if c["type"] == "layers" and c["containers"] == ["unveil"])
    rows = [[name.strip() for name in re.split("[|:]", layer)] for layer in stated]
    return [kept for row in rows if (kept := [name for name in row if name not in LEFT_OUT])]


def captions() -> dict[str, str]:
    """What each package holds, in the words of the table."""
    table = PAGE.read_text("utf-8").partition("\n## ")[0]
    return {
        name: text
        for names, text in re.findall(r"^\| (`.+?`) \| (.+?) \|$", table, re.M)
        for name in re.findall(r"`(\w+)`", names)
    }


def figure() -> str:
    """The SVG."""
    rows, text = layers(), captions()
    boxes = []
    for n, row in enumerate(rows):
        width = (WIDTH - LEFT - MARGIN - (len(row) - 1) * GAP) / len(row)
        for k, unit in enumerate(row):
            x, y = LEFT + k * (width + GAP), MARGIN + n * (BOX_HEIGHT + GAP)
            name = unit + ("/" if (PACKAGE / unit).is_dir() else "")
            caption = _fitted(re.split(r"[:;(]", text[unit])[0].strip(), width)
            boxes.append(
                f'<rect x="{x:.0f}" y="{y}" width="{width:.0f}" height="{BOX_HEIGHT}" rx="5"/>'
                f'<text class="name" x="{x + width / 2:.0f}" y="{y + 18}">{escape(name)}</text>'
                f'<text x="{x + width / 2:.0f}" y="{y + 35}">{escape(caption)}</text>'
            )
    height = MARGIN + len(rows) * (BOX_HEIGHT + GAP) + MARGIN - GAP
    x, end = LEFT / 2, height - MARGIN
    title = "The packages of unveil in layers. A package imports only packages of lower layers."
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
            f'aria-label="{escape(title)}">',
            f"<title>{escape(title)}</title>",
            "<style>",
            "rect{fill:#eef1fb;stroke:#5468c4}path{fill:none;stroke:#5468c4;stroke-width:1.5}",
            "text{font:12px system-ui,sans-serif;fill:#3c4463;text-anchor:middle}",
            ".name{font:bold 13px ui-monospace,Menlo,Consolas,monospace;fill:#1b2240}",
            "</style>",
            f'<rect x="0" y="0" width="{WIDTH}" height="{height}" style="fill:#fff;stroke:none"/>',
            f'<path d="M{x:.0f} {MARGIN} V{end} m-5 -8 l5 8 l5 -8"/>',
            f'<text transform="translate({x - 7:.0f} {height / 2:.0f}) rotate(-90)">imports</text>',
            *boxes,
            "</svg>",
            "",
        ]
    )


def _fitted(text: str, width: float) -> str:
    """The words of a caption that fit into a box."""
    words = text.split()
    while len(" ".join(words)) * 6 > width - 12:
        words.pop()
    return " ".join(words).rstrip(",")


if __name__ == "__main__":
    FIGURE.write_text(figure(), "utf-8")
    print(FIGURE)
