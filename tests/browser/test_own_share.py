"""Shares sealed to a key that the browser makes: the words are in the page of one person, and pass no server in clear."""

import re
from collections.abc import Callable

import pypdfium2
import segno
from playwright.sync_api import Page, Request, Response, expect

from tests.browser.portal import RunningPortal


class Passed:
    """What went between a page and the server, both ways."""

    def __init__(self, page: Page) -> None:
        self.pieces: list[str] = []
        page.on("request", self._asked)
        page.on("response", self._answered)

    def _asked(self, request: Request) -> None:
        self.pieces.append(request.post_data or "")

    def _answered(self, response: Response) -> None:
        if "/static/" not in response.url and not 300 <= response.status < 400 and response.status != 204:
            self.pieces.append(response.text())

    def has(self, words: list[str]) -> bool:
        """Whether two of the words that are this share's alone are anywhere side by side."""
        everything = " ".join(" ".join(self.pieces).replace("+", " ").split())
        return any(" ".join(words[at : at + 2]) in everything for at in range(4, len(words) - 1))


def test_a_share_is_opened_in_the_page_and_typed_back_sealed(
    portal: RunningPortal, page_of: Callable[..., Page]
) -> None:
    page = page_of("boris")
    passed = Passed(page)
    page.goto(f"/ceremonies/{portal.facts['ceremonies']['dealt']}/room/")
    page.get_by_role("link", name="Go to my share").click()
    expect(page.get_by_role("article", name="Share card")).to_be_hidden()
    page.get_by_role("button", name="Show my share, this once").click()
    rows = page.get_by_role("list", name="The words of your share").get_by_role("listitem")
    expect(rows).to_have_count(33)
    words = [text.split()[-1] for text in rows.all_inner_texts()]
    card = page.get_by_role("article", name="Share card")
    expect(card).to_contain_text("PRACTICE")
    expect(card.get_by_role("img", name="The words as a QR code")).to_be_visible()
    code = segno.make(" ".join(words), error="m", micro=False).matrix
    assert dark_modules(page) == {(x, y) for y, row in enumerate(code) for x, dark in enumerate(row) if dark}
    (sheet,) = sheets(page.pdf(prefer_css_page_size=True))
    assert sheet.count("PRACTICE") >= 3
    assert set(words) <= set(sheet.split())
    page.locator(".banner").evaluate_all("found => found.forEach(it => it.remove())")
    assert len(sheets(page.pdf(prefer_css_page_size=True))) == 1, "a real share's card is one sheet, too"
    page.get_by_role("link", name="It is written down: confirm it").click()
    page.go_back()
    expect(page.locator("[data-card-words] li")).to_have_count(0)  # shown once: coming back shows nothing
    page.goto(f"/ceremonies/{portal.facts['ceremonies']['dealt']}/room/")
    fields = page.locator("#room-part input[data-words]").all()
    assert len(fields) == 4
    page.get_by_label("Number of the tamper-evident bag").first.fill("TB-77")
    page.get_by_role("button", name="My share is sealed").click()
    expect(page.get_by_role("alert")).to_have_text("Type every word that is asked for.")
    for field in fields:
        position = int(str(field.get_attribute("id")).removeprefix("word-"))
        field.fill(words[position - 1])
    page.get_by_role("button", name="My share is sealed").click()
    expect(page.locator("#room-part")).to_contain_text("Your share is confirmed")
    assert any('"sealed"' in piece for piece in passed.pieces)
    assert not passed.has(words)
    passed.pieces.append(" ".join(words[6:9]))
    assert passed.has(words), "this way of looking finds what is there"


def sheets(pdf: bytes) -> list[str]:
    """The text of each page."""
    return [page.get_textpage().get_text_bounded() for page in pypdfium2.PdfDocument(pdf)]


def test_every_sheet_of_a_rehearsal_says_practice(portal: RunningPortal, page_of: Callable[..., Page]) -> None:
    page, held = page_of("ada"), portal.facts["ceremonies"]["held"]
    page.goto(f"/ceremonies/{held}/")
    printed = sheets(page.pdf(prefer_css_page_size=True))
    minutes = sheets(page.context.request.get(f"/ceremonies/{held}/minutes.pdf").body())
    assert len(printed) > 2
    assert all("PRACTICE" in sheet for sheet in printed + minutes)
    page.goto("/ceremonies/scripts/escrow:1/")
    assert "Open the ceremony" in sheets(page.pdf(prefer_css_page_size=True))[0]  # no sheet is left empty before it


def test_every_sheet_of_a_package_says_of_which_set(portal: RunningPortal, page_of: Callable[..., Page]) -> None:
    page = page_of("ada")
    page.goto("/ceremonies/custody/")
    with page.expect_navigation():  # a click waits for the answer, not for the page in it
        page.get_by_role("link", name=re.compile("^Print it")).first.click()
    title = page.get_by_role("heading", level=1).inner_text()
    page.locator(".package-text").evaluate("it => it.textContent += it.textContent.repeat(3)")  # a larger key's package
    printed = sheets(page.pdf(prefer_css_page_size=True))
    assert len(printed) > 1
    assert all(title in sheet for sheet in printed)


def dark_modules(page: Page) -> set[tuple[int, int]]:
    """Which modules of the QR code are drawn dark, counted from the corner of the code itself."""
    path = str(page.locator(".qr-code path").get_attribute("d"))
    return {(int(x) - 4, int(y) - 4) for x, y in re.findall(r"M(\d+) (\d+)h1v1h-1z", path)}


def test_the_shares_of_a_seal_are_made_by_its_button(portal: RunningPortal, page_of: Callable[..., Page]) -> None:
    page = page_of("ada")
    passed = Passed(page)
    page.goto("/keys/seals/")
    page.get_by_role("link", name="Make the shares…").click()
    page.get_by_role("button", name="Show the shares").click()
    lists = page.locator("[data-share]")
    expect(lists).to_have_count(5)
    expect(lists.last.get_by_role("listitem").first).to_be_visible()
    cards = [[text.split()[-1] for text in shown.get_by_role("listitem").all_inner_texts()] for shown in lists.all()]
    assert len({tuple(card) for card in cards}) == 5
    assert {len(card) for card in cards} == {33}
    assert not any(passed.has(card) for card in cards)
    page.get_by_role("link", name="They are written down").click()
    row = page.get_by_role("row").filter(has_text="Custodians of the site")
    expect(row).to_contain_text("Opens the portal")
    expect(row).to_contain_text("3 of 5 shares")
    expect(page.get_by_role("link", name="Make the shares…")).to_have_count(0)
