"""The explorer's page, as `ravine explore` makes it, and Chromium to open it in."""

import os
import shutil

import pytest

CHROMIUM = (
    os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
)
FLAGS = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking"


@pytest.fixture(scope="session")
def explorer_page(tmp_path_factory):
    """The path of the page."""
    from ravine.explorer import build

    path = tmp_path_factory.mktemp("explorer") / "explorer.html"
    path.write_text(build(), "utf-8")
    return path


@pytest.fixture(scope="session")
def chromium():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    if not CHROMIUM:
        pytest.skip("needs Chromium")
    with playwright.sync_playwright() as running:
        found = running.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        yield found
        found.close()
