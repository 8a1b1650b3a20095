"""Chromium for the tests of pages: fixtures, which tests/conftest.py hands on.

The variable CHROMIUM may give its path.
"""

import os
import shutil

import pytest

CHROMIUM = (
    os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
)
FLAGS = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking"
DESKTOP = {"viewport": {"width": 1280, "height": 900}}
VIEWS = {
    "desktop": DESKTOP,
    "dark": {**DESKTOP, "color_scheme": "dark"},
    "still": {**DESKTOP, "reduced_motion": "reduce"},
    "phone": {"viewport": {"width": 360, "height": 740}, "has_touch": True},
    "dark phone": {"viewport": {"width": 360, "height": 740}, "color_scheme": "dark"},
}


@pytest.fixture(scope="session")
def chromium():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    if not CHROMIUM:
        pytest.skip("needs Chromium")
    with playwright.sync_playwright() as running:
        found = running.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        yield found
        found.close()


@pytest.fixture
def browse(chromium):
    """Opens a page in a view; afterwards, it must have said nothing and asked for nothing else."""
    contexts, heard = [], []

    def open_(address, view="desktop", script="", **more):
        context = chromium.new_context(**VIEWS[view], **more)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: heard.append(message.text))
        page.on("pageerror", lambda error: heard.append(str(error)))
        page.on("request", lambda request: heard.append(request.url))
        page.add_init_script(script)
        page.goto(address)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert not [each for each in heard if not each.startswith(("file:", "blob:"))]


def violations(page, passes):
    """What axe-core finds wrong, in words; at least so many of its checks must have passed."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-core")
    found = axe.Axe().run(page).response
    assert len(found["passes"]) > passes
    return {
        v["id"]: f"{v['help']}: {v['nodes'][0]['html'][:150]} ({len(v['nodes'])})"
        for v in found["violations"]
    }


def is_too_wide(page):
    """Whether the page is wider than its window."""
    width, inner = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    return width > inner
