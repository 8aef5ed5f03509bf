"""Where certificates are put: files replaced whole, Kubernetes secrets, signed webhooks; and where a private key never goes."""

import base64
import hmac
import os
import subprocess
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from django.db import IntegrityError, transaction
from django.utils import timezone

from certificates.models import AcmeSource, Certificate, Delivery, DeployHook, ManagedCertificate, RenewalOrder
from certificates.renewal import deploying, files, webhooks
from certificates.renewal.attention import attention
from certificates.renewal.states import DELIVERY_MOVES, ORDER_MOVES, SOURCE_MOVES, TELL_AFTER_TRIES, DeliveryState
from certificates.services import authorities, issuing
from keys.crypto.secret import SecretBytes
from keys.hosts import HostRefused
from keys.models import KeyVersion, SealedValue
from keys.services import exports
from keyvault_portal.accounts.actors import system_actor
from keyvault_portal.accounts.identity import actor_for_person
from keyvault_portal.accounts.models import Person, RoleBinding
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.approvals.models import Notice
from keyvault_portal.audit.models import AuditEvent
from keyvault_portal.errors import ApprovalRequired, Conflict, PermissionRefused, ValidationFailed, WrongState
from tests.certificates.conftest import plan
from tests.certificates.test_acts import agree, officer_named
from tests.renewal.conftest import SECRET

pytestmark = pytest.mark.django_db


@pytest.fixture
def managed(home):
    """A managed certificate as a finished order leaves it; the certificate is of an authority of ours, which is as good."""
    ca = home.make("ca", "transport", "ECDSA-P256-SHA256", home.kek)
    wanted = plan(home, "servers", ca, profiles=["server"], names={"dns": ["example.org"]})
    home.authority = authorities.sign_authority(
        authorities.create_authority(actor=home.officer, plan=wanted, reason="A test.").pk
    )
    key = home.make("www", "transport", "ECDSA-P256-SHA256", home.kek, exportable=True)
    sealed = SealedValue.objects.create(purpose="test", ciphertext=b"x")
    source = AcmeSource.objects.create(
        ring=home.ring, name="ca", directory="https://127.0.0.1/dir", account_key=sealed, thumbprint="t", state="ready", account_url="https://127.0.0.1/1",
        terms_agreed_by="test", created_by="test",
    )  # fmt: skip
    row = ManagedCertificate.objects.create(
        ring=home.ring, source=source, key=key, names=["dns:www.example.org"], challenge="http-01", renew_at=timezone.now(), created_by="test"
    )  # fmt: skip
    renewed(home, row)
    return row


def renewed(home, row):
    """As an order does when it ends."""
    made = issuing.issue_for_key(
        actor=home.officer, authority_id=home.authority.pk, key_id=row.key_id, profile="server", names=[("dns", "www.example.org")]
    )  # fmt: skip
    version = KeyVersion.objects.get(key=row.key, status="active")
    RenewalOrder.objects.create(
        managed=row,
        version=version,
        state="issued",
        order_url="https://127.0.0.1/2",
        certificate=made,
        finished_at=timezone.now(),
    )
    row.certificate = made
    row.save()
    deploying.queue_for(row, made, version)
    return made


def add(home, row, kind, place, **more):
    return deploying.add_hook(
        actor=home.officer, managed_id=row.pk, kind=kind, place=str(place), reason="A test.", **more
    )


def deliver(hook):
    row = hook.deliveries.order_by("-created_at").first()
    Delivery.objects.filter(pk=row.pk).update(next_try_at=timezone.now())
    deploying.deliver(row.pk)
    row.refresh_from_db()
    return row


def mode(path):
    return oct(os.stat(path).st_mode & 0o777)


def test_files_are_replaced_whole_and_readable_by_their_owner_only(home, managed):
    place = home.folder / "www"
    hook = add(home, managed, "file", place, with_key=True)
    row = deliver(hook)
    assert (row.state, row.last_error) == ("delivered", "")
    assert {mode(place / name) for name in ("fullchain.pem", "privkey.pem")} == {"0o600"}
    assert (mode(place.resolve()), place.is_symlink()) == ("0o700", True)
    private = load_pem_private_key((place / "privkey.pem").read_bytes(), None)
    public = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert sha256(public).hexdigest() == managed.certificate.spki_sha256
    checked = subprocess.run(
        ["openssl", "x509", "-in", place / "fullchain.pem", "-noout", "-checkhost", "www.example.org"], capture_output=True, text=True, check=True
    )  # fmt: skip
    assert "does match" in checked.stdout
    event = AuditEvent.objects.get(action="key.deploy")
    assert event.target_id == str(managed.key_id)
    assert KeyVersion.objects.get(key=managed.key).exported_at is not None
    first = place.resolve()
    for _ in range(3):
        renewed(home, managed)
        assert deliver(hook).state == "delivered"
    assert place.resolve() != first
    sets = [item for item in home.folder.iterdir() if item.is_dir() and not item.is_symlink()]
    assert len(sets) == 2  # the present one and the one before
    assert not list(home.folder.glob("*.link"))


