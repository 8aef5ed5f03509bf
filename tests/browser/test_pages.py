"""Every page, light and dark, wide and on a phone: axe finds nothing, nothing scrolls sideways, the browser complains of nothing."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.browser import driving
from tests.browser.contrast import faint
from tests.browser.pages import MORE, NOT_PAGES, PAGES, Entry, get_pages, path_of
from tests.browser.portal import RunningPortal

SIDEWAYS = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
FRAMED = "document.body.classList.contains('with-nav')"
HEADINGS = "document.querySelectorAll('h1').length"
# Rows stand as cards on a phone: nothing of a card is out of sight.
CUT_OFF = "[...document.querySelectorAll('.table-wrap:has(> .table-stack)')].filter(it => it.scrollWidth > it.clientWidth + 1).length"
ALL = [
    *((name, name, entry) for name, entry in PAGES.items()),
    *((label, name, entry) for label, (name, entry) in MORE.items()),
]


def test_every_page_has_an_entry() -> None:
    names = set(get_pages())
    assert names - PAGES.keys() - NOT_PAGES.keys() == set(), "give them an entry in tests/browser/pages.py"
    assert (PAGES.keys() | NOT_PAGES.keys()) - names == set(), "there are no such pages any more"


@pytest.fixture(scope="module")
def windows(portal: RunningPortal, browser: Any, states: Callable[[str], Any]) -> Iterator[Callable[[str], Page]]:
    """One page a person, used again and again: a new window for each of all pages would take longer than the pages."""
    pages: dict[str, Page] = {}

    def window(name: str) -> Page:
        if name not in pages:
            context = driving.new_context(browser, portal.url, storage_state=states(name) if name else None)
            pages[name] = context.new_page()
        return pages[name]

    yield window
    for page in pages.values():
        page.context.close()


@pytest.fixture(scope="module")
def framed() -> set[str]:
    """Whose frame of navigation was looked at: it is the same around all pages of a person."""
    return set()


@pytest.mark.parametrize(("label", "name", "entry"), ALL, ids=[label for label, _, _ in ALL])
def test_page(
    label: str, name: str, entry: Entry, portal: RunningPortal, windows: Callable[[str], Page], framed: set[str]
) -> None:
    page = windows(entry.who)
    path = path_of(name, entry, portal.facts)
    page.emulate_media(color_scheme="light")
    page.set_viewport_size(driving.WIDE)
    with driving.complaints(page) as complaints:
        response = page.goto(path)
        if "/reauthenticate/?next=" in page.url:  # changes of credentials ask for the password again
            page.locator("[name=password]").fill(portal.facts["people"][entry.who]["password"])
            with page.expect_navigation(url=portal.url + path):  # a click waits for the answer, not for the page in it
                page.get_by_role("button", name="Confirm").click()
        assert response is not None
        assert (response.status, page.url) == (entry.status, portal.url + path)
        assert page.evaluate(HEADINGS) == 1
        whole = not page.evaluate(FRAMED) or entry.who not in framed
        look = (
            partial(driving.axe, page)
            if whole
            else partial(driving.axe, page, driving.STRUCTURE, without=driving.FRAME)
        )
        found = look() + faint(page)
        driving.note_shown(page)
        page.emulate_media(color_scheme="dark")
        found += faint(page)
        page.set_viewport_size(driving.PHONE)
        if not whole and not driving.shows_more(page):
            look = partial(driving.axe, page, driving.LAYOUT, without=driving.FRAME)
        found += look() + faint(page)
        page.emulate_media(color_scheme="light")
        found += faint(page)
        sideways, cut_off = page.evaluate(SIDEWAYS), page.evaluate(CUT_OFF)
        if whole and page.evaluate(FRAMED):
            framed.add(entry.who)
    assert found == []
    assert sideways <= 0, f"{label} scrolls sideways by {sideways} px on a phone"
    assert cut_off == 0, f"{label} has rows on a phone that are wider than it"
    expected = f"status of {entry.status}" if entry.status != 200 else "no complaint"
    assert [text for text in complaints if expected not in text] == []


def test_a_step_with_a_long_title_stays_on_the_phone(portal: RunningPortal, windows: Callable[[str], Page]) -> None:
    page = windows("boris")
    page.set_viewport_size(driving.PHONE)
    page.goto(f"/ceremonies/{portal.facts['ceremonies']['dealt']}/room/")
    page.locator("#room-part .button").first.evaluate(
        "it => it.textContent = 'Sign off: Make the escrow key, and all of the shares'"
    )
    assert page.evaluate(SIDEWAYS) <= 0


def test_the_portals_name_is_whole_on_a_phone(windows: Callable[[str], Page]) -> None:
    page = windows("boris")
    page.set_viewport_size(driving.PHONE)
    page.goto("/ceremonies/")
    brand = page.locator(".topbar .brand")
    assert "KeyVault Portal" in brand.inner_text()
    assert brand.evaluate("it => it.scrollWidth <= it.clientWidth && it.scrollHeight <= it.clientHeight")
