"""What each page asks of the database: the same number of queries with 3 rows of everything as with 30."""

import time
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from allauth.usersessions.models import UserSession
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from keys.models import CensusCount, DataStore, FailedItem, Key, KeyPolicy, KeyVersion, ReEncryptionJob, Rotation
from keyvault_portal.accounts.actors import system_actor
from keyvault_portal.accounts.models import ApiToken, KeyRing, Person, RoleBinding
from keyvault_portal.accounts.permissions import Role
from keyvault_portal.approvals.models import ApprovalRequest, Notice
from keyvault_portal.audit import services as audit

pytestmark = pytest.mark.django_db

# A page that shows more than this many queries' worth has grown an N+1 or a needless look-up.
MOST = 24
PAGES = [
    "/", "/settings/", "/keys/", "/keys/?sort=due", "/keys/hierarchy/", "/keys/hierarchy/?root={root}", "/keys/{key}/", "/keys/{key}/rotate/",
    "/keys/{key}/policy/", "/keys/new/", "/keys/rotations/", "/keys/rotations/{rotation}/", "/keys/stores/", "/keys/stores/{store}/",
    "/keys/stores/new/", "/keys/census/", "/approvals/", "/approvals/?tab=asked", "/approvals/?tab=all", "/approvals/notices/",
    "/approvals/{request}/", "/audit/", "/audit/checkpoints", "/people/", "/people/{person}/", "/people/{person}/roles/", "/rings/", "/rings/{ring}/",
    "/tokens/", "/tokens/new/", "/profile/",
]  # fmt: skip