def test_a_private_key_in_a_file_is_agreed_to(home, managed):
    asks, first, second = officer_named("Asta"), officer_named("Bo"), officer_named("Cy")
    with pytest.raises(ApprovalRequired) as waiting:
        deploying.add_hook(
            actor=asks,
            managed_id=managed.pk,
            kind="file",
            place=str(home.folder / "www"),
            with_key=True,
            reason="For nginx.",
        )
    assert not DeployHook.objects.exists()
    state, request = agree(waiting, first, second)
    assert state == "executed"
    assert "written in the clear" in request.consequences[0]
    assert DeployHook.objects.get().with_key
    # Without the key nobody has to agree.
    assert deploying.add_hook(actor=asks, managed_id=managed.pk, kind="file", place=str(home.folder / "public")).pk


def test_only_who_may_export_the_key_has_it_put_into_a_file(home, managed):
    clerk = system_actor("clerk", *set(Permission) - {Permission.KEY_EXPORT})
    values = {
        "actor": clerk,
        "managed_id": managed.pk,
        "kind": "file",
        "place": str(home.folder / "www"),
        "reason": "A test.",
    }
    with pytest.raises(PermissionRefused):
        deploying.add_hook(**values, with_key=True)
    assert not DeployHook.objects.exists()
    assert deploying.add_hook(**values).pk


def test_a_key_that_may_not_leave_stays(home, managed):
    exports.withdraw_exportability(actor=home.officer, key_id=managed.key_id, reason="A test.")
    with pytest.raises(Conflict):
        add(home, managed, "file", home.folder / "www", with_key=True)
    hook = add(home, managed, "file", home.folder / "www")
    assert deliver(hook).state == "delivered"
    assert [path.name for path in (home.folder / "www").iterdir()] == ["fullchain.pem"]


def test_a_key_withdrawn_later_stops_the_delivery(home, managed):
    hook = add(home, managed, "file", home.folder / "www", with_key=True)
    exports.withdraw_exportability(actor=home.officer, key_id=managed.key_id, reason="A test.")
    row = deliver(hook)
    assert row.state == "failed"
    assert not (home.folder / "www").exists()


def test_a_kubernetes_secret(home, managed):
    place = home.folder / "www-tls.yaml"
    hook = add(home, managed, "kubernetes", place, namespace="shop", secret_name="www-tls", with_key=True)
    assert deliver(hook).state == "delivered"
    found = yaml.safe_load(place.read_text())
    assert (found["kind"], found["type"], found["metadata"]) == (
        "Secret", "kubernetes.io/tls", {"name": "www-tls", "namespace": "shop"},
    )  # fmt: skip
    assert base64.b64decode(found["data"]["tls.crt"]).startswith(b"-----BEGIN CERTIFICATE-----")
    assert load_pem_private_key(base64.b64decode(found["data"]["tls.key"]), None)
    assert mode(place) == "0o600"


def test_a_webhook_is_told_signed_and_never_sent_a_key(home, managed, receiver):
    hook = add(home, managed, "webhook", receiver.url, secret=SECRET)
    assert deliver(hook).state == "delivered"
    event, signature, body = receiver.calls[0]
    moment, _, proof = signature.removeprefix("t=").partition(",v1=")
    assert hmac.new(SECRET.reveal(), f"{moment}.".encode() + body, sha256).hexdigest() == proof
    assert (event["event"], event["fingerprint"]) == ("certificate.renewed", managed.certificate.fingerprint)
    assert b"PRIVATE" not in body
    with pytest.raises(ValidationFailed):
        add(home, managed, "webhook", receiver.url, secret=SECRET, with_key=True)
    with pytest.raises(IntegrityError), transaction.atomic():
        DeployHook.objects.filter(pk=hook.pk).update(with_key=True)


