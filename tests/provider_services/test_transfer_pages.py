"""Imports and exports by a person with a browser, and by a program: wizard, components, agreement, download."""

import base64
import re
import secrets

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from keys.crypto import components, keycheck, receiving
from keys.crypto.secret import SecretBytes
from keys.models import Key, KeyComponent, KeyExport, KeyImport
from keys.services.exports import giving
from keys.services.imports.components import bound_to, public_key
from keys.transfer_tasks import component_work, export_work, import_work
from keyvault_portal.approvals.models import ApprovalRequest
from tests.api.conftest import bearer, make_person, sign_in, token_of
from tests.provider_services.transfers import wrap

JSON = "application/json"
pytestmark = pytest.mark.usefixtures("sealing")


@pytest.fixture
def olga(db, settings) -> Client:
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "whitenoise" not in name]
    make_person("second", "security_officer")
    return sign_in(make_person("olga", "security_officer"))


def text(response) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


def new_key(tree, **more) -> dict[str, object]:
    return {
        "ring": str(tree.ring.pk), "name": "brought", "title": "Brought", "kind": "dek", "algorithm": "AES-256-GCM",
        "parent": str(tree.kek.pk), "provider": "local", "method": "rsa_aes_kw", "reason": "From the old HSM",
    } | more  # fmt: skip


def test_a_person_brings_a_new_key(tree, olga, tmp_path):
    assert olga.get("/keys/new/import/").status_code == 200
    opened = olga.post("/keys/new/import/", new_key(tree))
    row = KeyImport.objects.get()
    assert (opened.status_code, opened["Location"]) == (302, f"/keys/imports/{row.pk}/")
    page = olga.get(opened["Location"])
    assert "no-store" in page["Cache-Control"]
    assert "id-aes256-wrap-pad" in page.content.decode()
    assert row.nonce in page.content.decode()
    key = secrets.token_bytes(32)
    wrapped, value = wrap(row, key, tmp_path)
    send = f"/keys/imports/{row.pk}/upload/"
    wrong = olga.post(send, {"nonce": row.nonce, "check_value": "XX", "upload": SimpleUploadedFile("u", wrapped)})
    assert wrong.status_code == 422
    assert "Six hexadecimal digits" in text(wrong)
    done = olga.post(send, {"nonce": row.nonce, "check_value": value, "upload": SimpleUploadedFile("u", wrapped)})
    assert done.status_code == 302
    assert "Being checked" in text(olga.get(opened["Location"]))
    import_work(str(row.pk))
    assert "The key is there" in text(olga.get(opened["Location"]))
    shown = text(olga.get(f"/keys/{row.key_id}/"))
    assert "made elsewhere and imported" in shown
    assert "Version 1 brought" in shown
    assert "Brought" in text(olga.get("/keys/imports/"))


