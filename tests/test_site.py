"""The built documentation in a browser: readable on a phone, accessible, offline."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browser import PHONE, Watched, chromium, needs_browser
from tests.builders import write
from tools import reference

ROOT = Path(__file__).parents[1]
# One page of each kind: start, tutorial, guide, long explanation with formulas, generated reference.
KINDS = (
    *("index.html", "tutorial/first-audit.html", "how-to/pipelines.html", "explanation/method.html"),
    *("reference/settings.html", "reference/python.html"),
)
pytestmark = [pytest.mark.nightly, needs_browser]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `make docs` builds it."""
    pytest.importorskip("mkdocs")  # the lowest versions are installed without the extra `docs`
    folder = tmp_path_factory.mktemp("site")
    reference.write_sources(folder / "docs")
    inherited = f"INHERIT: {ROOT / 'mkdocs.yml'}\ndocs_dir: {folder / 'docs'}\nsite_dir: {folder / 'site'}\n"
    settings = write(folder / "mkdocs.yml", inherited)
    subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--config-file", settings],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        check=True,
        timeout=200,
    )
    return folder / "site"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


def test_every_page_is_readable_on_a_phone(site: Path, browser: Browser) -> None:
    watched = Watched(browser, PHONE)
    pages = sorted(set(site.rglob("*.html")) - {site / "404.html"})  # which only a server can show
    faults = []
    for file in pages:
        watched.page.goto(file.as_uri())
        faults += [f"{file.relative_to(site)}: {fault}" for fault in watched.phone_faults()]
    assert not faults, "\n".join(faults)
    assert len(pages) > 50
    assert all(url.startswith(("file:", "data:", "blob:")) for url in watched.asked) and not watched.wrong


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_are_accessible(site: Path, browser: Browser, scheme: str) -> None:
    faults = []
    for size in (PHONE, {"width": 1400, "height": 900}):
        watched = Watched(browser, size, scheme)
        for name in KINDS:
            watched.page.goto((site / name).as_uri())
            faults += [f"{name}: {fault}" for fault in watched.violations()]
    assert not faults, "\n".join(faults)
