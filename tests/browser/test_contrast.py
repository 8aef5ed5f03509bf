"""The walk for contrast finds what axe-core finds, and leaves what it leaves."""

from typing import Any

import pytest
from playwright.sync_api import Page

from tests.browser import driving
from tests.browser.contrast import faint

pytestmark = pytest.mark.needs_chromium

FAINT = [
    '<p style="color:#777">Grey on white is 4.48</p>',
    '<p style="color:rgb(0 0 0 / 50%)">half seen</p>',
    '<div style="background:#222"><p style="color:#666">dark on darker</p></div>',
    '<div style="opacity:.5"><p style="color:#333">a faded box</p></div>',
    '<div style="background:#000"><div style="background:rgb(255 255 255 / 40%)"><p style="color:#999">layers</p></div></div>',
    '<p style="color:#999;font-size:24px">large, but fainter still</p>',
    '<label>Name <input value="typed" style="color:#aaa;background:#fff"></label>',
    '<p style="color:oklch(0.7 0 0)">another space of colours</p>',
]
PLAIN = [
    '<p style="color:#767676">Grey on white is 4.54</p>',
    '<p style="color:#949494;font-size:24px">large text needs 3</p>',
    '<p style="color:#949494;font-size:19px;font-weight:700">bold and large needs 3</p>',
    '<div style="background:#222"><p style="color:#ccc">light on dark</p></div>',
    '<p style="color:#eee;display:none">not shown</p>',
    '<p style="color:#eee;position:absolute;width:1px;height:1px;overflow:hidden">only read out</p>',
    '<button disabled style="color:#ccc">cannot be pressed</button>',
    '<p><svg width="9" height="9"><text fill="#eee">drawn</text></svg></p>',
]


@pytest.fixture(scope="module")
def sheet(browser: Any) -> Page:
    page: Page = browser.new_page()
    return page


@pytest.mark.parametrize(("body", "wrong"), [*((text, True) for text in FAINT), *((text, False) for text in PLAIN)])
def test_faint_text_is_found_as_axe_finds_it(sheet: Page, body: str, wrong: bool) -> None:
    sheet.set_content(
        f'<!doctype html><html lang="en"><title>x</title><body style="background:#fff">{body}</body></html>'
    )
    assert bool(faint(sheet)) is wrong
    assert bool(driving.axe(sheet, driving.COLOURS)) is wrong
