"""A real browser for pages: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page, sync_playwright

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
# CI sets UNVEIL_REQUIRE_BROWSER: there a browser that is absent fails the tests instead of skipping them.
needs_browser = pytest.mark.skipif(
    CHROMIUM is None and not os.environ.get("UNVEIL_REQUIRE_BROWSER"),
    reason="no Chromium here (apt-get install chromium)",
)
# Chromium asks its maker for updates unless it is told not to.
OFFLINE = ("--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run")
DESK, PHONE = {"width": 1200, "height": 900}, {"width": 390, "height": 844}


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser for some tests."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *OFFLINE])
        try:
            yield browser
        finally:
            browser.close()


class Watched:
    """A page of which everything it asks for, complains of or pops up is written down."""

    def __init__(self, browser: Browser, size: Any = DESK, scheme: Any = "light", **options: Any) -> None:
        self.page: Page = browser.new_context(viewport=size, color_scheme=scheme, **options).new_page()
        self.asked: list[str] = []
        self.wrong: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("dialog", self._dismiss)

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.wrong.append(message.text)

    def _dismiss(self, dialog: Dialog) -> None:
        self.wrong.append(f"dialog {dialog.message}")
        dialog.dismiss()

    def no_sideways(self) -> bool:
        """Whether the page fits its width."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth <= innerWidth"))

    def violations(self) -> list[str]:
        """What axe finds against WCAG 2.2 A and AA and its best practices."""
        found = Axe().run(self.page).response["violations"]
        return [f"{v['id']}: {n['target']} {n.get('failureSummary', '')}" for v in found for n in v["nodes"]]
