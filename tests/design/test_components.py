"""Each component, drawn from the context its first lines promise, and the error pages, which come without one."""

import re
from datetime import date, timedelta
from typing import Any

import pytest
from django import forms
from django.template.loader import render_to_string
from django.test import RequestFactory

from certificates.forms import AuthorityForm
from keys.forms import KeyForm, ProviderForm, StoreForm
from keyvault_portal.accounts.forms import NewRingForm
from keyvault_portal.short_name import ShortNameField

# The design stands on no page of the portal: links to pages that are not there are left out.
pytestmark = pytest.mark.urls(__name__)
urlpatterns: list[Any] = []


def draw(name: str, **context: Any) -> str:
    return re.sub(r"\s+", " ", render_to_string(f"components/{name}.html", context))


def test_progress_says_share_rate_and_time_left() -> None:
    html = draw(
        "progress",
        label="shop.customers",
        done=31_200,
        total=50_000,
        rate=4120.5,
        eta=timedelta(minutes=12),
        state="running",
        pause_url="/p",
    )
    assert '<progress value="31200" max="50000"' in html
    assert "<strong>62 %</strong> · 31,200 of 50,000 items" in html
    assert "12 min left" in html
    assert 'formaction="/p"' in html
    assert "Resume" not in html


def test_progress_of_nothing_is_not_a_division_by_zero() -> None:
    assert "<strong>0 %</strong>" in draw("progress", label="empty", done=0, total=0)


@pytest.mark.parametrize(("used", "word"), [(10, "Within budget"), (80, "Rotation due"), (100, "Limit reached")])
def test_meter_says_in_words_where_it_stands(used: int, word: str) -> None:
    html = draw("meter", label="Version 4", used=used, limit=100, due_at=75)
    assert word in html
    assert f'value="{used}"' in html


def test_stepper_marks_one_current_step() -> None:
    steps = [
        {"title": "Introduce", "state": "done"},
        {"title": "Re-encrypt", "state": "current"},
        {"title": "Decommission", "state": "todo"},
    ]
    html = draw("stepper", steps=steps)
    assert html.count('aria-current="step"') == 1
    assert re.findall(r"step-state\"> ([\w ]+?) <", html) == ["Done", "In progress", "To do"]


def test_tree_nests_and_keeps_the_switch_beside_the_link() -> None:
    nodes = [
        {
            "title": "root",
            "url": "/r",
            "open": True,
            "children": [{"title": "kek", "url": "/k", "state": "active", "children": []}],
        }
    ]
    html = draw("tree", nodes=nodes)
    assert html.count("<details") == 1
    assert "<details open>" in html
    assert not re.search(r"<summary[^>]*>(?:(?!</summary>).)*<a ", html)
    assert html.index('href="/r"') < html.index('href="/k"')


def test_calendar_names_today_and_what_is_due() -> None:
    day = date(2026, 11, 24)
    days = [
        {"date": day, "today": True, "items_due": [{"title": "card-number", "url": "/k", "state": "overdue"}]},
        {"date": day + timedelta(1), "items_due": []},
    ]
    html = draw("calendar", days=days)
    assert html.count("<li") == 2
    assert ">Today</time>" in html
    assert 'aria-label="Overdue"' in html


def test_timeline_shows_state_and_time() -> None:
    html = draw("timeline", entries=[{"title": "Version 2", "state": "decrypt_only", "note": "18,800 records"}])
    assert "Decrypt-only" in html
    assert "18,800 records" in html


def test_consequences_take_figures_and_plain_sentences() -> None:
    html = draw(
        "consequences", consequences=[{"count": 50_000, "text": "records become unreadable"}, "Last used today."]
    )
    assert "<strong>50,000</strong>" in html
    assert "Last used today." in html


def test_pager_links_only_where_there_is_a_page() -> None:
    html = draw("pager", newer_url="", older_url="?cursor=abc")
    assert "Older" in html
    assert "Newer" not in html
    assert draw("pager").strip() == ""


def test_table_heads_say_their_order() -> None:
    request = RequestFactory().get("/keys/", {"sort": "-name"})
    html = draw("table_head", columns=[{"label": "Name", "sort": "name"}, {"label": "State"}], request=request)
    assert html.count('aria-sort="descending"') == 1
    assert 'href="?sort=name"' in html


def test_values_are_escaped() -> None:
    hostile = '"><script>alert(1)</script>'
    parts = [
        draw("facts", facts=[(hostile, hostile)]),
        draw("code", value=hostile),
        draw("notice", body=hostile, notice_title=hostile),
        draw("tree", nodes=[{"title": hostile, "url": hostile, "note": hostile}]),
        draw("table_head", columns=[{"label": hostile}]),
        draw("avatar", person=hostile),
    ]
    assert not any("<script" in part for part in parts)


class Sample(forms.Form):
    name = ShortNameField(help_text="Lower case.")
    agree = forms.BooleanField(label="Agree")
    mode = forms.ChoiceField(choices=[("a", "A"), ("b", "B")], widget=forms.RadioSelect, required=False)


def test_fields_tie_label_help_and_error_to_the_control() -> None:
    html = draw("fields", form=Sample({"name": "no slug!"}))
    assert '<label for="id_name">' in html
    control = re.search(r"<input[^>]*id=\"id_name\"[^>]*>", html)
    assert control
    described = re.search(r"aria-describedby=\"([^\"]+)\"", control[0])
    assert described
    assert 'aria-invalid="true"' in control[0]
    assert all(f'id="{part}"' in html for part in described[1].split())
    assert "<legend> Mode <span" in html
    assert "Letters, digits, hyphens and underscores only, without spaces." in html
    assert "slug”" not in html


@pytest.mark.parametrize("form", [KeyForm, StoreForm, ProviderForm, NewRingForm, AuthorityForm])
def test_short_names_are_asked_for_in_plain_words(form: type[forms.Form]) -> None:
    assert not [name for name, field in form.base_fields.items() if type(field) is forms.SlugField]


def test_a_form_points_at_marked_fields_where_there_are_some() -> None:
    form = Sample({"name": "fine", "agree": "on"})
    form.add_error(None, "The database does not answer.")
    words = [render_to_string("generic/form.html", {"form": it}) for it in (form, Sample({"name": "no slug!"}))]
    assert ["Correct the marked fields" in page for page in words] == [False, True]
    assert all("Nothing was saved." in page for page in words)


@pytest.mark.parametrize("code", [403, 404, 409, 429, 500, 503])
def test_error_pages_need_no_context_and_have_one_heading(code: int) -> None:
    html = render_to_string(f"{code}.html")
    assert html.count("<h1>") == 1
    assert f"Error {code}" in html
    assert 'href="/"' in html


def test_an_error_page_prefers_the_portals_own_words() -> None:
    html = render_to_string("409.html", {"detail": "Version 2 is destroyed.", "hint": "Choose another version."})
    assert "Version 2 is destroyed." in html
    assert "Choose another version." in html
    assert "Somebody or something changed" not in html
