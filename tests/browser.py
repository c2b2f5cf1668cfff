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
SMALLEST_READABLE = 12  # pixels of the screen
DESK, PHONE = {"width": 1200, "height": 900}, {"width": 390, "height": 844}


BROKEN_WORDS = """() => {
  const broken = [], texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let text = texts.nextNode(); text; text = texts.nextNode()) {
    if (!text.parentElement.checkVisibility() || text.parentElement.closest('.hear, pre')) continue;
    for (const word of text.data.matchAll(/[A-Za-z]{2,}/g)) {
      const range = document.createRange();
      range.setStart(text, word.index);
      range.setEnd(text, word.index + word[0].length);
      if (new Set([...range.getClientRects()].map(box => Math.round(box.top))).size > 1) broken.push(word[0]);
    }
  }
  return broken;
}"""
SMALLEST_TEXT = """() => {
  const own = e => [...e.childNodes].some(c => c.nodeType === Node.TEXT_NODE && c.data.trim());
  const scale = e => e.ownerSVGElement ? Math.hypot(e.getScreenCTM().a, e.getScreenCTM().b) : 1;
  return Math.min(...[...document.querySelectorAll('body *')]
    .filter(e => own(e) && e.getBoundingClientRect().width)
    .map(e => parseFloat(getComputedStyle(e).fontSize) * scale(e)));
}"""


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

    def broken_words(self) -> list[str]:
        """Words of letters that stand on two lines without a hyphen."""
        return list(self.page.evaluate(BROKEN_WORDS))

    def smallest_text(self) -> float:
        """The size of the smallest visible text in pixels of the screen, in charts as well."""
        return float(self.page.evaluate(SMALLEST_TEXT))

    def phone_faults(self) -> list[str]:
        """What makes the page hard to read on a phone: its width, small text, no width of the device."""
        viewport = self.page.locator("meta[name=viewport]").get_attribute("content") or ""
        faults = [] if "width=device-width" in viewport else [f"viewport {viewport}"]
        if not self.no_sideways():
            faults.append("scrolls sideways")
        if (size := self.smallest_text()) < SMALLEST_READABLE:
            faults.append(f"text of {size} px")
        return faults

    def violations(self) -> list[str]:
        """What axe finds against WCAG 2.2 A and AA, with the size of targets, and its best practices."""
        options = {"rules": {"target-size": {"enabled": True}}}
        found = Axe().run(self.page, options=options).response["violations"]
        return [f"{v['id']}: {n['target']} {n.get('failureSummary', '')}" for v in found for n in v["nodes"]]
