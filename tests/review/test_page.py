"""The review page in a real browser, as people use it."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import PHONE, Watched, needs_browser
from tests.builders import drawn_faces, encoded, write
from tests.review.conftest import Served
from unveil import audit
from unveil.io.trust import signed
from unveil.review import REVIEW_VERDICTS, VerdictStore
from unveil.runs.finished import FinishedRun
from unveil.runs.parts import PARTS, checksums

pytestmark = needs_browser
Serve = Callable[..., Served]
MARKUP = "<img src=x onerror=window.hacked=1>&quot;'--><script>window.hacked=1</script>"


def begin(watched: Watched, address: str, name: str = "anna") -> Page:
    """Opens the page and starts a review, by keyboard."""
    page = watched.page
    page.goto(address)
    page.keyboard.type(name)
    page.keyboard.press("Enter")
    expect(page.locator("#work")).to_be_visible()
    return page


def wait_for_pair(page: Page, index: int) -> None:
    """Waits until a pair is shown with both images."""
    expect(page.locator(f'#pair[data-index="{index}"]')).to_be_attached()
    wait(page, "[...document.querySelectorAll('#pair img')].every(i => i.complete && i.naturalWidth > 0)")


def wait(page: Page, expression: str) -> None:
    """Waits for an expression. Playwright's own wait evaluates strings in the page, which the page's policy forbids."""
    deadline = time.monotonic() + 60
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, expression
        page.wait_for_timeout(10)


def wait_until_stored(page: Page) -> None:
    """Waits until every verdict is on disk. Before that, the page asks before it is closed."""
    expect(page.locator("#progress")).to_have_attribute("aria-busy", "false")


def with_pairs(run: Path, n: int) -> None:
    """Gives a run ``n`` pairs to review."""
    old = pq.read_table(run / "pairs.parquet")
    (first,) = old.slice(0, 1).to_pylist()
    finished = FinishedRun(run)
    synthetic, training = finished.embedded("synthetic").ids, finished.embedded("training")
    rows = [
        {**first, "synthetic_id": synthetic[i % len(synthetic)], "real_id": training.ids[i // len(synthetic)]}
        for i in range(n)
    ]
    pq.write_table(pa.Table.from_pylist(rows, old.schema), run / "pairs.parquet")
    manifest = json.loads((run / "manifest.json").read_text("utf-8"))
    write(run / "manifest.json", json.dumps(signed({**manifest, PARTS: checksums(run)})))


def test_fifty_pairs_by_keyboard_with_a_reload(run: Path, served: Serve, browser: Browser) -> None:
    with_pairs(run, 50)
    watched = Watched(browser)
    server = served(run)
    page = begin(watched, server.address)
    keys = [str(1 + i % 4) for i in range(50)]
    for i, key in enumerate(keys):
        wait_for_pair(page, i)
        if i == 20:
            wait_until_stored(page)
            page.reload()
            wait_for_pair(page, 20)  # continues under the same name without asking
            assert "20 reviewed" in page.inner_text("#progress")
        if i == 30:
            page.keyboard.press("u")
            wait_for_pair(page, 29)
            page.keyboard.press(keys[29])
            wait_for_pair(page, 30)
        if i == 40:
            page.keyboard.press("ArrowLeft")
            wait_for_pair(page, 39)
            assert page.get_attribute(f'[data-verdict="{REVIEW_VERDICTS[39 % 4]}"]', "aria-pressed") == "true"
            page.keyboard.press("j")
            wait_for_pair(page, 40)
        page.keyboard.press(key)
    expect(page.locator("#done")).to_be_visible()
    store = VerdictStore(run)
    pairs = FinishedRun(run).pairs
    own = store.current()["anna"]
    assert [own[(p.synthetic_id, p.real_id, p.role)].verdict for p in pairs] == [
        REVIEW_VERDICTS[i % 4] for i in range(50)
    ]
    assert [s.verdict for s in store.history()].count("undone") == 1 and len(store.history()) == 52
    store.close()
    host = re.match(r"http://[^/]+/", server.address)
    assert host is not None and all(url.startswith((host[0], "blob:" + host[0], "data:")) for url in watched.asked)
    assert not watched.wrong
    assert server.stop() == 0 and "unveil report" in server.output


def test_the_page_asks_before_an_unsaved_verdict_is_lost(run: Path, served: Serve, browser: Browser) -> None:
    with_pairs(run, 2)
    watched = Watched(browser)
    page = begin(watched, served(run).address)
    wait_for_pair(page, 0)
    page.route("**/verdict", lambda route: None)  # a server that never answers
    page.keyboard.press("1")
    wait_for_pair(page, 1)
    with page.expect_event("dialog"):
        page.close(run_before_unload=True)
    assert watched.wrong == ["dialog "] and not page.is_closed()


def test_two_reviewers_at_once(run: Path, served: Serve, browser: Browser) -> None:
    with_pairs(run, 12)
    address = served(run).address
    pages = [begin(Watched(browser), address, name) for name in ("anna", "ben")]
    for i in range(12):
        for k, page in enumerate(pages):
            wait_for_pair(page, i)
            page.keyboard.press("3" if i % 2 or (k and i == 0) else "1")
    for page in pages:
        expect(page.locator("#done")).to_be_visible()
    expect(pages[1].locator("#agreement")).to_contain_text("anna and ben, Cohen's kappa: 0.83")
    expect(pages[1].locator("#agreement")).to_contain_text("Krippendorff's alpha: 0.84")
    with pages[1].expect_download() as download:
        pages[1].click("#done a")
    lines = Path(str(download.value.path())).read_text().splitlines()
    assert lines[0] == "time,reviewer,synthetic,real,role,verdict,blind" and len(lines) == 25


def test_names_that_are_markup_stay_text(tmp_path: Path, served: Serve, browser: Browser) -> None:
    people = drawn_faces(130, 3)
    for role, faces in (("synthetic", people[:40]), ("training", people)):
        for i, face in enumerate(faces):
            name = MARKUP.replace("/", "") + f"{i}.png"
            write(tmp_path / role / (f"=p{i} {name}" if role == "training" else "") / name, encoded(face))
    audit(tmp_path / "synthetic", tmp_path / "training", out=tmp_path / "run", planted_leaks="off", labels="folder")
    watched = Watched(browser)
    server = served(tmp_path / "run")
    page = begin(watched, server.address, MARKUP[:60])
    wait_for_pair(page, 0)
    assert "<img src=x" in page.inner_text("#left-caption") and "<img src=x" in page.inner_text("#details")
    page.keyboard.press("n")
    expect(page.locator("#neighbours figcaption").first).to_contain_text("<img src=x")
    page.keyboard.press("1")
    wait_for_pair(page, 1)
    assert page.evaluate("window.hacked") is None and not watched.wrong
    csv = page.evaluate("fetch('verdicts.csv').then(a => a.text())")
    assert "\n=" not in csv and ",=" not in csv and "'=p" in csv


@pytest.mark.nightly
def test_ten_thousand_pairs(run: Path, served: Serve, browser: Browser) -> None:
    with_pairs(run, 10_000)
    watched = Watched(browser)
    page = begin(watched, served(run).address)
    wait_for_pair(page, 0)
    for i in range(30):
        page.keyboard.press("3")
        expect(page.locator(f'#pair[data-index="{i + 1}"]')).to_be_attached()
    for _ in range(200):
        page.keyboard.press("ArrowRight")
    wait_for_pair(page, 230)
    assert "pair 231 of 10,000, 30 reviewed" in page.inner_text("#progress")
    assert page.evaluate("document.querySelectorAll('*').length") < 150
    wait_until_stored(page)
    page.reload()
    wait_for_pair(page, 30)
    assert not watched.wrong


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_accessible(run: Path, served: Serve, browser: Browser, scheme: str) -> None:
    with_pairs(run, 3)
    watched = Watched(browser, scheme=scheme)
    page = watched.page
    page.goto(served(run).address)
    assert not watched.violations()
    page.keyboard.type("anna")
    page.keyboard.press("Enter")
    wait_for_pair(page, 0)
    page.keyboard.press("n")
    expect(page.locator("#neighbours figure").first).to_be_visible()
    assert not watched.violations()
    page.keyboard.press("f")
    assert not watched.violations()
    page.keyboard.press("?")
    expect(page.locator("dialog")).to_be_visible()
    assert not watched.violations()
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_be_hidden()
    for i, key in enumerate("123"):
        wait_for_pair(page, i)
        page.keyboard.press(key)
    expect(page.locator("#done")).to_be_visible()
    assert not watched.violations()


def test_a_phone(run: Path, served: Serve, browser: Browser) -> None:
    watched = Watched(browser, PHONE, has_touch=True, is_mobile=True)
    page = watched.page
    page.goto(served(run).address)
    assert not watched.phone_faults()
    page.fill("#name", "anna")
    page.tap("#start button")
    wait_for_pair(page, 0)
    assert not watched.phone_faults() and not watched.violations()
    boxes = [b.bounding_box() for b in page.locator("#verdicts button").all()]
    assert len(boxes) == 4 and all(b and b["height"] >= 44 and b["y"] + b["height"] <= 844 for b in boxes)
    page.tap('[data-verdict="same person"]')
    wait_for_pair(page, 1)
    page.tap('[data-tool="neighbours"]')
    expect(page.locator("#neighbours figure").first).to_be_visible()
    assert not watched.phone_faults() and not watched.wrong


def test_zoom_flicker_and_faces(run: Path, served: Serve, browser: Browser) -> None:
    watched = Watched(browser)
    page = begin(watched, served(run).address)
    wait_for_pair(page, 0)
    page.keyboard.press("z")
    page.keyboard.press("z")
    page.keyboard.press("Shift+ArrowRight")
    for side in ("left", "right"):  # the same scale and the same centre on both sides
        style = page.evaluate(
            f"(({{style}}) => [style.transform, style.transformOrigin])(document.getElementById('{side}-image'))"
        )
        assert style == ["scale(4)", "60% 50%"]
    page.keyboard.press("z")
    page.keyboard.press("f")
    hidden = "[...document.querySelectorAll('#pair figure')].map(f => getComputedStyle(f).visibility === 'hidden')"
    states = set()
    for _ in range(12):
        states.add(tuple(page.evaluate(hidden)))
        page.wait_for_timeout(150)
    assert states == {(True, False), (False, True)}
    page.keyboard.press("f")
    assert page.evaluate(hidden) == [False, False]
    before = page.evaluate("document.getElementById('left-image').naturalWidth")
    page.keyboard.press("a")
    wait(page, f"document.getElementById('left-image').naturalWidth !== {before}")
    assert page.get_attribute('[data-tool="faces"]', "aria-pressed") == "true" and not watched.wrong


def test_with_reduced_motion_each_press_swaps_the_images(run: Path, served: Serve, browser: Browser) -> None:
    page = begin(Watched(browser, reduced_motion="reduce"), served(run).address)
    wait_for_pair(page, 0)
    hidden = "[...document.querySelectorAll('#pair figure')].map(f => f.classList.contains('under'))"
    page.keyboard.press("f")
    first = page.evaluate(hidden)
    page.wait_for_timeout(1200)
    assert page.evaluate(hidden) == first
    page.keyboard.press("f")
    assert page.evaluate(hidden) == first[::-1]


def test_a_blind_review_reveals_nothing(run: Path, served: Serve, browser: Browser) -> None:
    finished = FinishedRun(run)
    names = {p.person for p in finished.pairs} | {p.synthetic_id for p in finished.pairs}
    watched = Watched(browser)
    page = begin(watched, served(run, "--blind").address)
    responses: list[str] = []
    page.on("response", lambda r: responses.append(r.text()) if "/pair/" in r.url or "/neighbours/" in r.url else None)
    for i in range(6):
        wait_for_pair(page, i)
        page.keyboard.press("n")
        page.wait_for_timeout(200)
        page.keyboard.press("3")
    wait_for_pair(page, 6)
    wait_until_stored(page)
    shown = page.content() + "".join(responses)
    assert responses and not [name for name in names if name in shown] and "cosine" not in shown
    assert not re.search(r'"role"|training|"control"', "".join(responses))
    assert page.evaluate("fetch('verdicts.csv').then(a => a.status)") == 403
    assert page.locator("a[download]:visible").count() == 0
    with sqlite3.connect(run / "review.sqlite") as db:
        assert db.execute("SELECT count(*), min(blind) FROM verdicts").fetchone() == (6, 1)


def test_images_that_were_moved(tmp_path: Path, served: Serve, browser: Browser) -> None:
    faces = drawn_faces(120, 5)
    for role, some in (("synthetic", faces[:10]), ("training", faces)):
        for i, face in enumerate(some):
            write(tmp_path / role / f"{i:03d}.png", encoded(face))
    run = tmp_path / "run"
    audit(tmp_path / "synthetic", tmp_path / "training", out=run, planted_leaks="off", labels="one-per-image")
    (tmp_path / "training").rename(tmp_path / "elsewhere")
    watched = Watched(browser)
    server = served(run)
    page = begin(watched, server.address)
    expect(page.locator("#status")).to_contain_text("training images were moved or removed")
    expect(page.locator("#right .frame")).to_have_class(re.compile("missing"))
    server.stop()
    page = begin(Watched(browser), served(run, "--training", str(tmp_path / "elsewhere")).address)
    wait_for_pair(page, 0)
