"""The page of a race in a browser: accessible, without a network, by keyboard, on a phone, printed."""

import pytest
from browsing import VIEWS, is_too_wide, violations


@pytest.fixture
def page(browse, small_page, request):
    return browse(small_page.as_uri(), getattr(request, "param", "desktop"))


@pytest.mark.parametrize("page", VIEWS, indirect=True)
def test_axe_finds_nothing_wrong(page):
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    assert not violations(page, passes=15)


def test_axe_finds_what_is_wrong(page):
    page.evaluate("document.querySelector('.legend button').textContent = ''")
    page.evaluate("document.querySelector('small').style.color = '#ddd'")
    assert violations(page, passes=15).keys() >= {"button-name", "color-contrast"}


@pytest.mark.parametrize("page", VIEWS, indirect=True)
def test_nothing_is_wider_than_the_window(page):
    assert not is_too_wide(page)


@pytest.mark.parametrize("page", ["desktop", "phone"], indirect=True)
def test_names_and_numbers_of_figures_stay_inside(page):
    """Within the viewBox: letters would be cut off beyond it."""
    outside = page.evaluate(
        """() => [...document.querySelectorAll("figure svg")].flatMap((svg) => {
             const box = svg.viewBox.baseVal;
             return [...svg.querySelectorAll("text")].filter((text) => {
               const b = text.getBBox();
               return b.x < -1 || b.x + b.width > box.width + 1 || b.y + b.height > box.height + 3;
             }).map((text) => text.textContent);
           })"""
    )
    assert not outside


def test_an_optimizer_is_highlighted_by_keyboard(page):
    page.evaluate(
        """globalThis.faded = (which) => [...document.querySelectorAll(`figure svg ${which}`)]
             .filter((e) => !e.hasAttribute("opacity") && getComputedStyle(e).opacity < 0.2).length"""
    )
    faded = "faded('[data-o]')"
    assert page.evaluate(faded) == 0
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip", "the first stop skips ahead"
    page.focus(".legend button")
    page.keyboard.press("Enter")
    assert page.get_attribute(".legend button", "aria-pressed") == "true"
    page.wait_for_timeout(300)
    some = page.evaluate(faded)
    assert some > 0
    assert page.evaluate("""faded('[data-o="0"]')""") == 0
    page.keyboard.press("Escape")
    page.wait_for_timeout(300)
    assert page.get_attribute(".legend button", "aria-pressed") == "false"
    assert page.evaluate(faded) == 0


def test_a_mark_says_what_it_is_under_the_pointer(page):
    dot = page.locator("figure circle:has(title)").first
    dot.scroll_into_view_if_needed()
    dot.hover()
    tip = page.locator("#tip")
    assert tip.is_visible()
    assert tip.inner_text() == dot.evaluate("e => e.querySelector('title').textContent")
    page.mouse.move(2, 2)
    assert not tip.is_visible()


def test_all_of_it_is_there_without_javascript(browse, small_page):
    page = browse(small_page.as_uri(), java_script_enabled=False)
    assert page.locator("figure svg").count() > 5
    assert page.locator("table").count() >= 2
    assert not page.locator("#tip").is_visible()


def test_print_is_on_white_with_the_pairs_and_without_buttons(browse, small_page):
    page = browse(small_page.as_uri(), "dark")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator(".legend").is_visible()
    assert not page.locator(".runs").first.is_visible()
    assert page.locator("details table").first.is_visible(), "what is folded is printed"
