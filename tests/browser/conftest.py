"""One running portal and one Chromium for the whole directory; people sign in once each, with their second factor."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests import migrated
from tests.browser import driving
from tests.browser.portal import RunningPortal

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.needs_chromium)


@pytest.fixture(scope="session")
def portal(tmp_path_factory: pytest.TempPathFactory, django_db_setup: None) -> Iterator[RunningPortal]:
    running = RunningPortal(tmp_path_factory.mktemp("portal"), fill=migrated.fill).start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One a module: while it is open Playwright's event loop stands in Django's way in every other test."""
    with sync_playwright() as playwright:
        chromium = driving.launch(playwright)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def sign_ins(portal: RunningPortal) -> driving.SignIns:
    return driving.SignIns(portal)


@pytest.fixture(scope="module")
def states(sign_ins: driving.SignIns, browser: Browser) -> Callable[[str], Any]:
    """The cookies of a person who is signed in."""
    return lambda name: sign_ins.state_of(name, browser)


@pytest.fixture
def context_of(
    portal: RunningPortal, browser: Browser, states: Callable[[str], Any]
) -> Iterator[Callable[..., BrowserContext]]:
    """A browser window of a person's own ("" is nobody); each is closed with the test."""
    opened: list[BrowserContext] = []

    def open_context(name: str, **options: Any) -> BrowserContext:
        context = driving.new_context(browser, portal.url, storage_state=states(name) if name else None, **options)
        opened.append(context)
        return context

    yield open_context
    for context in opened:
        context.close()


@pytest.fixture
def page_of(context_of: Callable[..., BrowserContext]) -> Callable[..., Page]:
    """A page of a person who is signed in."""
    return lambda name, **options: context_of(name, **options).new_page()
