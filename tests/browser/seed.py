"""Fill a running portal with the demonstration and with something in every state, through its services; prints JSON.

A program of its own, because it needs the settings of the portal that runs, not those of the tests.
"""

import json
import sys
from datetime import timedelta
from pathlib import Path

import django

django.setup()

import psycopg  # noqa: E402
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes  # noqa: E402
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret  # noqa: E402
from django.conf import settings  # noqa: E402
from django.utils import timezone  # noqa: E402

from ceremonies.services import invitations  # noqa: E402
from keys.crypto import keycheck, transport  # noqa: E402
from keys.crypto.secret import SecretBytes  # noqa: E402
from keys.demo import organisation, shop  # noqa: E402
from keys.models import DataStore, Key, KeyProvider, KeyVersion, Move, ProviderFinding, RootSeal, Rotation  # noqa: E402
from keys.services import exports, imports, lifecycle, materials, rotation  # noqa: E402
from keys.services.exports.giving import note  # noqa: E402
from keys.services.providers import registration  # noqa: E402
from keyvault_portal.accounts import services as accounts  # noqa: E402
from keyvault_portal.approvals import services as approvals  # noqa: E402
from keyvault_portal.approvals.models import ApprovalRequest  # noqa: E402
from keyvault_portal.audit.models import AuditCheckpoint  # noqa: E402
from tests.browser.portal import MODULE, TOKEN  # noqa: E402
from tests.browser.seed_certificates import certificates  # noqa: E402
from tests.browser.seeding import Facts, agree, ask, wait_until  # noqa: E402
from tests.room.cast import Cast, plan  # noqa: E402


def main(customers: int, orders: int) -> Facts:
    org = organisation.make(lambda _: None)
    url = shop.shop_url()
    shop.fill(org, url, customers, orders, lambda _: None)
    shop.register(org, url)
    facts: Facts = {"people": _people(org), "keys": {name: str(key.pk) for name, key in org.keys.items()}}
    facts["rings"] = {name: str(ring.pk) for name, ring in org.rings.items()}
    facts["stores"] = {store.name: str(store.pk) for store in DataStore.objects.all()}
    facts["shop"], facts["database"] = url, settings.DATABASE_URL
    ada = org.actor("ada")

    # Two customers whose cells nobody can read, as after an accident in the shop.
    with psycopg.connect(url) as connection:
        connection.execute('UPDATE orders SET note = \'{"ciphertext": "lost"}\' WHERE id = 7')
    facts["rotations"] = {
        "moving": str(rotation.request_rotation(actor=ada, key_id=org.keys["orders-kek"].pk, reason="Yearly rotation of the orders.", rate_limit=2).pk),
        "moved": str(rotation.request_rotation(actor=ada, key_id=org.keys["newsletter"].pk, reason="After the move to the new mailer.").pk),
        "ending": str(rotation.request_rotation(actor=ada, key_id=org.keys["loyalty"].pk, reason="The loyalty scheme ended.").pk),
    }  # fmt: skip
    current = {
        name: materials.active_version(key)
        for name, key in org.keys.items()
        if name in {"logs", "shipping", "contracts", "backups"}
    }
    rotation.rotate_compromised(
        actor=ada, version_id=current["logs"].pk, reason_code="key_compromise", occurred_at=timezone.now() - timedelta(hours=3),
        note="A copy of the log archive's host image was found outside.",
    )  # fmt: skip
    lifecycle.suspend_version(
        actor=ada, version_id=current["shipping"].pk, reason="Until the carrier's incident is understood."
    )
    wait_until(
        lambda: (
            not Rotation.objects.filter(
                pk__in=[facts["rotations"]["moved"], facts["rotations"]["ending"]], state="re_encrypting"
            ).exists()
        )
    )
    facts["approvals"] = _approvals(org, facts)
    facts |= _provider()
    facts |= certificates(org)
    facts["ceremonies"] = _ceremonies(org)
    facts["moves"] = _moves(org)
    facts |= _transfers(org)
    facts["shares"] = _shares(org)
    token, _ = accounts.create_token(actor=ada, owner=org.people["shop"], name="shop back end, production", scopes=["key.encrypt", "key.decrypt"],
                                     rings=[org.rings["shop"]], cidrs=["10.1.0.0/16"], expires_at=timezone.now() + timedelta(days=90))  # fmt: skip
    facts["token"] = str(token.pk)
    gone = accounts.create_person(
        actor=ada, email="gina@example.org", name="Gina Falk", site="Oslo", reporting_line="Risk"
    )
    accounts.bind_role(actor=ada, person=gone, role="operator", ring=org.rings["shop"])
    facts["inactive"] = str(accounts.deactivate_person(actor=ada, person=gone).pk)
    facts["binding"] = str(org.people["dana"].bindings.first().pk)
    wait_until(AuditCheckpoint.objects.exists)
    facts["checkpoint"] = AuditCheckpoint.objects.order_by("-tree_size").values_list("tree_size", flat=True)[0]
    return facts


