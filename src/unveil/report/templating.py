"""The environment in which templates become pages."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined


def environment() -> Environment:
    """Templates of `unveil.report`. Every value is escaped, and a missing one is an error."""
    return Environment(
        loader=PackageLoader("unveil.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
