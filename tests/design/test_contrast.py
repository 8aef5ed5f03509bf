"""Contrast of the design tokens in both themes: WCAG 2.2, 1.4.3 (text, 4.5:1) and 1.4.11 (controls and focus, 3:1)."""

import re
from pathlib import Path

import pytest

TOKENS = Path(__file__).parents[2] / "static" / "css" / "tokens.css"
PAIR = re.compile(r"--([\w-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\);")
SINGLE = re.compile(r"--([\w-]+): (#[0-9a-f]{6});")
TONES = ("ok", "warn", "danger", "info", "pending", "neutral")
GROUNDS = ("bg", "surface", "surface-sunken", "surface-hover")

TEXT = [
    *[(ink, ground) for ink in ("text", "text-muted", "link") for ground in GROUNDS],
    *[(tone, f"{tone}-soft") for tone in TONES],
    *[(tone, "surface") for tone in TONES],
    *[("text", f"{tone}-soft") for tone in TONES],
    *[("link", f"{tone}-soft") for tone in TONES],
    *[("text-muted", f"{tone}-soft") for tone in ("warn", "danger", "info", "ok", "pending")],
    ("danger", "bg"),
    ("accent", "accent-soft"),
    ("on-accent", "accent"),
    ("on-accent", "accent-hover"),
    ("nav-text", "nav-bg"),
    ("nav-muted", "nav-bg"),
    ("nav-strong", "nav-current"),
]
CONTROLS = [
    *[(line, ground) for line in ("border-strong", "focus", "accent") for ground in GROUNDS],
    *[(tone, "neutral-soft") for tone in ("ok", "warn", "danger")],
    ("accent", "neutral-soft"),
    ("nav-mark", "nav-bg"),
    ("nav-mark", "nav-current"),
]


def colours(theme: int) -> dict[str, str]:
    css = TOKENS.read_text()
    return dict(SINGLE.findall(css)) | {name: pair[theme] for name, *pair in PAIR.findall(css)}


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_the_formula_agrees_with_the_standard() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(("ink", "ground"), TEXT)
def test_text_is_readable(ink: str, ground: str, theme: int) -> None:
    table = colours(theme)
    assert contrast(table[ink], table[ground]) >= 4.5


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(("line", "ground"), CONTROLS)
def test_controls_and_focus_are_visible(line: str, ground: str, theme: int) -> None:
    table = colours(theme)
    assert contrast(table[line], table[ground]) >= 3


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_white_on_the_danger_button(theme: int) -> None:
    assert contrast("#ffffff", colours(theme)["danger-solid"]) >= 4.5
