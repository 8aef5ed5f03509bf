"""The template vocabulary: states, durations, hashes, links that keep the query, navigation."""

import enum
import re
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from django.template import Context, Template
from django.test import RequestFactory
from django.urls import path, resolve

from keys import states
from keys.forms import KeyFilterForm, RotationFilterForm
from keys.move_forms import MoveFilterForm
from keyvault_portal.approvals.views import RequestFilterForm
from keyvault_portal.templatetags import portal

ROOT = Path(__file__).parents[2]

KEY_STATES = [
    kind for kind in vars(states).values() if isinstance(kind, enum.EnumType) and kind.__module__ == states.__name__
]


def nothing(request: object) -> None:
    """A view that is never called: only its address matters."""


urlpatterns = [
    path("", nothing, name="dashboard"),
    path("settings/", nothing, name="settings"),
]


def render(source: str, **context: object) -> str:
    return re.sub(r"\s+", " ", Template("{% load portal %}" + source).render(Context(context))).strip()


@pytest.mark.parametrize("state", portal.STATES)
def test_a_state_is_a_tone_an_icon_of_the_sprite_and_a_word(state: str) -> None:
    look = portal.look_of(state)
    assert f'<symbol id="{look.icon}"' in (ROOT / "static/img/icons.svg").read_text()
    assert f".tone-{look.tone} " in (ROOT / "static/css/components.css").read_text()
    badge = render("{% state_badge state %}", state=state)
    assert look.word in badge
    assert f"tone-{look.tone}" in badge
    assert f"#{look.icon}" in badge


def test_an_unknown_state_still_says_its_name() -> None:
    assert portal.look_of("half_open") == ("neutral", "circle", "Half open")


def test_a_badge_escapes_its_label() -> None:
    assert "&lt;b&gt;" in render("{% state_badge 'active' label %}", label="<b>")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "—"),
        (0, "0 s"),
        (59.9, "59 s"),
        (3600, "1 h"),
        (3600 * 3 + 60 * 12 + 5, "3 h 12 min"),
        (timedelta(days=2, minutes=5), "2 d"),
        (-90, "-1 min 30 s"),
    ],
)
def test_duration_names_the_two_largest_units(value: timedelta | float | None, said: str) -> None:
    assert portal.duration(value) == said


def test_short_hash_keeps_both_ends() -> None:
    assert portal.short_hash(bytes(range(32))) == "00010203…1e1f"
    assert portal.short_hash("0123456789abc") == "0123456789abc"
    assert portal.short_hash("0123456789abcd") == "01234567…abcd"
    assert portal.short_hash(None) == "—"


def test_long_names_break_behind_dots_and_slashes_and_stay_escaped() -> None:
    assert portal.soft_breaks("spiffe://a.example/<b>") == "spiffe://<wbr>a.<wbr>example/<wbr>&lt;b&gt;"


@pytest.mark.parametrize(
    ("person", "said"),
    [("Ada Okafor", "AO"), ("ada.okafor@example.org", "AO"), ("root", "R"), ("A B C", "AC"), ("", "?")],
)
def test_initials(person: str, said: str) -> None:
    assert portal.initials(person) == said


def test_share_is_rounded_down_so_that_100_means_all() -> None:
    assert portal.share_of(49_999, 50_000) == 99
    assert portal.share_of(50_000, 50_000) == 100
    assert portal.share_of(1, 0) == 0


def test_url_replace_keeps_filters_and_drops_the_cursor() -> None:
    request = RequestFactory().get("/keys/", {"q": "a b", "cursor": "abc", "sort": "name"})
    assert render("{% url_replace sort='-name' %}", request=request) == "?q=a+b&amp;sort=-name"
    assert render("{% url_replace cursor='def' %}", request=request) == "?q=a+b&amp;cursor=def&amp;sort=name"
    assert render("{% url_replace q='' %}", request=request) == "?sort=name"
    assert render("{% url_replace q='x' %}") == "?q=x"


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("", ("?sort=name", "", "sort")),
        ("name", ("?sort=-name", "ascending", "sort-up")),
        ("-name", ("?sort=name", "descending", "sort-down")),
    ],
)
def test_a_second_click_turns_the_order_around(now: str, expected: tuple[str, str, str]) -> None:
    request = RequestFactory().get("/keys/", {"sort": now})
    assert portal.sort_link(Context({"request": request}), {"label": "Name", "sort": "name"}) == expected
    assert portal.sort_link(Context({"request": request}), {"label": "State"}) == ("", "", "sort")


@pytest.mark.urls(__name__)
def test_navigation_leaves_out_what_is_not_installed_and_marks_the_current_page() -> None:
    groups = portal.navigation(Context({"request": RequestFactory().get("/settings/providers/")}))
    assert [(title, [(link.label, link.current) for link in links]) for title, links in groups] == [
        ("", [("Dashboard", False)]),
        ("Administration", [("Settings", True)]),
    ]


@pytest.mark.urls(__name__)
def test_the_dashboard_is_current_only_on_its_own_page() -> None:
    groups = portal.navigation(Context({"request": RequestFactory().get("/")}))
    assert [link.label for _, links in groups for link in links if link.current] == ["Dashboard"]


@pytest.mark.parametrize("value", [member.value for kind in KEY_STATES for member in kind])
def test_every_state_of_the_keys_has_a_look_of_its_own(value: str) -> None:
    assert value in portal.STATES


@pytest.mark.parametrize(
    ("address", "entry"),
    [
        ("/certificates/acme/accounts/", "ACME"),
        (f"/certificates/acme/{UUID(int=1)}/rules/", "ACME"),
        (f"/certificates/hooks/{UUID(int=1)}/remove/", "Renewals"),
        ("/certificates/relying-parties/", "Rollovers"),
        ("/certificates/dns-hooks/new/", "Sources"),
        ("/keys/places/", "Providers"),
        ("/keys/seals/now/", "Settings"),
    ],
)
def test_a_page_elsewhere_is_marked_where_it_belongs(address: str, entry: str) -> None:
    request = RequestFactory().get(address)
    request.resolver_match = resolve(address)
    groups = portal.navigation(Context({"request": request}))
    assert [link.label for _, links in groups for link in links if link.current] == [entry]


@pytest.mark.parametrize(
    ("form", "name"),
    [(KeyFilterForm, "status"), (RotationFilterForm, "state"), (MoveFilterForm, "state"), (RequestFilterForm, "state")],
)
def test_filters_say_the_words_of_the_badges(form, name):
    offered = [choice for choice in form.base_fields[name].choices if choice[0]]
    assert offered == [(value, portal.look_of(value).word) for value, _ in offered]
    assert len(offered) > 5
