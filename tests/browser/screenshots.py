"""Pictures of the main pages from a running portal: `python tests/browser/screenshots.py FOLDER` writes FOLDER/*.png."""

import io
import os
import sys
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from struct import Struct
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
SCREEN = {"width": 1280, "height": 800}
SIGNATURE, HEAD, TAIL = b"\x89PNG\r\n\x1a\n", Struct(">I4s"), Struct(">I")  # of a PNG and of its chunks


def main(folder: Path) -> None:
    os.environ.setdefault("PORTAL_VAR_DIR", tempfile.mkdtemp(prefix="portal-pictures-"))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "keyvault_portal.settings")
    import django

    django.setup()
    from playwright.sync_api import sync_playwright

    from tests.browser import driving
    from tests.browser.portal import RunningPortal

    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="portal-demo-") as place, sync_playwright() as playwright:
        portal = RunningPortal(Path(place), customers=6_000, orders=400).start()
        browser = driving.launch(playwright)
        try:
            for name, taken in pictures(portal, browser):
                (folder / f"{name}.png").write_bytes(taken)
                print(f"{name}.png  {len(taken) / 1000:.0f} kB")
        finally:
            browser.close()
            portal.stop()


def pictures(portal: Any, browser: Any) -> Iterator[tuple[str, bytes]]:
    """A name and a PNG for each of the main pages: light ones, then some dark, then some on a phone."""
    from tests.browser import driving

    sign_ins, facts = driving.SignIns(portal), portal.facts
    rotation = _mid_run(portal, browser, sign_ins)
    shots = [
        ("dashboard", "boris", "/"), ("hierarchy", "ada", "/keys/hierarchy/"), ("keys", "ada", "/keys/"),
        ("advisor", "ada", "/keys/advisor/?at=siv"),
        ("key", "ada", f"/keys/{facts['keys']['orders-kek']}/"), ("rotation-request", "ada", f"/keys/{facts['keys']['customers-kek']}/rotate/"),
        ("rotation", "dana", rotation), ("rotations", "dana", "/keys/rotations/"), ("approvals", "chen", "/approvals/"),
        ("approval", "chen", f"/approvals/{facts['approvals']['half']}/"), ("stores", "ada", "/keys/stores/"),
        ("store", "ada", f"/keys/stores/{facts['stores']['shop-orders']}/"), ("census", "fay", "/keys/census/"), ("audit", "fay", "/audit/"),
        ("event", "fay", "/audit/12"), ("people", "ada", "/people/"), ("tokens", "ada", "/tokens/"), ("settings", "ada", "/settings/"),
        ("tls", "ada", "/tls/"), ("tls-scan", "ada", "/tls/scan/"), ("tls-pins", "ada", "/tls/pins/"),
        ("tls-records", "ada", "/tls/records/"), ("tls-manifests", "ada", "/tls/manifests/"),
        ("account", "ada", "/profile/"), ("sign-in", "", "/account/login/"),
    ]  # fmt: skip
    dark = [shot for shot in shots if shot[0] in {"dashboard", "hierarchy", "rotation", "key", "approval"}]
    phone = [shot for shot in shots if shot[0] in {"dashboard", "rotation", "approval"}]
    yield from _ceremony(portal, browser, sign_ins)
    looks = [
        (shots, "", {"viewport": SCREEN}), (dark, "-dark", {"viewport": SCREEN, "color_scheme": "dark"}),
        (phone, "-phone", {"viewport": driving.PHONE, "has_touch": True, "is_mobile": True}),
    ]  # fmt: skip
    for chosen, suffix, options in looks:
        for name, who, path in chosen:
            context = driving.new_context(
                browser, portal.url, storage_state=sign_ins.state_of(who, browser) if who else None, **options
            )
            page = context.new_page()
            page.goto(path)
            yield name + suffix, smaller(page.screenshot(animations="disabled"))
            context.close()


def _ceremony(portal: Any, browser: Any, sign_ins: Any) -> Iterator[tuple[str, bytes]]:
    """The room while shares are handed out, a share on its card, and the first page of the minutes."""
    import pypdfium2

    from tests.browser import driving

    found = portal.facts["ceremonies"]
    for name, who, path in (("room", "fay", "room/"), ("card", "boris", "room/share/")):
        context = driving.new_context(
            browser, portal.url, storage_state=sign_ins.state_of(who, browser), viewport=SCREEN | {"height": 900}
        )
        page = context.new_page()
        page.goto(f"/ceremonies/{found['dealt']}/{path}")
        if name == "card":
            page.get_by_role("button", name="Show my share, this once").click()
            page.wait_for_selector(".share-words li")
        yield name, smaller(page.screenshot(animations="disabled"))
        minutes = context.request.get(f"/ceremonies/{found['held']}/minutes.pdf").body()
        context.close()
    picture, out = pypdfium2.PdfDocument(minutes)[0].render(scale=1.3).to_pil(), io.BytesIO()
    picture.save(out, "PNG")
    yield "minutes", smaller(out.getvalue())


def _mid_run(portal: Any, browser: Any, sign_ins: Any) -> str:
    """Start a rotation of the customers' data that takes a while; returns the path of its page."""
    from tests.browser import driving

    def window(name: str) -> Any:
        return driving.new_context(browser, portal.url, storage_state=sign_ins.state_of(name, browser)).new_page()

    ada = window("ada")
    ada.goto(f"/keys/{portal.facts['keys']['customer-pii']}/rotate/")
    ada.get_by_label("Reason").fill("Yearly rotation of the customers' data.")
    ada.get_by_label("At most so many items a second").fill("150")
    ada.get_by_role("button", name="Ask for the rotation").click()
    ada.wait_for_selector("#approval-live")
    for name in ("boris", "chen"):
        page = window(name)
        page.goto(ada.url)
        page.get_by_label("I have read the act").check()
        page.get_by_role("button", name="Approve").click()
        page.context.close()
    ada.get_by_role("link", name="See what was done").click(timeout=60_000)
    ada.wait_for_selector("progress[value]:not([value='0'])")
    path = str(ada.url).removeprefix(portal.url)
    ada.wait_for_timeout(6_000)  # so that the rate and the time left are worth reading
    ada.context.close()
    return path


def smaller(png: bytes) -> bytes:
    """The same picture, its pixels compressed as far as zlib goes; Chromium is in a hurry."""
    chunks, position = [], len(SIGNATURE)
    while position < len(png):
        length, kind = HEAD.unpack_from(png, position)
        chunks.append((kind, png[position + HEAD.size : position + HEAD.size + length]))
        position += HEAD.size + length + TAIL.size
    pixels = zlib.compress(zlib.decompress(b"".join(data for kind, data in chunks if kind == b"IDAT")), 9)
    kept = [(kind, data) for kind, data in chunks if kind not in {b"IDAT", b"IEND"}]
    return SIGNATURE + b"".join(
        HEAD.pack(len(data), kind) + data + TAIL.pack(zlib.crc32(kind + data))
        for kind, data in [*kept, (b"IDAT", pixels), (b"IEND", b"")]
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
