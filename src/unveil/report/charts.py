"""Charts as inline SVG. They need no script and no other file, and take their colours from the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape

from unveil.results import Exposures
from unveil.stats.membership import roc
from unveil.types import Floats

Tick = tuple[float, str]


@dataclass(frozen=True)
class Frame:
    """The size of a chart in pixels, and how many bins its histogram has. Text has 13 pixels."""

    name: str
    width: int
    height: int
    bins: int
    left: int = 62
    right: int = 16
    top: int = 26
    bottom: int = 48

    @property
    def right_edge(self) -> float:
        """The x of the right end of the axis."""
        return self.width - self.right

    @property
    def base(self) -> float:
        """The y of the lower end of the axis."""
        return self.height - self.bottom

    def across(self, share: float) -> float:
        """The x at a share of the width of the axes."""
        return self.left + share * (self.right_edge - self.left)


# A page shows the first, and the second on a narrow screen.
FRAMES = (Frame("wide", 720, 330, 60), Frame("narrow", 350, 330, 36))


def exposure_chart(exposures: Exposures, significant: Floats) -> Markup:
    """Histogram of the scores of training people (upwards) and control people (downwards) on a log scale.

    A tick marks the score (N,) of each significant person.
    """
    training, control = exposures.training.score, exposures.control.score
    top = float(control.max())
    title = (
        f"Scores of {len(training)} training people, upwards, and {len(control)} control people, downwards. "
        f"{int((training > top).sum())} training people exceed every control person."
    )
    return _both(lambda frame: _exposure(frame, training, control, significant), title)


def _exposure(frame: Frame, training: Floats, control: Floats, significant: Floats) -> list[str]:
    low, high = float(min(training.min(), control.min())), float(max(training.max(), control.max()))
    edges = np.linspace(low, high if high > low else low + 1, frame.bins + 1)
    up, down = (np.log10(1 + np.histogram(side, edges)[0]) for side in (training, control))
    tallest = max(float(up.max()), float(down.max()))
    middle, reach = (frame.top + frame.base) / 2, (frame.base - frame.top) / 2

    def x(value: float) -> float:
        return frame.across((value - float(edges[0])) / float(edges[-1] - edges[0]))

    counts = [n for n in (1, 10, 100, 1000, 10_000, 100_000, 1_000_000) if np.log10(1 + n) <= tallest]
    heights = [(f"{n:,}", float(np.log10(1 + n)) / tallest * reach) for n in counts]
    parts = _y_axis(
        frame, [(middle + sign * h, label) for sign in (-1, 1) for label, h in heights], "people (log scale)"
    )
    for bars, sign, style in ((up, -1, "training"), (down, 1, "control")):
        for i, h in enumerate(bars):
            if h > 0:
                size = h / tallest * reach
                y = middle - size if sign < 0 else middle
                parts.append(_rect(x(edges[i]) + 0.5, y, x(edges[i + 1]) - x(edges[i]) - 1, size, style))
    top = float(control.max())
    parts.append(f'<line class="mark" x1="{x(top):.1f}" x2="{x(top):.1f}" y1="{frame.top - 6}" y2="{frame.base}"/>')
    on_left = x(top) > frame.width * 0.55
    parts.append(
        _text(x(top) + (-6 if on_left else 6), frame.top - 10, "closest control person", "end" if on_left else "start")
    )
    parts += [
        f'<line class="significant" x1="{x(s):.1f}" x2="{x(s):.1f}" y1="{middle - 3:.1f}" y2="{middle + 3:.1f}"/>'
        for s in significant
    ]
    parts.append(_line(frame.left, frame.right_edge, middle))
    ticks = [(x(value), label) for value, label in round_ticks(float(edges[0]), float(edges[-1]))]
    return parts + _x_axis(frame, _spaced(frame, ticks), "score of the closest pair")


def roc_chart(exposures: Exposures, auc: float) -> Markup:
    """ROC curve over people with the false positive rate on a log axis."""
    title = f"ROC curve of training against control people, AUC {auc:.3f}. The dashed line is chance."
    return _both(lambda frame: _roc(frame, exposures), title)


def _roc(frame: Frame, exposures: Exposures) -> list[str]:
    smallest = 1 / len(exposures.control) / 1.5

    def x(fpr: float) -> float:
        return frame.across(float(1 - np.log10(max(fpr, smallest)) / np.log10(smallest)))

    def y(tpr: float) -> float:
        return frame.top + (1 - tpr) * (frame.base - frame.top)

    def path(fprs: Floats, tprs: Floats, style: str) -> str:
        points, last = [f"M{x(fprs[0]):.1f} {y(tprs[0]):.1f}"], tprs[0]
        for fpr, tpr in zip(fprs[1:], tprs[1:], strict=True):
            points.append(f"L{x(fpr):.1f} {y(last):.1f}L{x(fpr):.1f} {y(tpr):.1f}")
            last = tpr
        return f'<path class="{style}" d="{"".join(points)}"/>'

    chance = "".join(f"{'L' if i else 'M'}{x(v):.1f} {y(v):.1f}" for i, v in enumerate(np.geomspace(smallest, 1, 60)))
    powers = [10.0**-k for k in range(int(np.floor(-np.log10(smallest))), -1, -1)]
    return [
        *_y_axis(frame, [(y(v), f"{v:.0%}") for v in (0, 0.25, 0.5, 0.75, 1)], "training people found"),
        f'<path class="chance" d="{chance}"/>',
        _text(x(0.2) - 8, y(0.2) - 8, "chance", "end"),
        path(*thinned(*roc(exposures.training.score, exposures.control.score)), "curve"),
        *_x_axis(frame, [(x(v), f"{100 * v:g}%") for v in powers], "control people falsely found (log scale)"),
    ]


def round_ticks(low: float, high: float) -> list[Tick]:
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


def _spaced(frame: Frame, ticks: Sequence[Tick]) -> list[Tick]:
    """Every tick, or every second one where they would touch."""
    narrow = len(ticks) > 1 and ticks[1][0] - ticks[0][0] < 9 * max(len(label) for _, label in ticks)
    return list(ticks[::2] if narrow else ticks)


def _y_axis(frame: Frame, ticks: Sequence[Tick], title: str) -> list[str]:
    middle = (frame.top + frame.base) / 2
    turned = f'<text transform="translate(14 {middle:.1f}) rotate(-90)" text-anchor="middle">{escape(title)}</text>'
    lines = [_line(frame.left, frame.right_edge, y, "grid") for y, _ in ticks]
    return [*lines, *(_text(frame.left - 7, y + 4.5, label, "end") for y, label in ticks), turned]


def _x_axis(frame: Frame, ticks: Sequence[Tick], title: str) -> list[str]:
    parts = [_line(frame.left, frame.right_edge, frame.base)]
    for x, label in ticks:
        parts.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{frame.base}" y2="{frame.base + 4}"/>')
        # A label at the end of the axis stays inside the chart.
        parts.append(_text(x, frame.base + 19, label, "end" if x > frame.right_edge - 8 else "middle"))
    return [*parts, _text((frame.left + frame.right_edge) / 2, frame.height - 8, title, "middle")]


def _line(x1: float, x2: float, y: float, style: str = "axis") -> str:
    return f'<line class="{style}" x1="{x1:.1f}" x2="{x2:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'


def _rect(x: float, y: float, width: float, height: float, style: str) -> str:
    return f'<rect class="{style}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _both(draw: Callable[[Frame], list[str]], title: str) -> Markup:
    """The chart in both sizes, of which a page shows one."""
    # Every part is made of numbers and escaped text.
    return Markup("").join(
        Markup(  # noqa: S704
            f'<svg class="{frame.name}" viewBox="0 0 {frame.width} {frame.height}" role="img" '
            f'aria-label="{escape(title)}">{"".join(draw(frame))}</svg>'
        )
        for frame in FRAMES
    )