def _people(org: organisation.Organisation) -> Facts:
    """A sign-in link each; officers and custodians also have an authenticator application and recovery codes."""
    found: Facts = {}
    for short, *_ in organisation.PEOPLE:
        person = org.people[short]
        secret, codes = generate_totp_secret(), []
        if short != "emil":  # he has not set one up yet
            TOTP.activate(person, secret)
            codes = RecoveryCodes.activate(person).get_unused_codes()
        person.set_password(f"correct horse of {short}")
        person.save(update_fields=["password"])
        link = accounts.create_sign_in_link(actor=org.actor("ada"), person=person)
        found[short] = {"id": str(person.pk), "email": person.email, "name": person.name, "totp": secret, "codes": codes, "link": link, "link_part": link.rstrip("/").rsplit("/", 1)[-1],
                        "password": f"correct horse of {short}"}  # fmt: skip
    return found


def _provider() -> Facts:
    """A provider that is switched off, so that nobody calls it, and a key of its that nobody here knows."""
    row = KeyProvider.objects.create(
        alias="head-office", kind="vault_transit", title="Head office's Vault", state="disabled", created_by="Ada",
        settings={"address": "https://vault.example.org"}, last_error="The server does not answer.", compared_at=timezone.now(),
    )  # fmt: skip
    finding = ProviderFinding.objects.create(
        provider=row, kind="unknown_key", opaque="transit/keys/payroll:1", detail="payroll: AES-256-GCM, usable.",
        facts={"algorithm": "AES-256-GCM", "there": "enabled"},
    )  # fmt: skip
    drift = ProviderFinding.objects.create(
        provider=row, kind="metadata_drift", opaque="payments", detail="What the provider keeps with payments v1 is not what was accepted.",
        facts={
            "sha256": "ab" * 32, "accepted_sha256": "cd" * 32, "there": {},
            "changes": [
                {"place": "policy / Statement / web shop / Principal / AWS", "accepted": "", "there": "arn:aws:iam::999999999999:role/web-shop-in-production"},
                {"place": "config / deletion_allowed", "accepted": "false", "there": "true"},
            ],
        },
    )  # fmt: skip
    return {"provider": row.alias, "finding": finding.pk, "drift": drift.pk}


def _ceremonies(org: organisation.Organisation) -> Facts:
    """A rehearsal that was held, one whose room is open, the real thing planned; and a place for a key to be recovered to."""
    ada = org.actor("ada")
    registration.register_provider(actor=ada, kind="pkcs11", alias="vault-room", title="HSM in the vault room", values={
        "module": MODULE, "token": TOKEN, "pin_source": f"file:{Path(settings.VAR_DIR).parent / 'pin'}", "timeout": "30",
    })  # fmt: skip
    custodians = ("boris", "chen", "emil", "guus", "hedda")
    held = Cast(
        ada,
        plan(ada, title="Rehearsal of the escrow", minutes_key=org.keys["ceremony-minutes"]),
        leader="ada",
        operator="dana",
        witness="fay",
    )
    opened = Cast(ada, plan(ada, title="Rehearsal, second try"), leader="ada", operator="dana", witness="fay")
    dealt = Cast(ada, plan(ada, title="Rehearsal of the hand-out"), leader="ada", operator="dana", witness="fay")
    for cast in (held, opened, dealt):
        cast.seat_staff()
        cast.seat_holders(*custodians)
        cast.open()
    held.hold_escrow()
    opened.gather(besides=("guus",))
    dealt.deal()
    dealt.see("chen")
    dealt.confirm("chen")
    planned = plan(ada, title="Escrow of the archive root", key=org.keys["root-archive"], practice=False)
    founding = plan(ada, "root-ca:1", title="Root authority of the archive", practice=False, threshold=0, share_count=0)
    guest = opened.seat("guus")
    link = invitations.invite_guest(actor=ada, ceremony_id=opened.id, participant_id=guest.pk).link
    share = held.now.generation.shares.get(index=held.seat("boris").share_index)
    return {
        "held": str(held.id), "open": str(opened.id), "dealt": str(dealt.id), "planned": str(planned.pk), "founding": str(founding.pk),
        "share": share.pk, "set": str(share.generation_id), "link": link.rstrip("/").rsplit("/", 1)[-1],
    }  # fmt: skip


