"""How long the review page takes from a key to the next pair, for few pairs and for many; prints a table.

Milliseconds in Chromium, from the press of a verdict's key until the next pair is in the page with both its images.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median, quantiles

import pyarrow as pa
import pyarrow.parquet as pq
from playwright.sync_api import Page, sync_playwright

from unveil.demo.run import run_demo
from unveil.io.host import cores, processor
from unveil.progress import Silent
from unveil.runs.finished import FinishedRun

# Resolves with the milliseconds from a key to the next pair; asked every frame.
PRESS = """key => new Promise(done => {
  const pair = document.getElementById('pair'), next = String(Number(pair.dataset.place) + 1);
  const begun = performance.now();
  const look = () => {
    const here = pair.dataset.place === next
      && [...document.querySelectorAll('#pair img')].every(i => i.complete && i.naturalWidth > 0);
    if (here) done(performance.now() - begun); else requestAnimationFrame(look);
  };
  document.dispatchEvent(new KeyboardEvent('keydown', { key }));
  look();
})"""


def with_pairs(run: Path, n: int) -> None:
    """Lets a run have ``n`` pairs to look at."""
    old = pq.read_table(run / "pairs.parquet")
    (first,) = old.slice(0, 1).to_pylist()
    finished = FinishedRun(run)
    synthetic, training = finished.embedded("synthetic").ids, finished.embedded("training").ids
    rows = [
        {**first, "synthetic_id": synthetic[i % len(synthetic)], "real_id": training[i // len(synthetic)]}
        for i in range(n)
    ]
    pq.write_table(pa.Table.from_pylist(rows, old.schema), run / "pairs.parquet")


def measure(page: Page, run: Path, presses: int) -> list[float]:
    """Milliseconds from each of some presses to the next pair."""
    server = subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "unveil", "review", str(run)], stdout=subprocess.PIPE, text=True
    )
    try:
        line = ""
        while not line.strip().startswith("http://"):
            line = server.stdout.readline() if server.stdout else ""
        page.goto(line.strip())
        page.keyboard.type("bench")
        page.keyboard.press("Enter")
        page.wait_for_selector('#pair[data-place="0"]')
        page.wait_for_timeout(1000)
        return [float(page.evaluate(PRESS, str(1 + i % 4))) for i in range(presses)]
    finally:
        server.terminate()
        server.wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--presses", type=int, default=200)
    options = parser.parse_args()
    print(f"{processor()}, {cores()} cores, {options.presses} verdicts, one after the other without a pause\n")
    print("| pairs | median ms | 95th percentile | longest |")
    print("|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        demo = Path(folder) / "demo"
        run_demo(demo, progress=Silent())
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for n in (250, 10_000):
            run = Path(shutil.copytree(demo / "run", Path(folder) / f"run{n}"))
            with_pairs(run, n)
            took = measure(browser.new_page(), run, options.presses)
            cells = (f"{n:,}", f"{median(took):.0f}", f"{quantiles(took, n=20)[-1]:.0f}", f"{max(took):.0f}")
            print("| " + " | ".join(cells) + " |", flush=True)
        browser.close()


if __name__ == "__main__":
    main()
