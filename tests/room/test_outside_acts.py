"""Acts of other parts of the portal, held in a room: components, a root authority, a destruction, a broken glass, an unsealing."""

import secrets
from contextlib import closing
from datetime import timedelta
from typing import Any
from unittest import mock

import pytest
from cryptography import x509
from django.urls import reverse
from django.utils import timezone
from pypdfium2 import PdfDocument

from ceremonies.minutes.document import local, write
from ceremonies.models import Ceremony, ShareGeneration
from ceremonies.room_errors import NotYours, PlanImpossible
from ceremonies.script import FOLDER, PAGES, Action
from ceremonies.services import bringing, outside, plans, room, scripts, subjects
from ceremonies.services.minutes import read_minutes
from ceremonies.services.verdicts import verdict
from ceremonies.states import CeremonyState
from ceremonies.tasks import tick
from certificates.models import Authority
from keys.crypto import components, keycheck
from keys.crypto.secret import SecretBytes
from keys.models import KeyImport, KeyVersion, SealedValue
from keys.services import last_look, materials, stores
from keys.services.creation import create_key
from keys.transfer_tasks import import_work
from keyvault_portal.accounts.models import Person
from keyvault_portal.approvals import held_acts
from keyvault_portal.approvals import services as approvals
from keyvault_portal.approvals.models import ApprovalRequest
from keyvault_portal.errors import ApprovalRequired, PermissionRefused, ValidationFailed, WrongState
from tests.api.conftest import SYSTEM, actor, build_place, make_person, sign_in
from tests.room.cast import Cast, agree, plan

pytestmark = pytest.mark.django_db(transaction=True)
ALGORITHM = "AES-256-GCM"


@pytest.fixture
def officers(people: Any) -> list[Person]:
    return [make_person(name, "security_officer") for name in ("boris", "chen")]


@pytest.fixture
def place(people: Any) -> Any:
    return build_place("payments")


def begun(made: Cast, *besides: str) -> Cast:
    made.gather(besides=besides)
    made.start()
    return made


# Components.


@pytest.fixture
def brought(planner: Any, officers: Any, place: Any, process: Any, celery_eager: Any) -> Any:
    """A key in three components and a room in which they may be entered."""
    own = create_key(
        actor=SYSTEM, ring=place.ring, name="portal", title="The portal's own", kind="dek", algorithm=ALGORITHM, parent=place.keys["kek"]
    )  # fmt: skip
    stores.register_sealed_values(actor=SYSTEM, key=own)
    key = SecretBytes(secrets.token_bytes(32))
    parts = components.split(key, 3)
    made = Cast(
        planner,
        plan(planner, "byok:1", title="The network's key", key=place.keys["data"], practice=False, share_count=3),
    )
    made.seat_staff()
    made.seat_holders("hana", "igor", "jane")
    begun(agree(made, *officers)).until(Action.ANNOUNCE)
    values = [keycheck.check_bytes(ALGORITHM, part).hex() for part in parts]
    with pytest.raises(ValidationFailed):
        made.perform(Action.ANNOUNCE, component_values=values[:2], check_value=values[0])
    made.perform(Action.ANNOUNCE, component_values=values, check_value=keycheck.check_value(ALGORITHM, key).hex())
    made.sign_all()
    return made, key, parts


def enter(made: Cast, name: str, part: SecretBytes) -> int:
    sealed = made.seal(name, part.reveal().hex(" ", 4), step="enter")
    return bringing.enter_component(actor=made.actor(name), ceremony_id=made.id, step=made.now.step, sealed=sealed)


def test_a_key_is_brought_in_components(brought, place):
    made, key, parts = brought
    with pytest.raises(WrongState):
        enter(made, "hana", parts[0])  # before everybody has signed
    made.sign_all()
    with pytest.raises(NotYours):
        enter(made, "otto", parts[0])
    with pytest.raises(ValidationFailed, match="Component 1 is wrong"):
        enter(made, "hana", parts[1])
    assert "The share of Hana was refused: Component 1 is wrong" in made.now.deviations.latest("pk").happened
    assert enter(made, "hana", parts[0]) == 2
    with mock.patch.object(bringing, "go_on", side_effect=AssertionError):
        assert enter(made, "igor", parts[1]) == 1
        assert enter(made, "igor", parts[1]) == 1  # an answer that was lost is asked for again
    assert made.now.status is CeremonyState.RUNNING
    assert enter(made, "jane", parts[2]) == 0
    assert made.now.status is CeremonyState.COMMITTED
    import_work(made.now.process["import"])  # the ceremony process told a worker
    made.perform(Action.COMPARE)
    assert made.now.result["version"] == 2
    version = KeyVersion.objects.select_related(*materials.CHAIN).get(key=place.keys["data"], key_version=2)
    assert materials.material(version) == key
    assert not SealedValue.objects.filter(purpose="component of a key").exists()
    made.sign_all()
    made.sign_all()
    made.close()
    assert made.now.status is CeremonyState.CLOSED


