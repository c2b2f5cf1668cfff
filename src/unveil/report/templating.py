"""The environment in which templates become pages."""

from __future__ import annotations

import re
from itertools import cycle

from jinja2 import Environment, PackageLoader, StrictUndefined

from unveil.choices import LEAK, NO_LEAK
from unveil.images.unread import first_notes


def environment() -> Environment:
    """Templates of `unveil.report`. Every value is escaped, and a missing one is an error."""
    pages = Environment(
        loader=PackageLoader("unveil.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters["verdict_style"] = lambda verdict: (
        "leak" if verdict in LEAK else "none" if verdict in NO_LEAK else "care"
    )
    pages.filters["shown"] = lambda notes: first_notes(notes, others="; all are in manifest.json")
    return pages


def label_cells(page: str) -> str:
    """The page with the heading of its column on each cell of a table, which narrow screens show above the cell."""
    return re.sub(r"<table\b.*?</table>", _labelled, page, flags=re.S)


def _labelled(table: re.Match[str]) -> str:
    head, separator, body = table[0].partition("</thead>")
    names = [re.sub(r"<[^>]*>", "", name) for name in re.findall(r"<th\b[^>]*>(.*?)</th>", head, re.S)]
    if not separator or not names:
        return table[0]

    def row(found: re.Match[str]) -> str:
        label = cycle(names)
        return re.sub(r"<(td|th)\b(?![^>]*data-label)", lambda cell: f'<{cell[1]} data-label="{next(label)}"', found[0])

    return head + separator + re.sub(r"<tr\b.*?</tr>", row, body, flags=re.S)
