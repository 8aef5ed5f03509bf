"""Other ways to use the pages: without scripts, by keyboard alone, in a theme of one's own, on paper, and when something is refused."""

from collections.abc import Callable

import pytest
from django.template.loader import render_to_string
from playwright.sync_api import Page, Route, expect

from tests.browser import driving
from tests.browser.portal import RunningPortal

FOCUS_RING = "getComputedStyle(document.activeElement).outlineStyle + ' ' + getComputedStyle(document.activeElement).outlineWidth"
GROUND = "getComputedStyle(document.documentElement).backgroundColor"


def focused(page: Page) -> str:
    return str(
        page.evaluate(
            "document.activeElement.innerText || document.activeElement.name || document.activeElement.tagName"
        )
    ).strip()


def tab_to(page: Page, text: str) -> None:
    """Press Tab until the element of this text has the focus, which must be visible each time."""
    for _ in range(80):
        page.keyboard.press("Tab")
        assert not page.evaluate(FOCUS_RING).startswith("none"), f"one cannot see that {focused(page)!r} has the focus"
        if focused(page) == text:
            return
    raise AssertionError(f"no way to {text!r} by keyboard")


def test_reading_and_submitting_without_scripts(portal: RunningPortal, page_of: Callable[..., Page]) -> None:
    page = page_of("ada", java_script_enabled=False)
    for path, heading in (("/", "Dashboard"), ("/keys/hierarchy/", "Key hierarchy"), ("/audit/", "Audit")):
        page.goto(path)
        expect(page.get_by_role("heading", level=1)).to_have_text(heading)
    page.goto("/keys/hierarchy/")
    page.locator("summary", has_text="Below Orders KEK").click()  # branches fold without scripts
    expect(page.get_by_role("link", name="Invoices")).to_be_hidden()
    page.goto("/keys/?q=invoices")
    expect(page.get_by_role("row")).to_have_count(2)
    page.goto(f"/keys/rotations/{portal.facts['rotations']['moved']}/")
    expect(page.get_by_text("What happens next")).to_be_visible()
    page.goto(f"/keys/{portal.facts['keys']['invoices']}/versions/1/suspend/")
    page.get_by_label("Reason").fill("To see whether it works without scripts.")
    page.get_by_role("button", name="Suspend it").click()
    expect(page.get_by_text("is suspended.")).to_be_visible()
    page.get_by_role("link", name="Resume version 1").click()
    page.get_by_label("Reason").fill("It does.")
    page.get_by_role("button", name="Resume it").click()
    expect(page.get_by_text("works again.")).to_be_visible()


def test_rotation_request_by_keyboard_alone(portal: RunningPortal, page_of: Callable[..., Page]) -> None:
    page = page_of("ada")
    page.goto(f"/keys/{portal.facts['keys']['invoices']}/")
    page.keyboard.press("Tab")
    assert focused(page) == "Skip to the content"
    expect(page.get_by_role("link", name="Skip to the content")).to_be_in_viewport()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    tab_to(page, "Rotate")
    page.keyboard.press("Enter")
    page.wait_for_url("**/rotate/")
    tab_to(page, "reason")
    page.keyboard.type("By keyboard alone.")
    tab_to(page, "Rotate now")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Rotation of Invoices")


def test_menus_close_on_escape_and_give_the_focus_back(page_of: Callable[..., Page]) -> None:
    page = page_of("ada")
    page.goto("/")
    menu = page.get_by_label("Your account: Ada Berg")
    menu.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="My account and sessions")).to_be_visible()
    page.keyboard.press("Tab")
    page.keyboard.press("Escape")
    expect(page.get_by_role("link", name="My account and sessions")).to_be_hidden()
    expect(menu).to_be_focused()


def test_theme_is_chosen_and_kept(page_of: Callable[..., Page]) -> None:
    page = page_of("fay")
    page.goto("/")
    light = page.evaluate(GROUND)
    toggle = page.get_by_label("Colour theme:")
    toggle.click()  # system to light
    assert page.evaluate(GROUND) == light
    toggle.click()  # light to dark
    dark = page.evaluate(GROUND)
    assert dark != light
    page.goto("/keys/")
    assert page.evaluate(GROUND) == dark
    toggle.click()  # back to the system's
    assert page.evaluate(GROUND) == light


