"""Draws docs/images/architecture.svg: the packages of unveil in layers, and which package imports which.

python tools/draw_architecture.py

The layers come from the imports themselves: a package stands above everything that it imports. Only direct imports that
no longer chain implies are drawn. `tests/test_docs.py` fails when the stored figure differs from the source.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "unveil"
FIGURE = ROOT / "docs" / "images" / "architecture.svg"
BOX_WIDTH, BOX_HEIGHT, GAP_X, GAP_Y, MARGIN = 118, 34, 18, 46, 16
# Leaves that nearly everything imports; they stand in one box below the figure.
SHARED = ("types", "errors", "progress")
LEFT_OUT = {"__init__", "__main__", "_version", "py.typed"}


def imports() -> dict[str, set[str]]:
    """Which packages and modules directly below `unveil` each of them imports. Type-checking imports count."""
    units = {p.stem for p in PACKAGE.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()} - LEFT_OUT
    found: dict[str, set[str]] = {unit: set() for unit in units}
    for unit in units:
        folder = PACKAGE / unit
        for file in folder.rglob("*.py") if folder.is_dir() else [folder.with_suffix(".py")]:
            for node in ast.walk(ast.parse(file.read_text("utf-8"))):
                if isinstance(node, ast.ImportFrom) and node.module:
                    names = [node.module] if node.module != "unveil" else [f"unveil.{a.name}" for a in node.names]
                elif isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                else:
                    continue
                found[unit] |= {n.split(".")[1] for n in names if n.startswith("unveil.")} & units - {unit}
    return found


def levels(edges: Mapping[str, set[str]]) -> dict[str, int]:
    """The layer of each unit: 0 for one that imports nothing, else one above the highest that it imports.

    Raises ValueError if imports form a circle.
    """
    done: dict[str, int] = {}

    def level(unit: str, above: tuple[str, ...]) -> int:
        if unit in above:
            raise ValueError(f"imports form a circle: {' -> '.join((*above, unit))}")
        if unit not in done:
            done[unit] = 1 + max((level(below, (*above, unit)) for below in edges[unit]), default=-1)
        return done[unit]

    for unit in edges:
        level(unit, ())
    return done


def reduced(edges: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """The edges that no longer chain of imports implies (transitive reduction)."""
    reach: dict[str, set[str]] = {}

    def reachable(unit: str) -> set[str]:
        if unit not in reach:
            reach[unit] = set(edges[unit]).union(*(reachable(below) for below in edges[unit]))
        return reach[unit]

    return {
        unit: {b for b in below if not any(b in reachable(other) for other in below - {b})}
        for unit, below in edges.items()
    }


def figure() -> str:
    """The SVG."""
    edges = {unit: below - set(SHARED) for unit, below in imports().items() if unit not in SHARED}
    level = levels(edges)
    rows: list[list[str]] = [sorted(u for u in level if level[u] == n) for n in range(max(level.values()), -1, -1)]
    thin = reduced(edges)
    users = {unit: [u for u in thin if unit in thin[u]] for unit in thin}
    widest = max(map(len, rows))
    width = widest * (BOX_WIDTH + GAP_X) - GAP_X + 2 * MARGIN
    place: dict[str, tuple[float, float]] = {}
    for n, row in enumerate(rows):
        # Each box near the middle of the boxes that import it, so that few lines cross.
        def middle(unit: str) -> float:
            above = [place[u][0] for u in users[unit] if u in place]
            return sum(above) / len(above) if above else width / 2

        row.sort(key=lambda unit: (middle(unit), unit))
        start = (width - len(row) * (BOX_WIDTH + GAP_X) + GAP_X) / 2
        for k, unit in enumerate(row):
            place[unit] = (start + k * (BOX_WIDTH + GAP_X) + BOX_WIDTH / 2, MARGIN + n * (BOX_HEIGHT + GAP_Y))
    bottom = MARGIN + len(rows) * (BOX_HEIGHT + GAP_Y)
    height = bottom + BOX_HEIGHT + MARGIN
    lines, boxes = [], []
    for unit in sorted(thin):
        for below in sorted(thin[unit]):
            (x1, y1), (x2, y2) = place[unit], place[below]
            lines.append(
                f'<path d="M{x1:.0f} {y1 + BOX_HEIGHT:.0f} C{x1:.0f} {y1 + BOX_HEIGHT + 26:.0f} {x2:.0f} {y2 - 26:.0f} '
                f'{x2:.0f} {y2:.0f}"/>'
            )
    for unit, (x, y) in place.items():
        name = unit + ("/" if (PACKAGE / unit).is_dir() else "")
        boxes.append(_box(x - BOX_WIDTH / 2, y, BOX_WIDTH, name))
    boxes.append(_box(MARGIN, bottom, width - 2 * MARGIN, ", ".join(SHARED) + ": imported by nearly all of them"))
    title = "The packages of unveil. A package imports those below it that its lines reach."
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" role="img" '
            f'aria-label="{escape(title)}">',
            f"<title>{escape(title)}</title>",
            "<style>",
            "rect{fill:#eef1fb;stroke:#5468c4}path{fill:none;stroke:#8a94b8;stroke-width:1.2}",
            "text{font:13px ui-monospace,Menlo,Consolas,monospace;fill:#1b2240;text-anchor:middle}",
            "</style>",
            f'<rect x="0" y="0" width="{width:.0f}" height="{height:.0f}" style="fill:#fff;stroke:none"/>',
            *lines,
            *boxes,
            "</svg>",
            "",
        ]
    )


def _box(x: float, y: float, width: float, text: str) -> str:
    return (
        f'<rect x="{x:.0f}" y="{y:.0f}" width="{width:.0f}" height="{BOX_HEIGHT}" rx="5"/>'
        f'<text x="{x + width / 2:.0f}" y="{y + BOX_HEIGHT / 2 + 4:.0f}">{escape(text)}</text>'
    )


if __name__ == "__main__":
    FIGURE.write_text(figure(), "utf-8")
    print(FIGURE)