def test_an_abort_erases_the_components_that_were_entered(brought, place):
    made, _, parts = brought
    made.sign_all()
    enter(made, "hana", parts[0])
    enter(made, "igor", parts[1])
    assert SealedValue.objects.filter(purpose="component of a key").count() == 2
    late = made.seal("jane", parts[2].reveal().hex(), step="enter")
    made.abort()
    assert (made.now.status, made.ceremony.result["intact"]) == (CeremonyState.ABORTED, True)
    assert not SealedValue.objects.filter(purpose="component of a key").exists()
    assert KeyImport.objects.get().state == "aborted"
    with pytest.raises(WrongState):
        bringing.enter_component(actor=made.actor("jane"), ceremony_id=made.id, step=made.now.step, sealed=late)
    assert place.keys["data"].versions.count() == 1


def test_a_component_is_no_guests_business_and_shows_on_no_page(planner, place, brought, people):
    made, _, parts = brought
    other = Cast(
        planner, plan(planner, "byok:1", title="With a guest", key=place.keys["kek"], practice=False, share_count=2)
    )
    other.seat_staff()
    other.seat_holders("hana", "gus")
    with pytest.raises(PlanImpossible) as refused:
        other.open()
    assert "Gus has no account, which is needed to enter" in " ".join(refused.value.errors["people"])
    plans.remove_person(actor=planner, ceremony_id=other.id, participant_id=other.seat("gus").pk)
    make_person("olaf", "operator")
    plans.remove_person(actor=planner, ceremony_id=other.id, participant_id=other.seat("lena").pk)
    other.seat_holders("olaf", "lena")
    said = " ".join(verdict(other.now).problems)
    assert "Olaf has no right to enter components of this key: seat a custodian." in said
    assert "Lena planned this" in said
    made.sign_all()
    hana = sign_in(people["hana"])
    page = hana.get(reverse("ceremonies:room", args=[made.id])).content.decode()
    assert f"Type component 1 with the check value {made.now.process['component_values'][0]}" in page
    typed = parts[1].reveal().hex()
    wrong = hana.post(
        reverse("ceremonies:room-act", args=[made.id, "enter"]),
        {"step": made.now.step, "sealed": made.seal("hana", typed, step="enter")},
    )
    assert wrong.status_code == 422
    assert "Component 1 is wrong" in wrong.content.decode()
    assert typed not in wrong.content.decode()
    right = hana.post(
        reverse("ceremonies:room-act", args=[made.id, "enter"]),
        {"step": made.now.step, "sealed": made.seal("hana", parts[0].reveal().hex(), step="enter")},
    )
    assert right.status_code == 302, right.content.decode()
    assert made.now.process["entered"] == [1]


# A root authority.


