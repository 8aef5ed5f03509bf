"""The matrix's world: one object of every kind in ring "payments", and callers of every role here, there and everywhere."""

from base64 import b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from hashlib import sha256
from types import SimpleNamespace
from typing import Any

from allauth.usersessions.models import UserSession
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.test import Client
from django.utils import timezone

from ceremonies import packages, shamir
from ceremonies.models import Ceremony, Participant, Share, ShareGeneration
from ceremonies.services.scripts import tree_scripts
from certificates.acme.services import serving
from certificates.models import (
    AcmeAccount,
    AcmeExternalKey,
    AcmeOrder,
    AcmeSource,
    Authority,
    Delivery,
    DeployHook,
    DnsHook,
    LogList,
    LogMonitor,
    ManagedCertificate,
    RelyingParty,
    RenewalOrder,
    Rollover,
    ScanRange,
    ScanTarget,
)
from certificates.services import authorities, issuing, reading
from keys.crypto import transport
from keys.crypto.secret import SecretBytes
from keys.models import (
    DataStore,
    FailedItem,
    Key,
    KeyExport,
    KeyProvider,
    KeyVersion,
    Move,
    ProviderFinding,
    ProviderIntent,
    ReEncryptionJob,
    RootSeal,
    Rotation,
    SealedValue,
)
from keys.services import creation, imports, lifecycle
from keyvault_portal.accounts.models import ApiToken, KeyRing, Person
from keyvault_portal.accounts.permissions import ROLE_PERMISSIONS, TOKEN_SCOPES, Permission, Role
from keyvault_portal.approvals.models import ApprovalRequest, SigningKey
from keyvault_portal.audit.models import AuditCheckpoint, AuditEvent
from keyvault_portal.errors import ApprovalRequired
from tests.api.conftest import SYSTEM, Place, actor, bearer, build_place, make_person, sign_in, token_of
from tests.certificates.requests import csr

HERE, THERE, EVERYTHING = "here", "there", "everything"


@dataclass
class Caller:
    """Somebody who sends requests, and the rights they should turn out to have, by place."""

    label: str
    client: Client
    rights: Mapping[str, frozenset[Permission]] = field(default_factory=dict)
    roles: frozenset[str] = frozenset()  # that may decide on the ring's requests, for people
    token: bool = False
    anonymous: bool = False

    def somewhere(self, wanted: Iterable[Permission]) -> bool:
        return any(permission in held for held in self.rights.values() for permission in wanted)

    def may(self, permission: Permission, place: str) -> bool:
        return any(permission in self.rights.get(name, frozenset()) for name in {place, EVERYTHING})

    @property
    def knows_ring(self) -> bool:
        return bool(self.rights.get(HERE) or self.rights.get(EVERYTHING))


@dataclass
class World:
    place: Place
    other: KeyRing
    objects: dict[str, Any]
    callers: list[Caller]


def build_world() -> World:
    place = build_place("payments")
    other = KeyRing.objects.create(name="patients", title="Patients")
    return World(place, other, _objects(place), _callers(place.ring, other))


def _callers(here: KeyRing, there: KeyRing) -> list[Caller]:
    found = [Caller("anonymous", Client(), anonymous=True)]
    for role in Role:
        for where, ring in ((HERE, here), (THERE, there), (EVERYTHING, None)):
            person = make_person(f"{role.value}-{where}", role.value, ring)
            decides = frozenset({role.value}) if where != THERE else frozenset()
            rights = {where: ROLE_PERMISSIONS[role]}
            found.append(Caller(f"{role.value} {where}", sign_in(person), rights, decides))
    nobody = make_person("nobody")
    found.append(Caller("nobody, with staff flags", sign_in(nobody), {}))
    shop = make_person("shop-token", "service", None, kind="service")
    full, view = ROLE_PERMISSIONS[Role.SERVICE], frozenset({Permission.KEY_VIEW})
    tokens: tuple[tuple[str, Person, list[KeyRing], str, frozenset[Permission]], ...] = (
        ("service token here", shop, [here], HERE, full),
        ("service token there", shop, [there], THERE, full),
        ("viewing token here", shop, [here], HERE, view),
        (
            "officer's token", make_person("olga-token", "security_officer"), [], EVERYTHING,
            ROLE_PERMISSIONS[Role.SECURITY_OFFICER] & TOKEN_SCOPES,
        ),
    )  # fmt: skip
    for label, owner, rings, where, rights in tokens:
        scopes = sorted(permission.value for permission in rights)
        found.append(Caller(label, bearer(token_of(owner, scopes, rings=rings)), {where: rights}, token=True))
    return found