def test_custodians_enter_components_in_their_own_sessions(tree, olga):
    key = SecretBytes(secrets.token_bytes(32))
    parts = components.split(key, 2)
    values = [keycheck.check_bytes("AES-256-GCM", part).hex() for part in parts]
    how = {
        "method": "components",
        "component_values": ", ".join(values),
        "check_value": keycheck.check_bytes("AES-256-GCM", key).hex(),
    }
    assert olga.post(f"/keys/{tree.dek.pk}/import/", {"method": "components", "reason": "r"}).status_code == 422
    olga.post(f"/keys/{tree.dek.pk}/import/", how | {"reason": "From the network"})
    row = KeyImport.objects.get()
    place = f"/keys/imports/{row.pk}/"
    assert "Whoever opened the import enters no component" in text(olga.get(place))
    persons = [make_person(f"custodian{number}", "custodian") for number in (1, 2)]
    people = [sign_in(person) for person in persons]
    assert "Enter it" in text(people[0].get(place))
    assert public_key(row).hex() in people[0].get(f"{place}components/1/").content.decode()

    def enter(who, number, digits, *, bound=None):
        """As the page's script does it, and then the worker."""
        bound = bound if bound is not None else bound_to(row.pk, number, persons[who].pk)
        sealed = base64.b64encode(receiving.seal(public_key(row), digits.encode(), bound)).decode()
        answer = people[who].post(f"{place}components/{number}/", {"sealed": sealed, "component": digits})
        for component in KeyComponent.objects.exclude(arrived=None):
            assert digits.encode() not in bytes(component.arrived)
            component_work(component.pk)
        return answer

    assert people[0].post(f"{place}components/1/", {"component": parts[0].reveal().hex()}).status_code == 422
    assert people[0].post(f"{place}components/1/", {"sealed": "*"}).status_code == 422
    for digits, bound, said in (
        (parts[1].reveal().hex(), None, "Component 1 is wrong"),
        ("nonsense", None, "Component 1 cannot be read"),
        (parts[0].reveal().hex(), bound_to(row.pk, 2, persons[0].pk), "Component 1 cannot be read"),
        (parts[0].reveal().hex(), bound_to(row.pk, 1, persons[1].pk), "Component 1 cannot be read"),
    ):
        assert enter(0, 1, digits, bound=bound).status_code == 302
        assert said in text(people[0].get(place))
        assert digits not in people[0].get(place).content.decode()
        assert not KeyComponent.objects.exists()
    assert enter(0, 1, " ".join(re.findall("....", parts[0].reveal().hex()))).status_code == 302
    assert "cannot be read" not in text(people[0].get(place))
    assert enter(0, 2, parts[1].reveal().hex()).status_code == 403
    sealed = {"sealed": "eA=="}
    assert olga.post(f"{place}components/2/", sealed).status_code == 403
    assert people[1].get(f"{place}components/2/").status_code == 200
    assert people[1].get(f"{place}components/3/").status_code == 404
    assert enter(1, 2, parts[1].reveal().hex()).status_code == 302
    import_work(str(row.pk))
    page = text(people[1].get(place))
    assert "The key is there" in page
    assert "Custodian1" in page.title()
    assert people[0].get(f"{place}abort/").status_code == 403


def test_an_import_is_aborted_on_a_page_that_says_what_goes(tree, olga):
    olga.post(f"/keys/{tree.dek.pk}/import/", {"method": "hpke_x25519", "reason": "r"})
    row = KeyImport.objects.get()
    assert "A version is on its way in" in text(olga.get(f"/keys/{tree.dek.pk}/"))
    assert "opens nowhere any more" in text(olga.get(f"/keys/imports/{row.pk}/abort/"))
    assert olga.post(f"/keys/imports/{row.pk}/abort/", {"reason": ""}).status_code == 422
    assert olga.post(f"/keys/imports/{row.pk}/abort/", {"reason": "Wrong key"}).status_code == 302
    assert "Aborted" in text(olga.get(f"/keys/imports/{row.pk}/"))
    assert olga.post(f"/keys/imports/{row.pk}/abort/", {"reason": "Twice"}).status_code in {409, 422}


def recipient() -> str:
    public = rsa.generate_private_key(65537, 2048).public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def test_an_export_waits_for_agreement_and_a_key_that_cannot_leave_says_so(tree, olga):
    assert "cannot be exported" in text(olga.get(f"/keys/{tree.dek.pk}/export/"))
    assert "No. It was made not to be exported" in text(olga.get(f"/keys/{tree.dek.pk}/"))
    loose = tree.make("loose", "dek", "AES-256-GCM", tree.kek, exportable=True)
    page = text(olga.get(f"/keys/{loose.pk}/export/"))
    assert "1 security officer besides you" in page
    assert "outside the portal for ever" in page
    empty = olga.post(f"/keys/{loose.pk}/export/", {"recipient": "P", "reason": "r"})
    assert empty.status_code == 422
    asked = olga.post(f"/keys/{loose.pk}/export/", {"recipient": "P", "reason": "r", "recipient_key": recipient()})
    request = ApprovalRequest.objects.get()
    assert (asked.status_code, asked["Location"]) == (302, f"/approvals/{request.pk}/")
    assert not KeyExport.objects.exists()
    withdrawn = olga.post(f"/keys/{loose.pk}/never-export/", {"reason": "Enough"})
    assert withdrawn.status_code == 302
    assert not Key.objects.get(pk=loose.pk).exportable


