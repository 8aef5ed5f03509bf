"""Shares of the portal's seal that were made without a ceremony: their custodians are named in the register."""

from typing import Any

import pytest
from django.db import IntegrityError, transaction

from ceremonies.models import SealCustodian, ShareGeneration
from ceremonies.services import custody, seal_shares
from keys.models import RootSeal
from keyvault_portal.accounts.models import KeyRing
from keyvault_portal.audit.models import AuditEvent
from keyvault_portal.errors import NotFound, PermissionRefused, ValidationFailed, WrongState
from tests.api.conftest import actor, make_person, sign_in
from tests.room.cast import plan

pytestmark = pytest.mark.django_db


@pytest.fixture
def seal(db: None) -> RootSeal:
    return RootSeal.objects.create(
        kind="shares", name="Custodians", check_value=b"12345678", identifier=7, threshold=2, shares=3, wrapped=b"x", created_by="Lena",
    )  # fmt: skip


def said() -> str:
    return " ".join(text for _, text, *_ in custody.due())


def test_an_officer_names_who_has_them(seal: Any, people: Any, planner: Any) -> None:
    assert "of 3 of 3 nobody knows who has them" in said()
    window = sign_in(people["lena"])
    page = window.get("/ceremonies/custody/").content.decode()
    assert page.count("Not on record. Shown to Lena") == 3
    assert page.count("Name the custodian") == 3
    form = {"number": "1", "custodian": "HANA@example.org", "bag": "B-7", "place": "Bank"}
    assert window.post("/ceremonies/custody/seal/", form).status_code == 302
    named = SealCustodian.objects.get()
    assert (named.person, named.custodian, named.noted_by) == (people["hana"], people["hana"].name, planner.label)
    assert AuditEvent.objects.filter(action="custody.name_custodian", outcome="success").count() == 1
    assert "of 2 of 3 nobody knows" in said()
    changed = window.get("/ceremonies/custody/seal/?share=1").content.decode()
    assert 'value="B-7"' in changed
    assert window.get("/ceremonies/custody/seal/?share=x").status_code == 200
    for number, custodian in ((1, "Notary Moe"), (2, "Igor"), (3, "Jane")):
        seal_shares.name_custodian(actor=planner, number=number, custodian=custodian)
    assert not custody.due()
    assert SealCustodian.objects.get(number=1).person is None
    page = window.get("/ceremonies/custody/").content.decode()
    assert "Notary Moe" in page
    assert "Not on record" not in page
    event = AuditEvent.objects.filter(action="custody.name_custodian").order_by("pk")[1]
    assert people["hana"].name in bytes(event.leaf).decode(), "what stood there before is on the record"


def test_what_cannot_be_written(seal: Any, people: Any, planner: Any) -> None:
    for number, custodian, field in ((0, "Hana", "number"), (4, "Hana", "number"), (1, " ", "custodian")):
        with pytest.raises(ValidationFailed) as found:
            seal_shares.name_custodian(actor=planner, number=number, custodian=custodian)
        assert list(found.value.errors) == [field]
    window = sign_in(people["lena"])
    assert window.post("/ceremonies/custody/seal/", {"number": "9", "custodian": "Hana"}).status_code == 422
    ring = KeyRing.objects.create(name="one", title="One")
    for who in (people["wilma"], make_person("rita", "security_officer", ring=ring)):
        with pytest.raises(PermissionRefused):
            seal_shares.name_custodian(actor=actor(who), number=1, custodian="Hana")
    assert not SealCustodian.objects.exists()
    SealCustodian.objects.create(seal=seal, number=1, custodian="Hana", noted_by="test")
    with pytest.raises(IntegrityError), transaction.atomic():
        SealCustodian.objects.create(seal=seal, number=1, custodian="Igor", noted_by="test")


def test_a_ceremony_names_them_itself(seal: Any, planner: Any) -> None:
    made = ShareGeneration.objects.create(
        ceremony=plan(planner), seal_id=seal.pk, set_id=7, threshold=2, share_count=3, check_value="ab", record={}
    )
    with pytest.raises(WrongState):
        seal_shares.name_custodian(actor=planner, number=1, custodian="Hana")
    with pytest.raises(NotFound):
        custody.download_package(actor=planner, generation_id=made.pk)  # a set of the seal has none
    assert not custody.due()