def test_paper_carries_the_content_and_nothing_to_press(portal: RunningPortal, page_of: Callable[..., Page]) -> None:
    page = page_of("ada", color_scheme="dark")
    page.goto(f"/approvals/{portal.facts['approvals']['executed']}/")
    page.emulate_media(media="print")
    for gone in (".sidebar", ".topbar", "button", ".button"):
        assert all(element.is_hidden() for element in page.locator(gone).all()), f"{gone} is printed"
    expect(page.get_by_role("heading", name="What will happen")).to_be_visible()
    act = page.locator("pre.code")
    assert act.evaluate("element => element.scrollHeight <= element.clientHeight + 1"), "paper does not scroll"
    assert page.evaluate(GROUND) in {"rgb(255, 255, 255)", "rgba(0, 0, 0, 0)"}
    assert len(page.pdf()) > 10_000
    page.goto("/audit/12")
    for text in page.locator("pre").all():
        assert text.evaluate("element => element.scrollWidth <= element.clientWidth + 1"), "paper does not scroll"
    short = page.locator("code[title]").first
    shown = short.evaluate("element => getComputedStyle(element, '::after').content")
    assert shown.strip('"') == short.get_attribute("title"), "half a hash proves nothing on paper"
    page.goto(f"/ceremonies/custody/{portal.facts['ceremonies']['share']}/accept-risk/")
    expect(page.get_by_label("Environment")).to_contain_text("PRACTICE")
    expect(page.get_by_label("Environment")).to_be_visible()


@pytest.mark.parametrize("status", [403, 404, 409, 429, 500, 503])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_error_page(status: int, scheme: str, portal: RunningPortal, page_of: Callable[..., Page]) -> None:
    body = render_to_string(f"{status}.html", {"portal_name": "KeyVault Portal"})

    def answer(route: Route) -> None:
        route.fulfill(status=status, body=body, content_type="text/html; charset=utf-8")

    page = page_of("", color_scheme=scheme)
    page.route("**/broken", answer)
    page.goto("/broken")
    expect(page.get_by_text(str(status))).to_be_visible()
    assert page.locator("h1").count() == 1
    assert driving.axe(page) == []


def test_a_wrong_state_is_a_page_that_says_what_to_do(portal: RunningPortal, page_of: Callable[..., Page]) -> None:
    page = page_of("dana")
    page.goto(f"/keys/rotations/{portal.facts['rotations']['moved']}/")
    # As if it had moved on between reading and pressing.
    page.evaluate(
        """() => { const form = document.querySelector('form[action$="/logout/"]').cloneNode(true);
        form.action = location.pathname + 'pause/'; form.id = 'late'; document.querySelector('main').append(form); }"""
    )
    with page.expect_navigation():  # a click waits for the answer, not for the page in it
        page.locator("#late button").click()
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    expect(page.get_by_text("409")).to_be_visible()
    assert driving.axe(page) == []


def test_who_follows_a_link_is_not_turned_back(portal: RunningPortal, page_of: Callable[..., Page]) -> None:
    """A poll that has the page opened anew is answered while the browser already waits for another page."""
    page = page_of("ada")
    request = f"/approvals/{portal.facts['approvals']['waiting']}/"
    held: dict[str, Route] = {}

    def hold(route: Route) -> None:
        held["poll" if "?shown=" in route.request.url else "page"] = route

    page.route(f"**{request}?shown=*", hold)
    page.route("**/audit/", hold)
    page.goto(request)
    while "poll" not in held:
        page.wait_for_timeout(50)
    page.get_by_role("link", name="Audit", exact=True).click(no_wait_after=True)
    while "page" not in held:
        page.wait_for_timeout(50)
    with page.expect_event("requestfinished", lambda it: "?shown=" in it.url):
        held["poll"].fulfill(headers={"HX-Redirect": request})
    held["page"].continue_()
    expect(page.get_by_role("heading", level=1)).to_have_text("Audit")


def test_a_page_that_a_download_did_not_leave_goes_on(portal: RunningPortal, page_of: Callable[..., Page]) -> None:
    page = page_of("ada")
    page.clock.install()
    page.goto(f"/approvals/{portal.facts['approvals']['waiting']}/")
    page.evaluate(
        "document.querySelector('#approval-live').dataset.old = 'yes'; dispatchEvent(new Event('beforeunload'))"
    )
    page.clock.fast_forward(10_000)
    expect(page.locator("#approval-live[data-old]")).to_have_count(0)


def test_what_the_tests_listen_for_is_heard(portal: RunningPortal, page_of: Callable[..., Page]) -> None:
    """A page with an inline style, an inline script and grey text on grey: the listener and axe must both object."""
    page = page_of("")
    body = "<html lang=en><title>x</title><main><h1>x</h1><p style='color:red'>y</p><p class=grey>hardly to be read</p></main><script>1</script>"

    def answer(route: Route) -> None:
        sheet = route.request.url.endswith(".css")
        route.fulfill(
            body=".grey { color: #999; background: #aaa }" if sheet else body.replace("<main>", "<link rel=stylesheet href=bad.css><main>"),
            content_type="text/css" if sheet else "text/html", headers={"Content-Security-Policy": "default-src 'self'"},
        )  # fmt: skip

    page.route("**/bad*", answer)
    with driving.complaints(page) as complaints:
        page.goto("/bad")
        found = driving.axe(page)
    assert sum("Content Security Policy" in text for text in complaints) == 2
    assert [line.split(" at ")[0] for line in found] == ["color-contrast"]