def test_what_was_wrapped_is_downloaded_and_erased(tree, olga, officer):
    loose = tree.make("loose", "dek", "AES-256-GCM", tree.kek, exportable=True)
    row = giving.note(
        loose.versions.get(), officer, method="key", recipient="P", reason="r", wrapping_version=tree.kek.current
    )
    export_work(str(row.pk))
    page = text(olga.get(f"/keys/exports/{row.pk}/"))
    assert "Wrapped and ready" in page
    assert str(loose.pk) in page
    file = olga.post(f"/keys/exports/{row.pk}/collect/")
    row.refresh_from_db()
    assert file.content == bytes(row.wrapped)
    assert 'filename="export.bin"' in file["Content-Disposition"]
    assert olga.post(f"/keys/exports/{row.pk}/erase/").status_code == 302
    assert "Erased here" in text(olga.get(f"/keys/exports/{row.pk}/"))
    assert olga.post(f"/keys/exports/{row.pk}/collect/").status_code == 409
    assert "given out since" in text(olga.get(f"/keys/{loose.pk}/"))


def test_a_program_brings_a_key_once_however_often_it_repeats(tree, olga, tmp_path):
    api = bearer(token_of(make_person("machine", "security_officer")))
    body = {name: value for name, value in new_key(tree, exportable=True).items() if name != "purpose"}
    once = {"Idempotency-Key": "k1"}
    made, again = (api.post("/api/v1/imports", body, content_type=JSON, headers=once) for _ in range(2))
    assert (made.status_code, again.json()) == (201, made.json())
    row = KeyImport.objects.get()
    assert made["Location"] == f"/api/v1/imports/{row.pk}"
    assert made.json()["check_method"] == "AES-CMAC"
    assert made.json()["wrapping_key"].startswith("-----BEGIN PUBLIC KEY")
    wrapped, value = wrap(row, secrets.token_bytes(32), tmp_path)
    sent = {"nonce": made.json()["nonce"], "wrapped": base64.b64encode(wrapped).decode(), "check_value": value}
    bad = api.post(f"/api/v1/imports/{row.pk}/upload", sent | {"wrapped": "***"}, content_type=JSON)
    assert bad.status_code == 422
    for _ in range(2):
        taken = api.post(f"/api/v1/imports/{row.pk}/upload", sent, content_type=JSON, headers={"Idempotency-Key": "k2"})
        assert (taken.status_code, taken["Location"]) == (202, made["Location"])
    replay = api.post(f"/api/v1/imports/{row.pk}/upload", sent, content_type=JSON)
    assert replay.status_code == 409
    import_work(str(row.pk))
    done = api.get(made["Location"]).json()
    assert (done["state"], done["key_version"], done["wrapping_key"]) == ("done", 1, "")
    key = api.get(f"/api/v1/keys/{row.key_id}").json()
    assert (key["exportable"], key["current"]["generated_here"]) == (True, False)
    asked = api.post(
        f"/api/v1/keys/{row.key_id}/export",
        {"recipient": "P", "recipient_key": recipient(), "reason": "r"},
        content_type=JSON,
    )
    assert asked.status_code == 202
    assert "/approvals/" in asked["Location"]
    component = api.post(f"/api/v1/imports/{row.pk}/components", {"number": 1, "sealed": "zz"}, content_type=JSON)
    assert component.status_code in {403, 422}
    assert "zz" not in component.content.decode()
    assert api.get("/api/v1/exports").json()["results"] == []