def test_a_webhook_that_is_down_is_tried_again_and_then_given_up(home, managed, receiver):
    person = Person.objects.create_person(email="olga@example.org", name="Olga")
    RoleBinding.objects.create(person=person, role="security_officer", ring=home.ring, created_by="test")
    hook = add(home, managed, "webhook", receiver.url, secret=SECRET)
    receiver.answers[:] = [503, 429, 204]
    first = deliver(hook)
    assert (first.state, first.attempts, first.last_error) == ("queued", 1, "The webhook answers 503.")
    assert first.next_try_at > timezone.now() + timedelta(seconds=30)
    assert deploying.deliver(first.pk) is None  # not before its time
    assert deliver(hook).attempts == 2
    assert deliver(hook).state == "delivered"
    renewed(home, managed)
    receiver.answers[:] = [404]
    row = deliver(hook)
    assert (row.state, row.last_error) == ("failed", "The webhook answers 404.")
    assert Notice.objects.get(person_id=person.pk).text.startswith("The certificate www.example.org did not reach")
    assert deploying.retry_delivery(actor=home.officer, delivery_id=row.pk).state == "queued"
    assert deliver(hook).state == "delivered"
    with pytest.raises(WrongState):
        deploying.retry_delivery(actor=home.officer, delivery_id=row.pk)


def test_after_so_many_tries_it_is_given_up(home, managed, receiver):
    hook = add(home, managed, "webhook", receiver.url, secret=SECRET)
    receiver.answers[:] = [500] * deploying.MAX_ATTEMPTS
    rows = [deliver(hook) for _ in range(deploying.MAX_ATTEMPTS)]
    assert [row.state for row in rows] == ["queued"] * (deploying.MAX_ATTEMPTS - 1) + ["failed"]


def test_a_redirect_is_not_followed(home, managed, receiver):
    hook = add(home, managed, "webhook", receiver.url, secret=SECRET)
    receiver.answers[:] = [307]
    assert deliver(hook).last_error == "It redirects elsewhere, which is not followed."


def test_a_newer_certificate_supersedes_what_did_not_arrive(home, managed, receiver):
    hook = add(home, managed, "webhook", receiver.url, secret=SECRET)
    receiver.answers[:] = [503]
    old = deliver(hook)
    renewed(home, managed)
    old.refresh_from_db()
    assert old.state == "superseded"
    assert deploying.deliver(old.pk) is None
    assert deliver(hook).state == "delivered"
    deploying.remove_hook(actor=home.officer, hook_id=hook.pk, reason="Gone.")
    renewed(home, managed)
    assert hook.deliveries.count() == 2
    with pytest.raises(WrongState):
        deploying.remove_hook(actor=home.officer, hook_id=hook.pk, reason="Twice.")


@pytest.mark.parametrize(
    "place", ["relative/www", "/etc/www", "{folder}/../www", "{folder}/.hidden", "{folder}/link/www", "", "{folder}/\0"]
)
def test_places_outside_are_refused(home, managed, tmp_path, place):
    (home.folder / "link").symlink_to(tmp_path)
    with pytest.raises(ValidationFailed):
        files.check(place.format(folder=home.folder))


def test_without_an_allowed_directory_nothing_is_written(home, managed, settings):
    settings.CERTIFICATE_DEPLOY_DIRS = []
    with pytest.raises(ValidationFailed, match="CERTIFICATE_DEPLOY_DIRS"):
        add(home, managed, "file", home.folder / "www")


def test_what_is_there_already_is_not_overwritten(home, managed):
    (home.folder / "www").mkdir()
    hook = add(home, managed, "file", home.folder / "www")
    row = deliver(hook)
    assert row.state == "queued"
    assert "no link of ours" in row.last_error
    with pytest.raises(Conflict):
        add(home, managed, "file", home.folder / "www")


def test_a_write_that_breaks_off_leaves_the_old_set(home, managed, monkeypatch):
    hook = add(home, managed, "file", home.folder / "www")
    deliver(hook)
    before = (home.folder / "www" / "fullchain.pem").read_bytes()
    renewed(home, managed)

    def full(self, target, *arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "symlink_to", full)
    row = deliver(hook)
    assert (row.state, row.last_error.endswith("No space left on device.")) == ("queued", True)
    assert (home.folder / "www" / "fullchain.pem").read_bytes() == before
    assert len([item for item in home.folder.iterdir() if item.is_dir() and not item.is_symlink()]) == 1


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"kind": "fax"}, "kind"), ({"kind": "kubernetes", "namespace": "A B", "secret_name": "x"}, "namespace"),
        ({"kind": "kubernetes", "namespace": "shop", "secret_name": ""}, "secret_name"), ({"kind": "webhook"}, "secret"),
        ({"kind": "webhook", "secret": SecretBytes(b"short")}, "secret"),
    ],
)  # fmt: skip
def test_hooks_that_cannot_be(home, managed, values, field):
    with pytest.raises(ValidationFailed) as refused:
        add(home, managed, **{"place": home.folder / "x"} | values)
    assert field in refused.value.errors