def _objects(place: Place) -> dict[str, Any]:
    made = _certificates(place)  # first: as long as there is no officer, nobody has to agree
    ring, key = place.ring, place.keys["data"]
    version = KeyVersion.objects.get(key=key)
    store = DataStore.objects.create(
        ring=ring, key=key, name="sealed", title="Sealed", kind=DataStore.Kind.SEALED_VALUES, created_by="test"
    )
    rotation = Rotation.objects.create(key=key, old_version=version, state="re_encrypting", requested_by="test")
    job = ReEncryptionJob.objects.create(rotation=rotation, store=store, mode="re_encrypt", state="running")
    other = place.keys["kek"]
    left = KeyVersion.objects.get(key=other)
    far = KeyVersion.objects.create(key=other, key_version=2, kms_key_arn="far:2", provider="far", moved_from=left)
    move = Move.objects.create(
        key=other, source="local", target="far", old_version=left, new_version=far, state="dual_wrapping", requested_by="test"
    )  # fmt: skip
    target = make_person("target", "auditor", ring)
    sign_in(target).get("/")
    owner = make_person("backend", "service", ring, kind="service")
    token_of(owner, ["key.view"], rings=[ring])
    RootSeal.objects.create(kind="file", name="Key file", check_value=b"12345678", created_by="test")
    seal = RootSeal.objects.create(
        kind="provider", name="Other", provider="x", wrapped=b"w", check_value=b"12345678", created_by="test"
    )
    provider = KeyProvider.objects.create(
        alias="far", kind="stand_in", title="Far", settings={"place": "there"}, created_by="test"
    )
    officer = actor(make_person("importer", "security_officer"))
    parts = {"component_values": ["AABBCC", "DDEEFF"], "check_value": "010203", "reason": "A test."}
    coming = imports.open_import(actor=officer, key_id=key.pk, method="components", **parts)
    loose = creation.create_key(
        actor=officer, ring=ring, name="loose", title="Loose", kind="dek", algorithm="AES-256-GCM", parent=place.keys["kek"],
        exportable=True,
    )  # fmt: skip
    recipient = transport.new_receiver(transport.Method.HPKE_X25519).public
    return made | {
        "import": coming,
        "export": KeyExport.objects.create(
            version=loose.versions.get(), method="hpke_x25519", state="ready", recipient="Partner", recipient_key=recipient, fingerprint="f" * 64,
            wrapped=b"w", reason="A test.", requested_by="test", finished_at=timezone.now(),
        ),
        "provider": provider,
        "finding": ProviderFinding.objects.create(
            provider=provider, kind="unknown_key", opaque="stranger", detail="A stranger.", facts={"algorithm": "AES-256-GCM"}
        ),
        "work": ProviderIntent.objects.create(
            version=version, act="create", state="failed", requested_by="test", finished_at=timezone.now()
        ),
        "signing key": SigningKey.objects.create(
            person_id=target.pk, person_label="Target", name="Safe", kind="ed25519", public_key="00" * 32, fingerprint="SHA256:x", approval_id=target.pk
        ),
        **_ceremonies(place),
        "ring": ring, "key": key, "version": version, "store": store, "seal": seal, "rotation": rotation, "move": move, "person": target,
        "item": FailedItem.objects.create(job=job, store=store, item="1", column="c", reason="decrypt_failed"),
        "binding": target.bindings.get(), "session": UserSession.objects.get(user=target),
        "token": ApiToken.objects.get(owner=owner), "approval": _request(place.keys["kek"]),
        "event": AuditEvent.objects.filter(ring_id=ring.pk).order_by("seq")[0],
        "size": AuditCheckpoint.objects.order_by("-tree_size").values_list("tree_size", flat=True)[0],
    }  # fmt: skip


