"""Rules every template keeps: a stated contract, no inline code or style, no other host, icons that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEMPLATES = sorted((ROOT / "templates").rglob("*.html"))
CONTRACTED = [
    path
    for path in TEMPLATES
    if path.parent.name in {"components", "generic", "elements", "layouts"} or path.parent == ROOT / "templates"
]
SCRIPT = re.compile(r"<script\b(?![^>]*\b(?:src=|type=\"application/json\"))", re.IGNORECASE)
INLINE = re.compile(r"<style\b|\sstyle=|\son[a-z]+=|javascript:|\shx-on|js:", re.IGNORECASE)
ICON = re.compile(r"icon\.html\" with name=\"([\w-]+)\"|icons\.svg' %\}#([\w-]+)")


def name(path: Path) -> str:
    return str(path.relative_to(ROOT / "templates"))


@pytest.mark.parametrize("path", CONTRACTED, ids=name)
def test_opens_with_its_contract(path: Path) -> None:
    assert "{% comment %}" in "".join(path.read_text().splitlines()[:2])


@pytest.mark.parametrize("path", TEMPLATES, ids=name)
def test_holds_nothing_that_the_content_security_policy_refuses(path: Path) -> None:
    source = path.read_text()
    assert not SCRIPT.search(source)
    assert not INLINE.search(source)
    assert not re.search(r"(?:src|href|action)=\"(?:https?:)?//", source)


@pytest.mark.parametrize("path", TEMPLATES, ids=name)
def test_names_icons_that_the_sprite_has(path: Path) -> None:
    sprite = set(re.findall(r"<symbol id=\"([\w-]+)\"", (ROOT / "static/img/icons.svg").read_text()))
    assert {first or second for first, second in ICON.findall(path.read_text())} <= sprite
