"""Chromium for tests and pictures: how it is started, how people sign in, and what it complains about."""

import base64
import hashlib
import hmac
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Error, Page, Playwright, Request, expect

from tests.browser.portal import RunningPortal

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync",
]  # fmt: skip
RULES = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    "resultTypes": ["violations"],
}
COLOURS = {"runOnly": {"type": "rule", "values": ["color-contrast"]}, "resultTypes": ["violations"]}
# For pages whose frame was looked at before, and whose colours are walked by tests/browser/contrast.py.
STRUCTURE = RULES | {"rules": {"color-contrast": {"enabled": False}}}
FRAME = [[".sidebar"], [".topbar"]]
# What hangs on the width alone, where the same elements were looked at before.
LAYOUT = {
    "runOnly": {"type": "rule", "values": ["target-size", "scrollable-region-focusable"]},
    "resultTypes": ["violations"],
}
PATIENCE = 120_000  # milliseconds; a busy machine is slow, not wrong
SHOWN = "[...document.querySelectorAll('main, main *')].filter(it => it.checkVisibility({visibilityProperty: true}))"
WIDE, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}


def launch(playwright: Playwright) -> Browser:
    """The browser, of whose pages nothing is expected sooner than a busy machine shows it."""
    expect.set_options(timeout=PATIENCE)
    return playwright.chromium.launch(executable_path=shutil.which("chromium") or "/usr/bin/chromium", args=FLAGS)


def new_context(browser: Browser, url: str, **options: Any) -> BrowserContext:
    """A window without animations, at the time zone of the portal."""
    values = {
        "base_url": url,
        "viewport": WIDE,
        "reduced_motion": "reduce",
        "color_scheme": "light",
        "locale": "en-GB",
        "timezone_id": "UTC",
    }
    context = browser.new_context(**(values | options))
    context.set_default_timeout(PATIENCE)
    return context


def totp(secret: str, at: float | None = None) -> str:
    """The six digits of this half minute (RFC 6238)."""
    counter = int((time.time() if at is None else at) // 30)
    digest = hmac.digest(base64.b32decode(secret + "=" * (-len(secret) % 8)), counter.to_bytes(8, "big"), hashlib.sha1)
    start = digest[-1] & 15
    return f"{(int.from_bytes(digest[start : start + 4], 'big') & 0x7FFFFFFF) % 10**6:06d}"


class SignIns:
    """Everybody's cookies, each got by a sign-in of their own when first asked for."""

    def __init__(self, portal: RunningPortal) -> None:
        self.portal = portal
        self._states: dict[str, Any] = {}

    def state_of(self, name: str, browser: Browser) -> Any:
        if name not in self._states:
            person = self.portal.facts["people"][name]
            context = new_context(browser, self.portal.url)
            page = context.new_page()
            sign_in(page, person["email"], person["password"])
            if person["codes"]:
                give_code(page, person["totp"], "Sign in")
            page.wait_for_selector("body.with-nav")
            self._states[name] = context.storage_state()
            context.close()
        return self._states[name]


def sign_in(page: Page, email: str, password: str) -> None:
    """The first step: what one knows; returns when the page behind it is there."""
    page.goto("/account/login/")
    page.locator("[name=login]").fill(email)
    page.locator("[name=password]").fill(password)
    with page.expect_navigation():  # a click waits for the answer, not for the page in it
        page.get_by_role("button", name="Sign in", exact=True).click()


def give_code(page: Page, secret: str, button: str) -> None:
    """Type the digits of this half minute and press the button; where it was over on the way, those of the next."""
    code = ""
    while code != (code := totp(secret)):
        page.locator("[name=code]").fill(code)
        with page.expect_navigation():
            page.get_by_role("button", name=button).click()
        if not page.locator("[name=code]").count():
            return


@cache
def _axe_script() -> str:
    return str(Axe().axe_script)


def axe(page: Page, rules: dict[str, Any] | None = None, *, without: list[list[str]] | None = None) -> list[str]:
    """What axe-core finds on the page as it is shown now, `without` some parts: rule, place and reason, one line each."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(_axe_script())
    violations = page.evaluate(
        "([options, exclude]) => axe.run({exclude}, options).then(found => found.violations)",
        [rules or RULES, without or []],
    )
    return [
        f"{rule['id']} at {node['target']}: {node['failureSummary']}" for rule in violations for node in rule["nodes"]
    ]


def note_shown(page: Page) -> None:
    """Remember in the page what it shows now."""
    page.evaluate(f"() => {{ window.shownBefore = new Set({SHOWN}) }}")


def shows_more(page: Page) -> bool:
    """Whether the page shows an element that it did not when that was noted."""
    return bool(page.evaluate(f"() => {SHOWN}.some(it => !window.shownBefore.has(it))"))


@contextmanager
def complaints(page: Page) -> Iterator[list[str]]:
    """What the browser complains about meanwhile: errors, warnings, broken requests, violations of the content policy."""
    found: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            found.append(f"{message.type}: {message.text}")

    def failed(request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # the next page was opened before this one was whole
            found.append(f"request: {request.url} {request.failure}")

    def broke(error: Error) -> None:
        found.append(f"script: {error}")

    page.on("console", heard)
    page.on("requestfailed", failed)
    page.on("pageerror", broke)
    try:
        yield found
    finally:
        page.remove_listener("console", heard)
        page.remove_listener("requestfailed", failed)
        page.remove_listener("pageerror", broke)
