"""The advisor by pages and by REST: the same words, the keys of the caller's rings only, and a form that is filled in."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from keys.advisor import tree
from keys.crypto.algorithms import ALGORITHMS
from keys.models import Key, KeyPolicy, KeyVersion
from tests.api.conftest import make_person, sign_in


@pytest.fixture
def officer(here):
    return sign_in(make_person("otto", "security_officer", here.ring))


def test_the_questions_are_walked_to_an_advice_and_on_to_a_new_key(officer):
    page = officer.get("/keys/advisor/").content.decode()
    assert "What is it for?" in page
    assert "?at=symmetric" in page
    page = officer.get("/keys/advisor/?at=siv").content.decode()
    for shown in ("A nonce may come twice", "Programs of today", "RFC 8452", "?at=aead"):
        assert shown in page
    link = "/keys/new/?kind=dek&amp;algorithm=AES-256-GCM-SIV"
    assert link in page
    form = officer.get(link.replace("&amp;", "&")).context["form"]
    assert (form["kind"].value(), form["algorithm"].value()) == ("dek", "AES-256-GCM-SIV")
    assert officer.get("/keys/advisor/?at=nowhere").status_code == 404


def test_who_may_make_no_key_is_offered_none(here):
    auditor = sign_in(make_person("fay", "auditor", here.ring))
    page = auditor.get("/keys/advisor/?at=siv").content.decode()
    assert "RFC 8452" in page
    assert "/keys/new/" not in page


def test_the_scopes_that_help_are_named(officer):
    page = officer.get("/keys/advisor/scopes/?against=network&against=middle").content.decode()
    assert "In transit, the message; A field, at the client" in page
    nothing = officer.get("/keys/advisor/scopes/?against=everybody").content.decode()
    assert "everybody is not one of the available choices" in nothing
    assert "alone help" not in officer.get("/keys/advisor/scopes/").content.decode()


def test_rest_tells_what_the_pages_show(officer):
    told = officer.get("/api/v1/advisor/tree").json()
    assert told["start"] == tree.START
    assert {row["id"] for row in told["questions"] + told["advice"]} == set(tree.PLACES)
    page = officer.get("/keys/advisor/algorithms/").content.decode()
    rows = officer.get("/api/v1/advisor/algorithms").json()
    assert {row["name"] for row in rows} == set(ALGORITHMS)
    assert all(row["name"] in page and row["clause"] in page for row in rows)
    matrix = officer.get("/api/v1/advisor/scopes").json()
    page = officer.get("/keys/advisor/scopes/").content.decode()
    assert all(row["title"] in page for row in matrix["scopes"] + matrix["threats"])
    assert officer.get("/api/v1/advisor/scopes?against=network").status_code == 422


def test_the_findings_are_about_the_callers_keys_in_use(officer, here, there):
    KeyPolicy.objects.all().update(destroy_groups=[{"role": "security_officer", "threshold": 1}], cryptoperiod_days=90)
    for place in (here, there):
        KeyPolicy.objects.filter(key=place.keys["data"]).update(cryptoperiod_days=None)
    gone = here.keys["kek"]
    KeyPolicy.objects.filter(key=gone).update(cryptoperiod_days=None)
    KeyVersion.objects.filter(key=gone).update(status="destroyed", wrapped_material=None, handle="")
    told = officer.get("/api/v1/advisor/findings").json()
    (finding,) = [found for found in told["found"] if found["rule"]["id"] == "no-cryptoperiod"]
    assert [(key["id"], finding["number"]) for key in finding["keys"]] == [(str(here.keys["data"].pk), 1)]
    assert (told["looked_at"], told["bounded"]) == (Key.objects.filter(ring=here.ring).count() - 1, False)
    page = officer.get("/keys/advisor/findings/").content.decode()
    assert f"/keys/{here.keys['data'].pk}/" in page
    assert str(there.keys["data"].pk) not in page


def test_the_findings_take_the_same_queries_for_more_keys(officer, here):
    def queries() -> int:
        with CaptureQueriesContext(
            connection,
        ) as asked:
            assert officer.get("/api/v1/advisor/findings").status_code == 200
        return len(asked)

    queries()  # what is asked once only
    before = queries()
    for number in range(30):
        key = Key.objects.create(
            ring=here.ring, name=f"more-{number}", title="More", kind="dek", algorithm="AES-256-GCM", parent=here.keys["kek"], created_by="test",
        )  # fmt: skip
        KeyPolicy.objects.create(key=key)
        key.current = KeyVersion.objects.create(key=key, key_version=1, kms_key_arn=f"x:{number}", status="active")
        key.save()
    assert queries() == before
    (finding,) = [
        found for found in officer.get("/api/v1/advisor/findings").json()["found"] if found["rule"]["id"] == "destroyed-by-one"
    ]  # fmt: skip
    assert finding["number"] >= 30
    assert len(finding["keys"]) == 20