def _certificates(place: Place) -> dict[str, Any]:
    """An authority, a certificate of it, a request that it would serve and a key that could become another's."""

    def key(name: str) -> Key:
        values = {"name": name, "title": name.title(), "kind": "transport", "algorithm": "ECDSA-P256-SHA256"}
        return creation.create_key(actor=SYSTEM, ring=place.ring, parent=place.keys["kek"], **values)

    plan = authorities.Plan(
        ring_id=str(place.ring.pk),
        name="servers",
        title="Servers",
        key_id=str(key("ca").pk),
        days=3000,
        profiles=["server"],
        names={"dns": ["example.org"]},
    )
    authority = authorities.sign_authority(authorities.create_authority(actor=SYSTEM, plan=plan, reason="A test.").pk)
    order = issuing.order_from_csr(csr(names=(x509.DNSName("a.example.org"),)), profile="server")
    certificate = issuing.issue_certificate(actor=SYSTEM, authority_id=authority.pk, order=order)
    assert authority.certificate is not None
    heir_plan = replace(plan, name="servers-2", title="Servers 2", key_id=str(key("ca-2").pk), days=3600)
    heir = authorities.sign_authority(authorities.create_authority(actor=SYSTEM, plan=heir_plan, reason="A test.").pk)
    return _acme(authority) | _watched(place) | _renewal(place, key("www"), certificate) | {
        "rollover": Rollover.objects.create(
            ring=place.ring, old=authority, new=heir, reason="A test.", created_by="test"
        ),
        "party": RelyingParty.objects.create(
            ring=place.ring, name="shop", fingerprints=["ab" * 32], reported_at=timezone.now(), reported_by="test"
        ),
        "heir": heir, "authority": authority, "certificate": certificate, "signing": key("signing"), "ca_pem": reading.pem(authority.certificate),
        "csr": csr(names=(x509.DNSName("b.example.org"),)).decode(),
    }  # fmt: skip


def _watched(place: Place) -> dict[str, Any]:
    """An endpoint, what may be scanned, a list of logs and a log that is read."""
    spki = (
        ec.generate_private_key(ec.SECP256R1())
        .public_key()
        .public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    )
    log = {
        "key": b64encode(spki).decode(),
        "log_id": b64encode(sha256(spki).digest()).decode(),
        "state": {"usable": {}},
    }
    return {
        "target": ScanTarget.objects.create(ring=place.ring, host="10.77.0.2", created_by="test"),
        "range": ScanRange.objects.create(value="10.77.0.0/16", reason="A test.", created_by="test"),
        "log_list": LogList.objects.create(
            content={"operators": [{"name": "Us", "logs": [log]}]}, version="1", listed_at=timezone.now(), sha256="ab" * 32,
            provenance="A test.", uploaded_by="test",
        ),
        "monitor": LogMonitor.objects.create(
            ring=place.ring, name="Log", url="https://10.77.0.2/", public_key=spki, domains=["example.org"], created_by="test"
        ),
        "log_key": log["key"],
    }  # fmt: skip


def _renewal(place: Place, key: Key, certificate: Any) -> dict[str, Any]:
    """A source that was refused, one that is ready, a certificate that is kept alive, and a delivery that failed."""
    sealed = SealedValue.objects.create(purpose="test", ciphertext=b"sealed")
    values: dict[str, Any] = {
        "ring": place.ring, "directory": "https://acme.invalid/dir", "terms_agreed_by": "test", "account_key": sealed, "thumbprint": "t",
        "created_by": "test",
    }  # fmt: skip
    refused = AcmeSource.objects.create(name="refused", state="failed", **values)
    ready = AcmeSource.objects.create(name="ready", state="ready", account_url="https://acme.invalid/1", **values)
    hook = DnsHook.objects.create(
        ring=place.ring, name="dns", kind="webhook", address="https://hook.invalid/", secret=sealed, created_by="test"
    )
    managed = ManagedCertificate.objects.create(
        ring=place.ring, source=ready, key=key, names=["dns:www.example.org"], challenge="http-01", renew_at=timezone.now(),
        certificate=certificate, created_by="test",
    )  # fmt: skip
    version = KeyVersion.objects.get(key=key)
    RenewalOrder.objects.create(
        managed=managed, version=version, state="issued", order_url="https://acme.invalid/2", certificate=certificate,
        finished_at=timezone.now(),
    )  # fmt: skip
    deploy = DeployHook.objects.create(
        managed=managed, kind="webhook", place="https://hook.invalid/", secret=sealed, created_by="test"
    )
    delivery = Delivery.objects.create(
        hook=deploy, certificate=certificate, version=version, state="failed", finished_at=timezone.now()
    )
    return {
        "source": ready, "refused": refused, "dns_hook": hook, "managed": managed, "hook": deploy, "delivery": delivery,
    }  # fmt: skip


