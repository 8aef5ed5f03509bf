"""The browsable description of the REST API works under the same strict policy as every page."""

from collections.abc import Callable

from playwright.sync_api import Page, expect


def test_the_api_is_browsed_without_anything_from_elsewhere(page_of: Callable[..., Page]) -> None:
    page = page_of("ada")
    complaints: list[str] = []
    elsewhere: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: elsewhere.append(request.url) if "//localhost" not in request.url else None)
    page.goto("/api/v1/docs")
    expect(page.get_by_role("heading", name="KeyVault Portal API")).to_be_visible()
    wanted = page.locator("#operations-data_plane-data_encrypt, [id$=data_encrypt]").first
    for _ in range(400):  # what is out of view is not drawn
        if wanted.count():
            break
        page.mouse.wheel(0, 500)
        page.wait_for_timeout(50)
    wanted.click()
    expect(page.get_by_text("Needs the right key.encrypt.", exact=False).first).to_be_visible()
    assert not complaints
    assert not [url for url in elsewhere if not url.startswith(("data:", "blob:", "http://127.0.0.1"))]
