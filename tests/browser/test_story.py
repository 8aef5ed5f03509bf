"""The main job, played by six people in their own windows: ask, agree, re-encrypt, count, decommission, export, verify."""

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import psycopg
from playwright.sync_api import Page, expect

from keys.crypto.compact import parse_compact
from tests.browser import driving
from tests.browser.portal import RunningPortal

VERSIONS = "SELECT v.key_version FROM data_keys d JOIN encryption_keys v ON v.id = d.version_id WHERE d.id = ANY(%s)"


def agree(page: Page, title: str, target: str) -> None:
    """Open what waits from the dashboard's number, read, and agree."""
    page.goto("/")
    page.get_by_role("link", name="requests for agreement").click()
    page.get_by_role("row", name=target).get_by_role("link", name=title).click()
    expect(page.get_by_text("This waits for you")).to_be_visible()
    page.get_by_label("I have read the act").check()
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_text("Your agreement is counted.")).to_be_visible()


def test_story(portal: RunningPortal, page_of: Callable[..., Page], tmp_path: Path) -> None:
    ada, boris, chen, dana, fay = (page_of(name) for name in ("ada", "boris", "chen", "dana", "fay"))
    with driving.complaints(ada) as complaints:
        # The officer sees the hierarchy and the key in it, and what a rotation would do before asking for it.
        ada.goto("/keys/hierarchy/")
        ada.get_by_role("link", name="Customer data", exact=True).click()
        expect(ada.get_by_role("heading", level=1)).to_have_text("Customer data")
        ada.get_by_role("link", name="Rotate", exact=True).click()
        expect(ada.get_by_text("Items to move")).to_be_visible()
        expect(ada.locator("aside, section", has_text="Dry run").last).to_contain_text(f"{3 * portal.customers}")
        ada.get_by_label("Reason").fill("Yearly rotation of the customers' data.")
        ada.get_by_label("At most so many items a second").fill("20")  # so that it still moves when it is to be held
        ada.get_by_role("button", name="Ask for the rotation").click()

        # Nobody approves what they asked for; two others do, and her page follows without a reload.
        expect(ada.get_by_text("You asked for this")).to_be_visible()
        expect(ada.get_by_role("button", name="Approve")).to_have_count(0)
        expect(ada.locator("#approval-live")).to_contain_text("0 of 2 security officers")
        agree(boris, "Rotate a key", "shop/customer-pii")
        expect(ada.locator("#approval-live")).to_contain_text("1 of 2 security officers")
        agree(chen, "Rotate a key", "shop/customer-pii")
        ada.get_by_role("link", name="See what was done").click()

        # The operator watches it move, holds it, lets it go on and takes the brake off.
        live = dana.locator("#rotation-live")
        dana.goto(ada.url)
        expect(live).to_contain_text("items/s")
        dana.get_by_role("button", name="Pause").click()
        expect(live).to_contain_text("It stands still until somebody resumes it.")
        done = dana.locator("progress").last.get_attribute("value")
        assert done is not None
        assert 0 <= int(done) < 3 * portal.customers
        dana.get_by_role("button", name="Resume").click()
        dana.get_by_label("Items a second").fill("")
        dana.get_by_role("button", name="Set the rate").click()

        # The census is zero, and her page has followed by itself.
        expect(ada.locator("#rotation-live")).to_contain_text("0 items on version 1 at the last count")
        expect(ada.locator(".step").nth(1)).to_contain_text("Done")
        assert _versions(portal) == {2}
        ada.get_by_role("link", name="Decommission version 1").click()
        ada.get_by_label("Reason").fill("The census is zero.")
        ada.get_by_role("button", name="Ask for decommissioning").click()
        expect(ada.locator("#approval-live")).to_contain_text("0 of 2 security officers")
        for officer in (boris, chen):
            agree(officer, "Decommission an old key version", "shop/customer-pii")
        ada.get_by_role("link", name="See what was done").click()
        expect(ada.get_by_text("Version 1 is destroyed after")).to_be_visible()
    assert complaints == []

    events = _export(fay, tmp_path)
    acts = [
        event["action"]
        for event in events
        if "customer-pii" in json.dumps(event) or "Customer data" in json.dumps(event)
    ]
    assert {
        "key.rotate",
        "approval.request",
        "approval.approve",
        "rotation.pause",
        "rotation.resume",
        "rotation.decommission",
    } <= set(acts)
    said = _verify_pack(fay, tmp_path)
    assert said.returncode == 0, said.stdout + said.stderr


def _versions(portal: RunningPortal) -> set[int]:
    """The key versions on which the shop's cells stand: read from the cells themselves, past the portal's census."""
    with psycopg.connect(portal.facts["shop"]) as shop:
        cells = shop.execute("SELECT unnest(ARRAY[email, card_number, tax_number]) FROM customers").fetchall()
    assert len(cells) == 3 * portal.customers
    segments = list({parse_compact(bytes(cell)).data_key_id for (cell,) in cells})
    with psycopg.connect(portal.facts["database"]) as database:
        rows = database.execute(VERSIONS, [segments]).fetchall()
    assert len(rows) == len(segments)
    return {version for (version,) in rows}


def _export(page: Page, folder: Path) -> list[dict[str, object]]:
    page.goto("/audit/export")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download", exact=True).click()
    path = folder / "record.jsonl"
    download.value.save_as(path)
    return [json.loads(line) for line in path.read_text().splitlines()]


def _verify_pack(page: Page, folder: Path) -> subprocess.CompletedProcess[str]:
    """The auditor checks the pack with the program inside it, as somebody who trusts nobody here would."""
    page.goto("/audit/export")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the pack").click()
    path = folder / "pack.zip"
    download.value.save_as(path)
    program = zipfile.ZipFile(path).extract("verify.py", folder)
    return subprocess.run(
        [sys.executable, "-I", program, str(path)], capture_output=True, text=True, check=False, env={}
    )
