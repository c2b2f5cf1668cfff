"""How every page is made from its template: escaped, strict, alone."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined


def environment() -> Environment:
    """Templates of this room; every value is escaped, and one that is missing is an error."""
    return Environment(
        loader=PackageLoader("unveil.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
