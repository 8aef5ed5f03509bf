"""A whole rehearsal through REST: planned, peopled, held and read, as the pages do it; what is typed comes sealed, or not at all."""

import shlex
import sys
from io import StringIO
from typing import Any

import pytest

from ceremonies import offline
from ceremonies.api.room import ACTS
from ceremonies.models import Ceremony
from ceremonies.serializers import ROOM_ACTS
from tests.api.conftest import bearer, make_person, sign_in, token_of
from tests.room.cast import Cast

pytestmark = pytest.mark.django_db(transaction=True)
JSON = "application/json"


def test_every_act_of_the_room_is_offered():
    assert set(ACTS) == set(ROOM_ACTS)


def typed(monkeypatch: pytest.MonkeyPatch, command: str, words: str) -> str:
    """What the offline tool writes when these words are typed at its prompt."""
    out = StringIO()
    monkeypatch.setattr(sys, "stdin", StringIO(f"{words}\n"))
    monkeypatch.setattr(sys, "stdout", out)
    try:
        assert offline.main(shlex.split(command)[2:]) == 0
    finally:
        monkeypatch.undo()
    return out.getvalue().strip()


def test_a_rehearsal_is_held_through_rest(people: Any, planner: Any, process: Any, monkeypatch: pytest.MonkeyPatch):
    officer = sign_in(make_person("olga", "security_officer"))
    plan = {
        "title": "Unsealing", "script": "unseal:2", "purpose": "A drill.", "place": "Oslo", "time_zone": "Europe/Oslo",
        "starts_at": "2031-01-01T10:00:00Z", "practice": True,
    }  # fmt: skip
    made = officer.post("/api/v1/ceremonies", plan, content_type=JSON)
    assert made.status_code == 201, made.content
    where = f"/api/v1/ceremonies/{made.json()['id']}"
    seats = {}
    for name, role in (
        ("lena", "leader"),
        ("otto", "operator"),
        ("wilma", "internal_witness"),
        ("hana", "holder"),
        ("igor", "holder"),
    ):
        answer = officer.post(f"{where}/people", {"role": role, "email": f"{name}@example.org"}, content_type=JSON)
        seats[name] = answer.json()["id"]
    assert officer.delete(f"{where}/people/{seats.pop('igor')}").status_code == 204
    guest = officer.post(
        f"{where}/people", {"role": "external_witness", "email": "eve@example.net", "name": "Eve"}, content_type=JSON
    ).json()
    invited = officer.post(f"{where}/people/{guest['id']}/invite")
    assert ("/ceremonies/join/" in invited.json()["link"], len(invited.json()["code"].replace(" ", ""))) == (True, 8)
    assert "no-store" in invited["Cache-Control"]
    assert officer.post(f"{where}/invite").json() == {"told": 4}
    assert b"BEGIN:VCALENDAR" in officer.get(f"{where}/calendar").content
    assert officer.post(f"{where}/open").status_code == 200
    clients = {name: sign_in(people[name]) for name in seats}

    def act(name: str, act: str, **values: Any) -> Any:
        return clients[name].post(f"{where}/room", {"act": act, **values}, content_type=JSON)

    digest = made.json()["script_hash"]
    assert act("hana", "confirm", read_back="00000000").status_code == 422
    for name, seat in seats.items():
        assert act(name, "confirm", read_back=digest[:8]).status_code == 200
        assert act("lena" if name == "wilma" else "wilma", "identify", participant_id=seat).status_code == 200
    assert officer.post(f"{where}/room", {"act": "start"}, content_type=JSON).status_code == 403, "no seat"
    machine = bearer(token_of(people["lena"]))
    assert machine.post(f"{where}/room", {"act": "start"}, content_type=JSON).status_code in {401, 403}
    assert act("lena", "start").json()["part"]["name"] == "sign"
    assert (
        act("lena", "exception", happened="A telephone rang.").json()["deviations"][0]["happened"]
        == "A telephone rang."
    )
    for name in ("lena", "wilma"):
        act(name, "sign", step=0)
    for name in ("lena", "otto", "wilma"):
        assert act(name, "sign", step=1).status_code == 200
    part = clients["hana"].get(f"{where}/room").json()["part"]
    assert part["name"] == "give"
    assert act("hana", "give", step=1, sealed="words in clear").status_code == 422
    given = act("hana", "give", step=1, sealed=typed(monkeypatch, part["command"], "academic acid"))
    assert (given.status_code, given.json()["number"]) == (200, 2)
    for name in ("lena", "wilma"):
        act(name, "sign", step=2)
    for name in seats:
        assert (
            act(name, "attest", agrees=name != "otto", reason="" if name != "otto" else "I was late.").status_code
            == 200
        )
    assert Ceremony.objects.get().state == "closed"
    assert officer.get(f"{where}/minutes").content.startswith(b"%PDF")
    assert officer.get(where).json()["participants"][1]["attest_reason"] == "I was late."


def test_the_register_and_the_scripts(cast: Cast, people: Any):
    cast.hold_escrow()
    officer, hana = sign_in(make_person("olga", "security_officer")), sign_in(people["hana"])
    [held] = officer.get("/api/v1/share-sets").json()["results"]
    package = officer.get(f"/api/v1/share-sets/{held['id']}/package").content
    assert offline.read_package(package)["manifest"]["practice"] is True
    mine = next(one for one in hana.get("/api/v1/shares").json()["results"] if one["custodian"] == "Hana")
    url = f"/api/v1/shares/{mine['id']}"
    assert officer.post(f"{url}/note", {"what": "acknowledged"}, content_type=JSON).status_code == 403
    noted = hana.post(f"{url}/note", {"what": "acknowledged"}, content_type=JSON)
    assert noted.json()["log"][0]["what"] == "acknowledged"
    assert officer.post(f"{url}/note", {"what": "lost"}, content_type=JSON).status_code == 422
    assert (
        officer.post(f"{url}/note", {"what": "leaving", "reason": "A new job."}, content_type=JSON).status_code == 200
    )
    assert officer.post(f"{url}/accept-risk", {"reason": "She is trusted."}, content_type=JSON).status_code == 202
    karl = next(one for one in officer.get("/api/v1/shares").json()["results"] if one["custodian"] == "Karl")
    word, paper = f"/api/v1/shares/{karl['id']}/note", {"what": "acknowledged", "reason": "Signed, in file 7."}
    assert officer.post(word, {"what": "acknowledged"}, content_type=JSON).status_code == 403, "where is the paper?"
    assert officer.post(word, paper, content_type=JSON).json()["acknowledged_at"]
    assert hana.post(word, paper, content_type=JSON).status_code in {403, 404}
    page = officer.get(f"/ceremonies/custody/{karl['id']}/").content.decode()
    assert "Duty acknowledged on paper" in page
    assert "Duty acknowledged on paper" not in officer.get(f"/ceremonies/custody/{mine['id']}/").content.decode()
    assert officer.get("/api/v1/share-sets/due").status_code == 200
    labels = {f"{one['name']}:{one['version']}" for one in officer.get("/api/v1/ceremony-scripts").json()}
    assert {"escrow:1", "refresh-from-shares:1"} <= labels
    script = officer.get("/api/v1/ceremony-scripts/escrow:1").json()
    assert (script["sha256"], script["steps"][2]["action"]) == (cast.now.script_hash, "deal")
    assert officer.get("/api/v1/ceremony-scripts/nothing:1").status_code == 404