class Organisation:
    """Rows of every kind, made as rows: what the services would make of them is tested elsewhere."""

    def __init__(self) -> None:
        self.ring = KeyRing.objects.create(name="shop", title="Shop")
        self.officer = Person.objects.create_person(email="ada@example.org", name="Ada Berg")
        RoleBinding.objects.create(person=self.officer, role=Role.SECURITY_OFFICER, created_by="test")
        self.root, self.root_version = self._key("root", "master", None)
        self.key, self.version = self._key("kek", "kek", self.root)
        self.names: dict[str, UUID] = {"root": self.root.pk, "key": self.key.pk, "ring": self.ring.pk}

    def grow(self, start: int, end: int) -> None:
        for number in range(start, end):
            self._data(number)
            self._people(number)
            self._approval(number)
            audit.record(
                actor=system_actor("test"), action="key.view", target=("key", self.key.pk, "kek"), ring_id=self.ring.pk
            )
            audit.record(
                actor=system_actor("test"),
                action="rotation.note",
                target=("rotation", self.names["rotation"], ""),
                ring_id=self.ring.pk,
            )

    def _key(self, name: str, kind: str, parent: Key | None, versions: int = 1) -> tuple[Key, KeyVersion]:
        due = timezone.now() + timedelta(days=len(name))
        key = Key.objects.create(ring=self.ring, name=name, title=name, kind=kind, algorithm="AES-256-GCM", parent=parent, created_by="test",
                                 next_rotation_at=due)  # fmt: skip
        KeyPolicy.objects.create(key=key, rotate_roles=["security_officer"], destroy_roles=["security_officer"])
        version = self._version(key, versions, "active")
        key.current = version
        key.save()
        return key, version

    def _version(self, key: Key, number: int, status: str) -> KeyVersion:
        return KeyVersion.objects.create(
            key=key, key_version=number, kms_key_arn=f"local:key/{key.pk}/{number}", status=status
        )

    def _data(self, number: int) -> None:
        self._version(self.key, number + 2, "decrypt_only")
        key, new = self._key(f"dek-{number}", "dek", self.key, versions=2)
        old = self._version(key, 1, "decrypt_only")
        store = DataStore.objects.create(ring=self.ring, key=key, name=f"store-{number}", title=f"Store {number}", kind="postgresql_table",
                                         table_name="t", primary_key="id", columns=["email"], created_by="test", last_error="away")  # fmt: skip
        rotation = Rotation.objects.create(
            key=key, old_version=old, new_version=new, state="re_encrypting", requested_by="test"
        )
        shown = self.names.setdefault("rotation", rotation.pk)
        job = ReEncryptionJob.objects.create(
            rotation_id=shown, store=store, mode="re_encrypt", state="running", items_total=9
        )
        FailedItem.objects.create(job=job, store=store, item=str(number), column="email", reason="malformed")
        other = Rotation.objects.create(
            key=self.key,
            old_version=self.key.versions.order_by("-id")[0],
            new_version=self.version,
            state="cancelled",
            requested_by="t",
        )
        shown_store = self.names.setdefault("store", store.pk)
        CensusCount.objects.create(store_id=shown_store, column="email", version=old, items=number)
        ReEncryptionJob.objects.create(rotation=other, store_id=shown_store, mode="re_encrypt", state="done")

    def _people(self, number: int) -> None:
        person = Person.objects.create_person(email=f"p{number}@example.org", name=f"Person {number}")
        ring = KeyRing.objects.create(name=f"ring-{number}", title=f"Ring {number}")
        RoleBinding.objects.create(person=person, role=Role.OPERATOR, ring=self.ring, created_by="test")
        shown = self.names.setdefault("person", person.pk)
        RoleBinding.objects.create(person_id=shown, role=Role.AUDITOR, ring=ring, created_by="test")
        for owner in (person.pk, shown, self.officer.pk):
            token = ApiToken.objects.create(
                owner_id=owner, name=f"token {number}", digest=b"0" * 32, scopes=["key.view"]
            )
            token.rings.add(self.ring, ring)
        for user in (shown, self.officer.pk):
            UserSession.objects.create(
                user_id=user, ip="127.0.0.1", session_key=f"{user}{number}"[:40], user_agent="test"
            )

    def _approval(self, number: int) -> None:
        for requester in (self.officer.pk, uuid4()):
            request = ApprovalRequest.objects.create(
                operation="key.rotate", title="Rotate a key", act=b"{}", act_hash="0" * 64, target_type="key", target_id=str(self.key.pk),
                target_label="shop/kek", ring_id=self.ring.pk, groups=[{"role": "security_officer", "threshold": 1, "ring_id": None}],
                requester_id=requester, requester_label="test", reason="test", expires_at=timezone.now() + timedelta(days=1),
            )  # fmt: skip
            shown = self.names.setdefault("request", request.pk)
        ApprovalRequest.objects.get(pk=shown).decisions.create(
            requester_id=self.officer.pk, person_id=uuid4(), person_label="t", verdict="approve", act_hash="0" * 64
        )
        Notice.objects.create(person_id=self.officer.pk, text=f"notice {number}", alarm=True)


@pytest.fixture
def officer(organisation: Organisation) -> Client:
    client = Client()
    client.force_login(organisation.officer, backend="allauth.account.auth_backends.AuthenticationBackend")
    session = client.session
    session["account_authentication_methods"] = [{"method": "mfa", "type": "totp", "at": time.time()}]
    session["account_authentication_methods_user"] = str(organisation.officer.pk)
    session.save()
    return client


@pytest.fixture
def organisation(settings: Any) -> Organisation:
    found = Organisation()
    found.grow(0, 3)
    return found


def asked(client: Client, path: str) -> list[str]:
    """The queries of one request, apart from what only the first request of a session asks."""
    client.get(path)
    with CaptureQueriesContext(connection) as queries:
        response = client.get(path)
    assert response.status_code == 200, (path, response.status_code)
    return [query["sql"] for query in queries]


def test_pages_ask_the_same_of_3_rows_as_of_30(organisation: Organisation, officer: Client) -> None:
    paths = [path.format(**organisation.names) for path in PAGES]
    few = {path: asked(officer, path) for path in paths}
    organisation.grow(3, 30)
    many = {path: asked(officer, path) for path in paths}
    grown = {path: (len(few[path]), len(many[path])) for path in paths if len(many[path]) != len(few[path])}
    assert grown == {}
    assert {path: len(queries) for path, queries in many.items() if len(queries) > MOST} == {}