def test_a_root_is_founded_before_witnesses(planner, people, officers, place, process, celery_eager):
    made = Cast(planner, plan(planner, "root-ca:1", title="Our root", practice=False, threshold=0, share_count=0))
    made.seat_staff()
    with pytest.raises(PlanImpossible) as refused:
        made.open()
    assert "does not say what the ceremony is about" in " ".join(refused.value.errors["people"])
    lena = sign_in(people["lena"])
    url = reverse("ceremonies:subject", args=[made.id])
    assert "Common name" in lena.get(url).content.decode()
    form = {
        "title": "Example Root CA", "name": "example-root", "organization": "Example", "ring": place.ring.pk, "algorithm": "ECDSA-P384-SHA384",
        "provider": "local", "parent": place.keys["kek"].pk, "days": 3650, "crl_hours": 2160,
    }  # fmt: skip
    assert lena.post(url, form | {"algorithm": "ROT13"}).status_code == 422
    assert lena.post(url, form).status_code == 302
    assert made.now.ring_id == place.ring.pk
    assert "Example Root CA, Example" in lena.get(reverse("ceremonies:detail", args=[made.id])).content.decode()
    begun(agree(made, *officers)).until(Action.PREPARE)
    assert "Example Root CA" in bytes(ApprovalRequest.objects.get().act).decode()
    with pytest.raises(WrongState):
        subjects.set_subject(actor=planner, ceremony_id=made.id, values=form)
    made.perform(Action.PREPARE)
    known = made.now.process["prepared"]["public_key_sha256"]
    assert known in sign_in(people["wilma"]).get(reverse("ceremonies:room", args=[made.id])).content.decode()
    made.sign_all()
    with pytest.raises(WrongState):
        made.perform(Action.ACT)
    assert not Authority.objects.exists()
    made.sign_all()
    made.perform(Action.ACT)
    authority = Authority.objects.select_related("certificate").get()
    assert authority.certificate is not None
    certificate = x509.load_der_x509_certificate(bytes(authority.certificate.der))
    certificate.verify_directly_issued_by(certificate)
    assert certificate.subject.rfc4514_string() == "CN=Example Root CA,O=Example"
    assert authority.certificate.spki_sha256 == known
    assert made.now.result["fingerprint"] == authority.certificate.fingerprint
    shown = sign_in(people["wilma"]).get(reverse("ceremonies:room", args=[made.id])).content.decode()
    assert {value in shown for value in (authority.certificate.fingerprint, authority.certificate.serial, known)} == {
        True
    }
    act = held_acts.find("certificates.root")
    assert act is not None
    again = act.perform(actor=planner, subject=made.now.subject, ceremony_id=made.id)
    assert again["serial"] == made.now.result["serial"]  # a second call founds no second one
    made.close()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("act: certificates.root", "act: certificates.leaf", "Not an act of the portal: certificates.leaf"),
        ("    act: certificates.root\n", "", "act: the name of an act"),
        ("action: act\n", "action: visit\n    page: certificates:nowhere\n", "page: for a visit, one of"),
        ("action: prepare\n    act: certificates.root\n", "action: deal\n", "deal is nothing for the kind root_ca"),
        ("action: prepare", "action: perhaps", "action: one of"),
    ],
)
def test_a_script_that_would_break_a_room_is_not_taken(planner, officers, old, new, said):
    text = (FOLDER / "root-ca.yaml").read_text().replace("name: root-ca", "name: ours")
    with pytest.raises(ValidationFailed) as refused:
        scripts.upload_script(actor=planner, text=text.replace(old, new), reason="A test.")
    assert said in " ".join(refused.value.errors["text"])


def test_every_page_that_a_script_may_name_is_there():
    assert all(reverse(page) for page in PAGES)
    assert {step.act for script in scripts.tree_scripts().values() for step in script.steps if step.act} <= set(
        held_acts.names()
    )


# Destruction.


def test_a_destruction_ends_in_its_certificate(planner, officers, place, process, celery_eager, people):
    escrow = plan(planner, title="Long ago")
    kept = ShareGeneration.objects.create(
        ceremony=escrow, key=place.keys["data"], set_id=1, threshold=2, share_count=3, check_value="ab", record={}, state="active",
        package_bag="B", package_place="P", activated_at=timezone.now(),
    )  # fmt: skip
    made = Cast(planner, plan(planner, "destruction:2", title="End of the data key", key=place.keys["data"], practice=False, threshold=0, share_count=0))  # fmt: skip
    made.seat_staff()
    begun(agree(made, *officers)).until(Action.DESTROY)
    with pytest.raises(WrongState):
        made.perform(Action.DESTROY)
    made.sign_all()
    made.perform(Action.DESTROY)
    [ended] = made.now.result["destroyed"]
    assert (made.now.status, ended["state"]) == (CeremonyState.COMMITTED, "awaiting_approval")  # the key's own policy
    assert made.now.told_result == {
        "destroyed": ["version 1: waits for the agreement that the key's own policy asks for"]
    }
    made.close()
    version = place.keys["data"].versions.get()
    assert version.status == "suspended"
    request = ApprovalRequest.objects.get(pk=ended["approval"])
    assert "Destruction ceremony" in request.reason
    approvals.approve(actor=actor(officers[0]), request_id=request.pk, act_hash=request.act_hash)
    version.refresh_from_db()
    assert version.status == "pending_deletion"
    early = text_of(write(made.now, room.transcript(made.now)))
    assert "Certificate of destruction" in early
    tick()
    kept.refresh_from_db()
    assert kept.state == "active"  # until the last day somebody may change their mind
    KeyVersion.objects.filter(pk=version.pk).update(deletion_due_at=timezone.now() - timedelta(seconds=1))
    assert last_look.tick_deletions() == 1
    version.refresh_from_db()
    assert version.status == "destroyed"
    late = text_of(write(made.now, room.transcript(made.now)))
    assert local(made.now, version.destroyed_at) in " ".join(late.split())
    tick()
    kept.refresh_from_db()
    assert (kept.state, kept.end_reason) == ("dead", "The key is destroyed.")
    tick()