def _moves(org: organisation.Organisation) -> Facts:
    """One that waits for the provider that is switched off, and one whose old version could be dropped."""
    now = timezone.now()
    found: Facts = {}
    for name, state in (("refunds", "dual_wrapping"), ("sso-tokens", "re_wrapped")):
        key = Key.objects.get(pk=org.keys[name].pk)
        old, after = KeyVersion.objects.get(key=key, status="active"), state == "re_wrapped"
        new = KeyVersion.objects.create(
            key=key, key_version=2, kms_key_arn=f"transit/keys/{name}:1", handle=f"{name}:1", provider="head-office", moved_from=old,
            public_key=old.public_key,
        )  # fmt: skip
        times = {"made_at": now, "wrapped_at": now if after else None}
        move = Move(key=key, source="local", target="head-office", with_material=after, old_version=old, new_version=new, state=state,
                    reason="The keys come home to head office.", requested_by="Ada", **times)  # fmt: skip
        if after:
            KeyVersion.objects.filter(pk=old.pk).update(status="decrypt_only", rotated_at=now)
            KeyVersion.objects.filter(pk=new.pk).update(status="active", activated_at=now)
            Key.objects.filter(pk=key.pk).update(current=new, provider="head-office")
            move.rotation = Rotation.objects.create(
                key=key, old_version=old, new_version=new, trigger="move", state="re_encrypted", introduced_at=now, re_encrypted_at=now,
                requested_by="Ada",
            )  # fmt: skip
            move.compared, move.compared_at, move.switched_at, move.re_wrapped_at = 1, now, now, now
        else:
            move.attempts, move.next_try_at = 3, now + timedelta(days=1)
            move.last_error = "Waiting: The key provider head-office is disabled. Enable it, then try again."
        move.save()
        found["moved" if after else "waiting"] = str(move.pk)
    return found


def _shares(org: organisation.Organisation) -> str:
    """A seal for custodians that was agreed to: its shares are to be made."""
    row = RootSeal.objects.create(
        kind="shares", name="Custodians of the site", state="preparing", threshold=3, shares=5, check_value=b"",
        created_by="Ada", created_by_id=org.people["ada"].pk,
    )  # fmt: skip
    return str(row.pk)


def _transfers(org: organisation.Organisation) -> Facts:
    """Keys on their way in, wrapped and in components with one of them here; and one that was given out."""
    ada, chen, ring = org.actor("ada"), org.actor("chen"), org.rings["shop"]
    part, other = SecretBytes(bytes(range(32))), SecretBytes(bytes(range(1, 33)))
    place = {
        "ring": ring,
        "kind": "dek",
        "algorithm": "AES-256-GCM",
        "parent": org.keys["orders-kek"],
        "reason": "From the old HSM.",
    }
    wrapped = imports.open_import_of_new_key(
        actor=ada, name="card-import", title="Card data", method="rsa_aes_kw", **place
    )
    coming = imports.open_import_of_new_key(
        actor=ada, name="zone-master", title="Zone key of the card network", method="components", check_value="A1B2C3",
        component_values=[keycheck.check_bytes("AES-256-GCM", value).hex() for value in (part, other, part)], **place,
    )  # fmt: skip
    imports.enter_component(actor=chen, import_id=coming.pk, number=1, component=part)
    loose = lifecycle.create_key(
        actor=ada, ring=ring, name="partner-feed", title="Feed to the partner", kind="dek", algorithm="AES-256-GCM",
        parent=org.keys["orders-kek"], exportable=True,
    )  # fmt: skip
    receiver = transport.receiver_of(transport.new_receiver(transport.Method.RSA_AES_KW).public or b"")
    given = note(
        loose.versions.get(), ada, method="rsa_aes_kw", recipient="Nordic Parcel AB", recipient_key=receiver.spki,
        fingerprint=receiver.fingerprint, reason="The partner reads our feed.",
    )  # fmt: skip
    exports.wrap_export(given.pk)
    return {"import": str(wrapped.pk), "components": str(coming.pk), "loose": str(loose.pk), "export": str(given.pk)}


def _approvals(org: organisation.Organisation, facts: Facts) -> Facts:
    """One that waits, one half agreed, one executed, one rejected; and a version in its grace period."""
    two = [{"role": "security_officer", "threshold": 2}]
    for name in ("customer-notes", "contracts", "backups", "loyalty"):
        lifecycle.update_policy(actor=org.actor("ada"), key_id=org.keys[name].pk, reason="Agreement of two.",
                                changes={"rotate_groups": two, "destroy_groups": two})  # fmt: skip
    asked = {
        "waiting": ask(lambda: rotation.request_rotation(actor=org.actor("ada"), key_id=org.keys["customer-notes"].pk, reason="Yearly rotation.")),
        "half": ask(lambda: rotation.request_rotation(actor=org.actor("dana"), key_id=org.keys["contracts"].pk, reason="The contracts moved house.")),
        "rejected": ask(lambda: rotation.request_rotation(actor=org.actor("boris"), key_id=org.keys["backups"].pk, reason="Before the holidays.")),
        "executed": ask(lambda: rotation.request_decommission(actor=org.actor("ada"), rotation_id=facts["rotations"]["ending"], reason="Census zero.")),
    }  # fmt: skip
    agree(org, asked["half"], "boris")
    agree(org, asked["executed"], "boris", "chen")
    approvals.reject(
        actor=org.actor("ada"), request_id=asked["rejected"], reason="Nobody is in the office to look after it."
    )
    wait_until(lambda: ApprovalRequest.objects.get(pk=asked["executed"]).state == "executed")
    return {name: str(request_id) for name, request_id in asked.items()}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(int(sys.argv[1]), int(sys.argv[2]))) + "\n")
