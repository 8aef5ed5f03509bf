"""A share sealed to a key that the browser makes: the words are in the page of one person, and in no answer of the server."""

from collections.abc import Callable

from playwright.sync_api import Page, Response, expect

from tests.browser.portal import RunningPortal


def test_the_words_are_decrypted_in_the_page_only(portal: RunningPortal, page_of: Callable[..., Page]) -> None:
    page = page_of("boris")
    path = f"/ceremonies/{portal.facts['ceremonies']['dealt']}/room/"
    bodies: list[str] = []

    def keep(response: Response) -> None:
        if "/ceremonies/" in response.url and response.status == 200:
            bodies.append(response.text())

    page.goto(path)
    page.on("response", keep)
    page.get_by_text("Other ways to get it").click()
    page.get_by_role("button", name="Show it sealed to this browser").click()
    rows = page.get_by_role("list", name="The words of your share").get_by_role("listitem")
    expect(rows).to_have_count(33)
    words = [text.split()[-1] for text in rows.all_inner_texts()]
    with page.expect_response(
        lambda response: "room/live" in response.url
    ):  # the page looks again, and leaves them there
        pass
    expect(rows).to_have_count(33)
    assert any('"sealed"' in body for body in bodies)
    assert not any(" ".join(words[4:7]) in " ".join(body.split()) for body in bodies)
    page.get_by_role("link", name="go on to confirm them").click()
    for field in page.locator("input[name^=word_]").all():
        position = int(str(field.get_attribute("name")).removeprefix("word_"))
        field.fill(words[position - 1])
    page.get_by_label("Number of the tamper-evident bag").fill("TB-77")
    page.locator("#room-part").get_by_role("button", name="Confirm").click()
    expect(page.locator("#room-part")).to_contain_text("Your share is confirmed")
    expect(page.locator("body")).not_to_contain_text(words[7] + " " + words[8])