def test_an_end_is_told_with_its_day():
    ended = {"version": 3, "state": "pending_deletion", "due_at": "2026-12-26T10:00:00+00:00"}
    assert Ceremony(result={"destroyed": [ended]}).told_result == {
        "destroyed": ["version 3: pending deletion, due 26 December 2026"]
    }


def text_of(pdf: bytes) -> str:
    with closing(PdfDocument(pdf)) as document:
        return " ".join(page.get_textpage().get_text_range() for page in document)


# Breaking the glass.


def test_the_glass_is_broken_in_the_room(planner, officers, place, process, celery_eager, people):
    operator = make_person("olga", "security_officer")
    wanted = Cast(planner, plan(planner, "destruction:2", title="Wanted", key=place.keys["data"], practice=False, threshold=0, share_count=0))  # fmt: skip
    wanted.seat_staff()
    early = Cast(planner, plan(planner, "break-glass:2", title="Too early", practice=False, threshold=0, share_count=0))
    page = sign_in(people["lena"]).get(reverse("ceremonies:subject", args=[early.id])).content.decode()
    assert "No request that you may see waits for agreement" in page
    with pytest.raises(ApprovalRequired) as waiting:
        wanted.open()
    made = Cast(planner, plan(planner, "break-glass:2", title="Emergency", purpose="Both officers are ill.", practice=False, threshold=0, share_count=0))  # fmt: skip
    made.seat_staff()
    assert "Otto has no right to break the glass: seat a security officer." in verdict(made.now).problems
    plans.remove_person(actor=planner, ceremony_id=made.id, participant_id=made.seat("otto").pk)
    plans.add_person(actor=planner, ceremony_id=made.id, role="operator", email="olga@example.org")
    made.operator = "olga"
    lena = sign_in(people["lena"])
    url = reverse("ceremonies:subject", args=[made.id])
    assert "Hold a ceremony: PRACTICE" not in lena.get(url).content.decode()
    assert lena.post(url, {"request": "nothing"}).status_code == 422
    assert lena.post(url, {"request": str(waiting.value.request_id)}).status_code == 302
    agree(made, *officers)
    begun(made)
    made.sign_all()
    request = ApprovalRequest.objects.get(pk=waiting.value.request_id)
    assert request.state == "pending"
    made.sign_all()
    with pytest.raises(PermissionRefused):
        outside.break_the_glass(actor=made.actor("otto") if _seated(made, "otto") else made.actor("wilma"), ceremony_id=made.id, step=made.now.step)  # fmt: skip
    made.perform(Action.BREAK_GLASS)
    request.refresh_from_db()
    assert (request.state, request.broken_by) == ("executed", operator.name)
    assert request.broken_because == "Both officers are ill. (Emergency)"
    minutes = "".join(text_of(read_minutes(actor=planner, ceremony=made.now)).split())
    assert made.ceremony.subject["act_hash"] in minutes, "which request was performed"
    assert wanted.now.status is CeremonyState.GATHERING
    made.close()


def _seated(made: Cast, name: str) -> bool:
    return made.now.participants.filter(email=f"{name}@example.org").exists()


# The portal's own seal.


def test_an_unsealing_is_rehearsed_and_needs_a_custodian(planner, people, process):
    made = Cast(planner, plan(planner, "unseal:2", title="Unsealing", threshold=0, share_count=0))
    made.seat_staff()
    with pytest.raises(PlanImpossible) as refused:
        made.open()
    assert "no custodian of the seal" in " ".join(refused.value.errors["people"])
    made.seat_holders("hana")
    begun(made.open()).sign_all()
    give = {"actor": made.actor("hana"), "ceremony_id": made.id, "step": made.now.step}
    sealed = made.seal("hana", "words", step="act", key=made.now.script_hash)
    with pytest.raises(WrongState):
        outside.give_share(**give, sealed=sealed)
    made.sign_all()
    assert outside.give_share(**give, sealed=sealed) == 0
    assert made.now.result["opened"] == "rehearsed"
    made.close()