def _acme(authority: Authority) -> dict[str, Any]:
    """That the authority serves ACME, a key for accounts, an account and its order."""
    rules = serving.Rules(profiles=["server"], external_account_required=False)
    server = serving.save_server(actor=SYSTEM, authority_id=authority.pk, rules=rules)
    sealed = SealedValue.objects.create(purpose="test", ciphertext=b"x")
    account = AcmeAccount.objects.create(server=server, jwk={}, thumbprint="t" * 43, contact=["mailto:ann@example.org"])
    return {
        "external_key": AcmeExternalKey.objects.create(server=server, label="Web", secret=sealed, created_by="test"),
        "acme_account": account,
        "acme_order": AcmeOrder.objects.create(
            server=server, account=account, names=["a.example.org"], profile="server", expires_at=timezone.now() + timedelta(hours=1)
        ),
    }  # fmt: skip


def _package(held: Ceremony) -> bytes:
    """An offline package that opens."""
    escrow_key = SecretBytes(bytes(range(32)))
    key = packages.MasterKey(held.pk, 1, "root", "AES-256-GCM", "local", "abcd")
    return packages.make(
        escrow_key=escrow_key, key=key, wrapped=packages.wrap_master(escrow_key, SecretBytes(bytes(32))), made_by="test",
        record=shamir.split(escrow_key, groups=[(2, 3)], iteration_exponent=0).record, ceremony_id=held.pk,
        script_hash=held.script_hash, made_at="2026-01-01T00:00:00Z", practice=False,
    ).data  # fmt: skip


def _ceremonies(place: Place) -> dict[str, Any]:
    """One that is planned, and one that was held with its set of shares."""
    script = tree_scripts()["escrow"]
    values: dict[str, Any] = {
        "kind": "escrow", "purpose": "A test.", "key": place.keys["root"], "ring_id": place.ring.pk, "script": script.canonical(),
        "script_hash": script.sha256, "script_label": script.title, "threshold": 2, "share_count": 3, "place": "Oslo", "starts_at": timezone.now(),
        "planned_by_id": place.ring.pk, "planned_by": "test",
    }  # fmt: skip
    planned = Ceremony.objects.create(title="Planned", **values)
    held = Ceremony.objects.create(title="Held", state="closed", committed_at=timezone.now(), **values)
    generation = ShareGeneration.objects.create(
        ceremony=held, key=place.keys["root"], set_id=4711, threshold=2, share_count=3, check_value="abcd", record={}, package=_package(held),
        package_sha256="ab" * 32, package_bag="B0", state="active", activated_at=timezone.now(), key_version=1,
    )  # fmt: skip
    share = Share.objects.create(
        generation=generation, index=1, custodian="Gus", email="gus@example.org", custodian_id="gus", check_value="abcd1234", state="held",
        bag="B1", confirmed_at=timezone.now(), proved_at=timezone.now(),
    )  # fmt: skip
    seat = Participant.objects.create(
        ceremony=planned, role="holder", name="Gus", email="gus@example.org", share_index=1
    )
    return {
        "ceremony": planned, "seat": seat, "generation": generation, "share": share, "script": SimpleNamespace(pk="escrow:1"),
    }  # fmt: skip


def _request(key: Key) -> ApprovalRequest:
    """A request for agreement on the ring: an officer asked to weaken a policy."""
    asker = make_person("asker", "security_officer")
    make_person("second", "security_officer")
    try:
        lifecycle.update_policy(
            actor=actor(asker), key_id=key.pk, changes={"cryptoperiod_days": 3000}, reason="A test."
        )
    except ApprovalRequired as waiting:
        return ApprovalRequest.objects.get(pk=waiting.request_id)
    raise AssertionError("The policy was weakened without agreement.")


def an_hour_ago() -> str:
    return (timezone.now() - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
