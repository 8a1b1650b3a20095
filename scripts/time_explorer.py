"""Prints how large the explorer's page is, and how long its maps take in Chromium: fastest and median.

python scripts/time_explorer.py     # for the table in docs/explorer.md
"""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from ravine.explorer import build

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
LAND = "land=himmelblau&rule=adam&lr=0.1&t=0"
STATE = {"basins": f"{LAND}&shade=basins", "pair": f"{LAND}&chart=pair"}
RUNS = 10


def main() -> None:
    path = Path(tempfile.mkdtemp()) / "explorer.html"
    path.write_text(build(), "utf-8")
    print(f"page: {path.stat().st_size / 1000:.0f} KB")
    times: dict[str, list[float]] = {}
    with sync_playwright() as running:
        chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
        browser = running.chromium.launch(executable_path=chromium, args=FLAGS)
        for kind in ("basins", "pair") * RUNS:  # one at a time: they share the worker
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.goto(f"{path.as_uri()}#{STATE[kind]}")
            page.wait_for_function(f"explorer.now.grids.{kind}?.result")
            found = page.evaluate(f"explorer.now.grids.{kind}")
            name = f"{kind} {found['result']['nx']} × {found['result']['ny']}"
            times.setdefault(name, []).append(found["milliseconds"])
            strip = page.evaluate("explorer.now.strips.a.milliseconds")
            times.setdefault("every learning rate", []).append(strip)
            page.close()
        browser.close()
    for name, all_ in times.items():
        print(f"{name}: {min(all_):.0f} ms, {statistics.median(all_):.0f} ms")
    print(f"processes that wanted a core meanwhile: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
