"""Dashboard and settings by REST: what the pages show, for the rings of the caller, and no secret."""

from django.conf import settings
from django.utils import timezone

from keys.models import Key
from tests.api.conftest import make_person, sign_in


def test_the_dashboard_tells_what_is_wrong_and_due_on_the_callers_rings(here, there):
    Key.objects.filter(pk=here.keys["data"].pk).update(next_rotation_at="2020-01-01T00:00:00Z")
    Key.objects.filter(pk=there.keys["kek"].pk).update(next_rotation_at="2020-01-01T00:00:00Z")
    everything = sign_in(make_person("olga", "security_officer")).get("/api/v1/dashboard").json()
    asked_on = timezone.localdate()
    mine = sign_in(make_person("otto", "security_officer", here.ring)).get("/api/v1/dashboard").json()
    assert [found["title"] for found in everything["attention"] if "overdue" in found["title"]] == [
        "2 rotations overdue"
    ]
    overdue = next(found for found in mine["attention"] if "overdue" in found["title"])
    assert overdue == {
        "tone": "danger", "title": "1 rotation overdue", "detail": "A cryptoperiod has ended.", "page": "/keys/?due=overdue",
    }  # fmt: skip
    today = mine["calendar"][0]
    assert today["date"] in {asked_on.isoformat(), timezone.localdate().isoformat()}  # a day may end in between
    assert [(key["id"], key["overdue"]) for key in today["keys"]] == [(str(here.keys["data"].pk), True)]
    assert (mine["posture"]["keys"], everything["posture"]["keys"]) == (
        len(here.keys),
        len(here.keys) + len(there.keys),
    )
    assert (mine["waiting"], mine["running"], len(mine["calendar"])) == ([], [], 28)


def test_the_settings_hold_what_the_page_holds_and_no_secret(db):
    browser = sign_in(make_person("olga", "security_officer"))
    sections = browser.get("/api/v1/settings").json()
    assert [section["title"] for section in sections] == ["Mode", "Database", "Background work", "Record", "Sign-in"]
    page, told = browser.get("/settings/").content.decode(), str(sections)
    for section in sections:
        for fact in section["facts"]:
            assert fact["name"] in page
            assert fact["value"] in page
    for secret in (settings.SECRET_KEY, settings.TOKEN_PEPPER, settings.DATABASES["default"]["PASSWORD"]):
        assert secret not in told + page
