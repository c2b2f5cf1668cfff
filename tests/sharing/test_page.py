"""The page of an overlap in a browser: readable on a desk and on a phone, and it asks for nothing."""

from __future__ import annotations

from pathlib import Path

import unveil
from tests.browser import DESK, PHONE, Watched, chromium, needs_browser
from tests.sharing.sets import draw_sets


@needs_browser
def test_the_page_is_readable_everywhere(tmp_path: Path) -> None:
    sets = draw_sets(tmp_path, people=34)
    unveil.overlap(sets.a, sets.b, out=tmp_path / "run", aligned="yes")
    page = (tmp_path / "run/overlap.html").as_uri()
    with chromium() as browser:
        for size in (DESK, PHONE):
            for scheme in ("light", "dark"):
                watched = Watched(browser, size, scheme)
                watched.page.goto(page)
                assert [url for url in watched.asked if not url.startswith("data:")] == [page]
                assert watched.wrong == []
                assert watched.phone_faults() == []
                assert watched.broken_words() == []
                assert watched.violations() == []
                assert watched.page.locator("figure.pair img").count() > 10
