"""Charts as inline SVG. They need no script and no other file, and take their colours from the page."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup, escape

from unveil.results import Exposures
from unveil.stats.membership import roc
from unveil.types import Floats

WIDTH, HEIGHT = 720, 300
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 14, 40


def exposure_chart(exposures: Exposures, significant: Floats) -> Markup:
    """Histogram of the scores of training people (upwards) and control people (downwards) on a log scale.

    A tick marks the score (N,) of each significant person.
    """
    training, control = exposures.training.score, exposures.control.score
    low, high = float(min(training.min(), control.min())), float(max(training.max(), control.max()))
    edges = np.linspace(low, high if high > low else low + 1, 61)
    up, down = (np.log10(1 + np.histogram(side, edges)[0]) for side in (training, control))
    tallest = max(float(up.max()), float(down.max()))
    middle = TOP + (HEIGHT - TOP - BOTTOM) / 2
    reach = (HEIGHT - TOP - BOTTOM) / 2

    def x(value: float) -> float:
        return LEFT + (value - float(edges[0])) / float(edges[-1] - edges[0]) * (WIDTH - LEFT - RIGHT)

    parts = []
    for heights, sign, style in ((up, -1, "training"), (down, 1, "control")):
        for i, h in enumerate(heights):
            if h > 0:
                size = h / tallest * reach
                y = middle - size if sign < 0 else middle
                parts.append(_rect(x(edges[i]) + 0.5, y, x(edges[i + 1]) - x(edges[i]) - 1, size, style))
    top = float(control.max())
    parts.append(f'<line class="mark" x1="{x(top):.1f}" x2="{x(top):.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
    on_left = x(top) > WIDTH * 0.7
    parts.append(
        _text(x(top) + (-6 if on_left else 6), TOP + 10, "highest control person", "end" if on_left else "start")
    )
    parts += [
        f'<line class="significant" x1="{x(s):.1f}" x2="{x(s):.1f}" y1="{middle - 3:.1f}" y2="{middle + 3:.1f}"/>'
        for s in significant
    ]
    for n in (1, 10, 100, 1000, 10000):
        h = np.log10(1 + n) / tallest * reach
        if h <= reach:
            parts += [_text(LEFT - 6, middle + s * h + 4, str(n), "end") for s in (-1, 1)]
    ticks = [(x(value), label) for value, label in round_ticks(float(edges[0]), float(edges[-1]))]
    parts += _x_axis(ticks, "score of the best pair (0: median of all real people, 15% are below -1)")
    return _svg(
        parts,
        f"Scores of {len(training)} training people, upwards, and {len(control)} control people, downwards. "
        f"{int((training > top).sum())} training people exceed every control person.",
    )


def roc_chart(exposures: Exposures, auc: float) -> Markup:
    """ROC curve over people with the false positive rate on a log axis."""
    n_control = len(exposures.control)
    smallest = 1 / n_control / 1.5

    def x(fpr: float) -> float:
        return LEFT + float(1 - np.log10(max(fpr, smallest)) / np.log10(smallest)) * (WIDTH - LEFT - RIGHT)

    def y(tpr: float) -> float:
        return TOP + (1 - tpr) * (HEIGHT - TOP - BOTTOM)

    def path(fprs: Floats, tprs: Floats, style: str) -> str:
        points, last = [f"M{x(fprs[0]):.1f} {y(tprs[0]):.1f}"], tprs[0]
        for fpr, tpr in zip(fprs[1:], tprs[1:], strict=True):
            points.append(f"L{x(fpr):.1f} {y(last):.1f}L{x(fpr):.1f} {y(tpr):.1f}")
            last = tpr
        return f'<path class="{style}" d="{"".join(points)}"/>'

    chance = "".join(f"{'L' if i else 'M'}{x(v):.1f} {y(v):.1f}" for i, v in enumerate(np.geomspace(smallest, 1, 60)))
    parts = [
        f'<path class="chance" d="{chance}"/>',
        path(*thinned(*roc(exposures.training.score, exposures.control.score)), "curve"),
    ]
    ticks = [10.0**-k for k in range(int(np.floor(-np.log10(smallest))), -1, -1)]
    parts += [_text(LEFT - 6, y(v) + 4, f"{v:.0%}", "end") for v in (0, 0.25, 0.5, 0.75, 1)]
    parts += _x_axis(
        [(x(v), f"{v:.3%}".rstrip("0").rstrip("%").rstrip("0").rstrip(".") + "%") for v in ticks],
        "control people above the threshold (false positive rate, log scale)",
    )
    return _svg(parts, f"ROC curve of training against control people, AUC {auc:.3f}. The dashed line is chance.")


def round_ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Four to nine round values between two others, with their labels."""
    power = 10.0 ** np.floor(np.log10((high - low) / 4))
    step = power * max(factor for factor in (1, 2, 5) if factor * power <= (high - low) / 4)
    digits = max(0, -int(np.floor(np.log10(step))))
    first, last = int(np.ceil(low / step)), int(np.floor(high / step))
    return [(i * step, f"{i * step:.{digits}f}") for i in range(first, last + 1)]


def thinned(fpr: Floats, tpr: Floats) -> tuple[Floats, Floats]:
    """The corners of a ROC curve: points where the false positive rate changes."""
    keep = np.concatenate([np.diff(fpr) > 0, [True]])
    return fpr[keep], tpr[keep]


def _x_axis(ticks: list[tuple[float, str]], title: str) -> list[str]:
    base = HEIGHT - BOTTOM
    parts = [f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}"/>']
    parts += [_text(at, base + 16, label, "middle") for at, label in ticks]
    return [*parts, _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, title, "middle")]


def _rect(x: float, y: float, width: float, height: float, style: str) -> str:
    return f'<rect class="{style}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(parts: list[str], title: str) -> Markup:
    # Every part is made of numbers and escaped text.
    body = "".join(parts)
    return Markup(f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">{body}</svg>')  # noqa: S704
