"""The room over HTTP: guests at the door, acts by the right person, the poll's price, the share in one browser once."""

import html
import io
import re
import zipfile
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from ceremonies import offline
from ceremonies.models import Ceremony, Participant
from ceremonies.services import invitations, room
from keyvault_portal.approvals.models import Notice
from keyvault_portal.audit.models import AuditEvent
from tests.api.conftest import make_person, sign_in
from tests.room.cast import plan
from tests.room.windows import Window

pytestmark = pytest.mark.django_db(transaction=True)
# Session, person and rights, five by which allauth notes the session's activity, the seat with its ceremony, all seats.
POLL_QUERIES, GUEST_QUERIES = 10, 3


def guest(cast: Any, name: str) -> tuple[Client, Any]:
    """A browser that redeemed an invitation."""
    invitation = invitations.invite_guest(actor=cast.planner, ceremony_id=cast.id, participant_id=cast.seat(name).pk)
    client = Client()
    path = invitation.link.removeprefix("http://localhost:8000")
    assert client.get(path).status_code == 200
    response = client.post(path, {"code": invitation.code})
    assert response.status_code == 302
    return client, path


def act(client: Client, cast: Any, name: str, **values: Any) -> Any:
    return client.post(reverse("ceremonies:room-act", args=[cast.id, name]), values)


def page(client: Client, cast: Any) -> str:
    return client.get(reverse("ceremonies:room", args=[cast.id])).content.decode()


def test_a_guest_needs_link_and_code_and_gets_one_room_only(cast):
    client, path = guest(cast, "karl")
    assert "You are Karl, holder" in page(client, cast)
    assert Client().get(path).status_code == 404  # used up
    assert client.get("/ceremonies/").status_code == 302
    assert client.get(reverse("ceremonies:detail", args=[cast.id])).status_code == 302
    again = invitations.invite_guest(actor=cast.planner, ceremony_id=cast.id, participant_id=cast.seat("karl").pk)
    assert client.get(reverse("ceremonies:room", args=[cast.id])).status_code == 302  # the old session ended
    wrong = "00000000" if again.code != "00000000" else "11111111"
    path = again.link.removeprefix("http://localhost:8000")
    for status in (403, 403, 403, 403, 404):
        assert Client().post(path, {"code": wrong}).status_code == status
    assert Client().post(path, {"code": again.code}).status_code == 404
    digests = Participant.objects.get(pk=cast.seat("karl").pk)
    assert again.code not in str(digests.__dict__)


def test_whoever_has_no_seat_watches_or_finds_nothing(cast):
    auditor = sign_in(make_person("aino", "auditor"))
    assert "You are watching" in page(auditor, cast)
    assert act(auditor, cast, "abort", reason="No.").status_code == 403
    nobody = sign_in(make_person("nobody"))
    assert nobody.get(reverse("ceremonies:room", args=[cast.id])).status_code == 404
    assert act(nobody, cast, "abort", reason="No.").status_code == 404


def test_the_hash_is_read_back_and_everybody_is_identified_before_the_start(cast, people):
    lena, wilma = sign_in(people["lena"]), sign_in(people["wilma"])
    assert cast.ceremony.script_hash in page(lena, cast)
    wrong = act(lena, cast, "confirm", read_back="deadbeef")
    assert wrong.status_code == 422
    assert "different scripts" in wrong.content.decode()
    assert act(lena, cast, "confirm", read_back=cast.ceremony.script_hash[:8].upper()).status_code == 302
    assert act(lena, cast, "identify", seat=str(cast.seat("lena").pk)).status_code == 403
    assert act(wilma, cast, "identify", seat=str(cast.seat("lena").pk)).status_code == 302
    early = act(lena, cast, "start")
    assert early.status_code == 409
    assert "Hana (not identified and script not confirmed)" in early.content.decode()


def test_a_share_is_on_one_page_once_and_no_server_sees_it(cast, people):
    cast.deal()
    hana, igor = (Window(sign_in(people[name]), cast, name) for name in ("hana", "igor"))
    html = hana.look("room-share")
    assert "Show my share, this once" in html
    assert "PRACTICE" in html
    assert "style=" not in html
    assert "<noscript>" in html
    assert hana.post(reverse("ceremonies:room-share", args=[cast.id]), key="bm90IGEga2V5").status_code == 422
    assert cast.now.generation.shares.get(index=cast.seat("hana").share_index).state == "dealt"
    shown = hana.show()
    assert shown.status_code == 200
    assert "no-store" in shown["Cache-Control"]
    words = cast.words["hana"].split()
    assert len(words) == 33
    share = cast.now.generation.shares.get(index=cast.seat("hana").share_index)
    assert (share.state, share.sealed_to, share.check_value) == ("shown", "", shown.json()["check"])
    second = hana.show()
    assert second.status_code == 409
    assert "was shown" in second.json()["detail"]
    assert hana.client.get(reverse("ceremonies:room-share", args=[cast.id])).status_code == 302
    igor.show()
    assert cast.words["igor"] != cast.words["hana"]
    asked = hana.look()
    assert all(f'id="word-{position}" data-words' in asked for position in share.positions)
    assert 'name="word' not in asked
    wrong = hana.confirm("academic acid acne acquire")
    assert wrong.status_code == 422
    assert "not the words that were asked for" in wrong.content.decode()
    other = cast.seal("hana", " ".join(words), step="collect")
    assert hana.act("confirm-share", sealed=other, bag="B1", place="").status_code in {409, 422}
    assert hana.confirm(bag="").status_code == 422
    assert cast.now.generation.shares.get(pk=share.pk).state == "shown"
    assert hana.confirm().status_code == 302
    assert "Your share is confirmed" in hana.look()
    passed = b" ".join(b" ".join(hana.passed).split())
    assert not any(" ".join(words[at : at + 2]).encode() in passed for at in range(4, 32))
    wilma = Window(sign_in(people["wilma"]), cast, "wilma")
    assert wilma.show().status_code == 403
    assert Window(sign_in(make_person("aino", "auditor")), cast, "aino").show().status_code == 403


