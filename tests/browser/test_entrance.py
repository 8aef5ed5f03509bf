"""The way in: the set-up link, an authenticator application, recovery codes, a passkey, and sessions one can end."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from keyvault_portal.accounts import services as accounts
from tests.browser import driving

EMAIL, PASSWORD = "grace@example.org", "a long walk by the river"


@pytest.fixture(autouse=True, scope="module")
def _database_beside_playwright() -> Iterator[None]:
    """Playwright keeps an event loop in this thread, which Django takes for an asynchronous program."""
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
    yield
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture
def window(browser: Browser, live_server: Any, settings: Any) -> Iterator[Callable[[], BrowserContext]]:
    """Windows onto a portal that nobody has set up yet."""
    settings.PORTAL_ORIGIN = live_server.url
    settings.MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = True
    opened: list[BrowserContext] = []

    def open_window() -> BrowserContext:
        opened.append(driving.new_context(browser, live_server.url))
        return opened[-1]

    yield open_window
    for context in opened:
        context.close()


def set_up(page: Page, link: str) -> list[str]:
    """The first officer by the set-up link; returns her recovery codes."""
    page.goto(link)
    page.get_by_label("E-mail address").fill(EMAIL)
    page.get_by_label("Name").fill("Grace Hill")
    for field in page.locator("[type=password]").all():
        field.fill(PASSWORD)
    page.get_by_role("button", name="Create my account").click()

    # Nothing else opens before there is a second factor.
    page.goto("/keys/")
    expect(page).to_have_url("/account/2fa/")
    expect(page.get_by_text("Your roles require a second factor.")).to_be_visible()
    page.get_by_role("link", name="Activate").click()
    confirm_access(page)
    secret = page.locator("#authenticator_secret").input_value()
    driving.give_code(page, secret, "Activate")
    page.goto("/account/2fa/recovery-codes/")
    confirm_access(page)
    codes = page.locator("textarea").input_value().split()
    page.goto("/")
    expect(page.get_by_role("heading", level=1)).to_have_text("Dashboard")
    return codes


def confirm_access(page: Page) -> None:
    """Type the password again where the portal asks for it."""
    if "/reauthenticate/" in page.url:
        page.locator("[name=password]").fill(PASSWORD)
        page.get_by_role("button", name="Confirm").click()


def sign_in(page: Page, code: str) -> None:
    driving.sign_in(page, EMAIL, PASSWORD)
    expect(page).to_have_url("/account/2fa/authenticate/")
    assert driving.axe(page) == []
    page.locator("[name=code]").fill(code)
    page.get_by_role("button", name="Sign in").first.click()
    page.wait_for_selector("body.with-nav")


def test_set_up_and_second_factor(window: Callable[[], BrowserContext]) -> None:
    page = window().new_page()
    link = accounts.create_setup_link()
    with driving.complaints(page) as complaints:
        codes = set_up(page, link)
    assert complaints == []
    assert len(codes) == 10
    page.get_by_label("Your account: Grace Hill").click()
    page.get_by_role("button", name="Sign out").click()
    page.goto("/keys/")
    expect(page).to_have_url("/account/login/?next=/keys/")
    sign_in(page, codes[0])
    page.get_by_label("Your account: Grace Hill").click()
    page.get_by_role("button", name="Sign out").click()
    driving.sign_in(page, EMAIL, PASSWORD)
    page.locator("[name=code]").fill(codes[0])  # used up
    page.get_by_role("button", name="Sign in").first.click()
    expect(page.get_by_text("Incorrect code.")).to_be_visible()
    response = page.goto(link)
    assert response is not None
    assert response.status == 404  # it worked once


def test_passkey(window: Callable[[], BrowserContext]) -> None:
    context = window()
    page = context.new_page()
    devtools = context.new_cdp_session(page)
    devtools.send("WebAuthn.enable")
    devtools.send("WebAuthn.addVirtualAuthenticator", {"options": {
        "protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True, "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }})  # fmt: skip
    set_up(page, accounts.create_setup_link())
    with driving.complaints(page) as complaints:
        page.goto("/account/2fa/webauthn/add/")
        confirm_access(page)
        page.locator("[name=name]").fill("Laptop")
        page.get_by_label("Passwordless").check()
        page.get_by_role("button", name="Add").click()
        page.wait_for_url(lambda url: "/webauthn/add/" not in url, wait_until="load")
        page.goto("/account/2fa/webauthn/")
        expect(page.get_by_text("Laptop")).to_be_visible()
        for name in ("Edit", "Remove"):
            page.goto("/account/2fa/webauthn/")
            with page.expect_navigation():  # a click waits for the answer, not for the page in it
                page.get_by_role("link", name=name).first.click()
            assert driving.axe(page) == []
        page.goto("/")
        page.get_by_label("Your account: Grace Hill").click()
        page.get_by_role("button", name="Sign out").click()

        page.goto("/account/login/")
        page.get_by_role("button", name="Sign in with a passkey").click()
        page.wait_for_selector("body.with-nav")
        page.wait_for_load_state("load")
        page.goto("/keys/")
        expect(page.get_by_role("heading", level=1)).to_have_text("Keys")
    assert complaints == []


def test_sessions_are_listed_and_ended(window: Callable[[], BrowserContext]) -> None:
    here, there = window().new_page(), window().new_page()
    codes = set_up(here, accounts.create_setup_link())
    sign_in(there, codes[1])
    here.goto("/account/sessions/")
    expect(here).to_have_url("/profile/")
    expect(here.get_by_text("(this session)")).to_have_count(1)
    here.get_by_role("button", name="End the session from").click()
    expect(here.get_by_text("The session is ended.")).to_be_visible()
    there.goto("/keys/")
    expect(there).to_have_url("/account/login/?next=/keys/")
    here.goto("/keys/")
    expect(here.get_by_role("heading", level=1)).to_have_text("Keys")