def test_webhooks_go_to_allowed_hosts_only(home, managed, settings, receiver):
    settings.WEBHOOK_ALLOWED_HOSTS = ["10.0.0.0/8"]
    with pytest.raises(HostRefused):
        add(home, managed, "webhook", receiver.url, secret=SECRET)
    with pytest.raises(HostRefused):
        webhooks.deliver("http://169.254.169.254/latest/meta-data", SECRET, {})


def test_who_may(home, managed, auditor):
    with pytest.raises(PermissionRefused):
        deploying.add_hook(actor=auditor, managed_id=managed.pk, kind="file", place=str(home.folder / "www"))
    with pytest.raises(PermissionRefused):
        exports.release_for_deployment(actor=auditor, version_id=KeyVersion.objects.get(key=managed.key).pk, place="x")
    with pytest.raises(Conflict):
        exports.release_for_deployment(
            actor=home.officer, version_id=KeyVersion.objects.get(key=home.dek).pk, place="x"
        )


def test_the_tables_and_the_database_agree(home, managed):
    hook = add(home, managed, "file", home.folder / "www")
    row = hook.deliveries.get()
    for state in DeliveryState:
        finished = None if state is DeliveryState.QUEUED else timezone.now()
        Delivery.objects.filter(pk=row.pk).update(state=state.value, finished_at=finished)
        wrong = timezone.now() if state is DeliveryState.QUEUED else None
        with pytest.raises(IntegrityError), transaction.atomic():
            Delivery.objects.filter(pk=row.pk).update(finished_at=wrong)
    for table in (DELIVERY_MOVES, ORDER_MOVES, SOURCE_MOVES):
        assert set(table) == set(type(next(iter(table))))
        assert all(moves <= set(table) for moves in table.values())
    order = managed.orders.get()
    for change in ({"state": "proving"}, {"state": "failed"}, {"certificate": None}, {"order_url": ""}, {"state": "x"}):
        with pytest.raises(IntegrityError), transaction.atomic():
            RenewalOrder.objects.filter(pk=order.pk).update(**change)
    RenewalOrder.objects.create(managed=managed, version=order.version)
    with pytest.raises(IntegrityError), transaction.atomic():
        RenewalOrder.objects.create(managed=managed, version=order.version)  # one attempt at a time
    assert Certificate.objects.filter(managed=managed).count() == 1


def test_a_webhook_is_told_when_the_files_are_there_so_that_it_may_reload_a_server(home, managed, receiver):
    add(home, managed, "webhook", receiver.url, secret=SECRET)
    add(home, managed, "file", home.folder / "www")
    Delivery.objects.update(state="queued", finished_at=None)
    hook, written = Delivery.objects.order_by("hook__created_at")
    assert deploying.deliver(hook.pk) is None
    assert receiver.calls == []
    assert deploying.deliver(written.pk).state == "delivered"
    assert deploying.deliver(hook.pk).state == "delivered"


def test_people_are_told_of_a_place_that_does_not_take_it_while_it_is_still_tried(home, managed, receiver):
    person = Person.objects.create_person(email="olga@example.org", name="Olga")
    RoleBinding.objects.create(person=person, role="security_officer", ring=home.ring, created_by="test")
    (home.folder / "www").mkdir()
    hook = add(home, managed, "webhook", receiver.url, secret=SECRET)
    place = add(home, managed, "file", home.folder / "www")
    for tries in range(1, 5):
        assert deploying.deliver(hook.deliveries.get().pk) is None or tries > TELL_AFTER_TRIES
        assert (deliver(place).state, place.deliveries.get().attempts) == ("queued", tries)
        assert Notice.objects.filter(person_id=person.pk).count() == (tries >= TELL_AFTER_TRIES)
    assert "has not reached" in Notice.objects.get().text
    assert [item.title for item in attention(actor_for_person(person))] == [f"{managed} has not reached a place"]
    assert hook.deliveries.get().state == "delivered"  # not held up for ever