def test_the_poll_is_cheap_and_says_only_what_changed(cast, people):
    cast.gather()
    lena = sign_in(people["lena"])
    html = page(lena, cast)
    url = re.search(r'hx-get="([^"]+)"', html)[1].replace("&amp;", "&")
    lena.get(url)
    with CaptureQueriesContext(connection) as queries:
        assert lena.get(url).status_code == 204
    assert len(queries) <= POLL_QUERIES, [query["sql"][:120] for query in queries]
    cast.start()
    changed = lena.get(url)
    assert changed.status_code == 200
    assert 'hx-swap-oob="true"' in changed.content.decode()
    client, _ = guest(cast, "karl")
    url = re.search(r'hx-get="([^"]+)"', page(client, cast))[1].replace("&amp;", "&")
    url = re.sub(r"tag=[^&]*", "tag=" + re.search(r"tag=([^&]*)", client.get(url).content.decode() or url)[1], url)
    with CaptureQueriesContext(connection) as queries:
        assert client.get(url).status_code == 204
    assert len(queries) <= GUEST_QUERIES, [query["sql"][:120] for query in queries]


def test_minutes_and_calendar(cast, people):
    cast.hold_escrow()
    lena = sign_in(people["lena"])
    made = lena.get(reverse("ceremonies:minutes", args=[cast.id]))
    assert made.content.startswith(b"%PDF")
    calendar = lena.get(reverse("ceremonies:calendar", args=[cast.id])).content
    assert b"BEGIN:VEVENT\r\n" in calendar
    assert all(len(line) <= 75 for line in calendar.split(b"\r\n"))
    assert lena.get(reverse("ceremonies:detail", args=[cast.id])).status_code == 200
    made = cast.now.generation
    dana = sign_in(make_person("dana", "operator"))
    for name in ("ceremonies:package", "ceremonies:package-print"):
        assert dana.get(reverse(name, args=[made.pk])).status_code == 403  # she operated another one
    packed = lena.get(reverse("ceremonies:package", args=[made.pk]))
    with zipfile.ZipFile(io.BytesIO(packed.content)) as archive:
        assert archive.read("package.json") == bytes(made.package)
        assert archive.read("READ-ME.txt").startswith(b"PRACTICE")
    paper = lena.get(reverse("ceremonies:package-print", args=[made.pk]))
    [printed] = re.findall(r"<pre[^>]*>(.*?)</pre>", html.unescape(paper.content.decode()), re.S)
    assert offline.read_package(printed.encode()) == offline.read_package(bytes(made.package))
    assert made.package_sha256 in paper.content.decode()
    assert "PRACTICE" in paper.content.decode()
    assert AuditEvent.objects.filter(action="custody.download_package", outcome="success").count() == 2
    register = lena.get(reverse("ceremonies:register"))
    assert "5 of 5 proved today, threshold 3, spare 2" in register.content.decode()
    assert len(room.transcript(cast.now)) > 30


def test_people_with_accounts_are_told_what_when_and_where(cast, people):
    Notice.objects.all().delete()
    lena = sign_in(people["lena"])
    assert lena.post(reverse("ceremonies:people-invite", args=[cast.id])).status_code == 302
    told = Notice.objects.get(person_id=people["hana"].pk)
    assert told.text.startswith("You are invited as holder: PRACTICE: Yearly escrow")
    assert f"When: {cast.ceremony.starts_there}" in told.detail
    assert told.path == reverse("ceremonies:room", args=[cast.id])
    assert Notice.objects.count() == 6  # the guests have no account


def test_the_page_of_a_plan_follows_by_itself_while_others_agree(planner, people):
    made = plan(planner, "destruction:2", threshold=0, share_count=0)
    Ceremony.objects.filter(pk=made.pk).update(state="awaiting_approval", practice=False)
    lena = sign_in(people["lena"])
    html = lena.get(reverse("ceremonies:detail", args=[made.pk])).content.decode()
    url = re.search(r'hx-get="([^"]+tag=[^"]+)"', html)[1]
    assert lena.get(url, headers={"HX-Request": "true"}).status_code == 204
    Ceremony.objects.filter(pk=made.pk).update(state="planned")
    moved = lena.get(url, headers={"HX-Request": "true"})
    assert (moved.status_code, moved["HX-Refresh"]) == (200, "true")
