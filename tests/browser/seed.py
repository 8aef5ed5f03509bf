"""Fill a running portal with the demonstration and with something in every state, through its services; prints JSON.

A program of its own, because it needs the settings of the portal that runs, not those of the tests.
"""

import json
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import django

django.setup()

import psycopg  # noqa: E402
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes  # noqa: E402
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret  # noqa: E402
from cryptography import x509  # noqa: E402
from cryptography.hazmat.primitives.serialization import Encoding  # noqa: E402
from django.conf import settings  # noqa: E402
from django.utils import timezone  # noqa: E402

from ceremonies.services import invitations  # noqa: E402
from certificates.acme.services import serving  # noqa: E402
from certificates.models import (  # noqa: E402
    AcmeAccount,
    AcmeAuthorization,
    AcmeChallenge,
    AcmeOrder,
    AcmeSource,
    Authority,
    Delivery,
    DeployHook,
    DnsHook,
    EndpointScan,
    LoggedCertificate,
    LogMonitor,
    ManagedCertificate,
    RelyingParty,
    RenewalOrder,
    Rollover,
    ScanRange,
    ScanTarget,
)
from certificates.services import (  # noqa: E402
    authorities,
    inventory,
    issuing,
    log_lists,
    reports,
    revoking,
    scanning,
)
from certificates.services.reports import Found  # noqa: E402
from certificates.tls.report import CertificateFacts, Report  # noqa: E402
from keys.crypto import keycheck, transport  # noqa: E402
from keys.crypto.secret import SecretBytes  # noqa: E402
from keys.demo import organisation, shop  # noqa: E402
from keys.models import DataStore, Key, KeyProvider, KeyVersion, Move, ProviderFinding, RootSeal, Rotation  # noqa: E402
from keys.services import creation, exports, imports, lifecycle, materials, rotation, sealing, stores  # noqa: E402
from keys.services.exports.giving import note  # noqa: E402
from keys.services.providers import registration  # noqa: E402
from keyvault_portal.accounts import services as accounts  # noqa: E402
from keyvault_portal.approvals import services as approvals  # noqa: E402
from keyvault_portal.approvals.models import ApprovalRequest  # noqa: E402
from keyvault_portal.audit.models import AuditCheckpoint  # noqa: E402
from keyvault_portal.errors import ApprovalRequired  # noqa: E402
from tests.browser.portal import MODULE, TOKEN  # noqa: E402
from tests.certificates.requests import csr  # noqa: E402
from tests.room.cast import Cast, plan  # noqa: E402
from tests.tls import authority as tls_authority  # noqa: E402
from tests.tls.authority import DAY, NOW, subject  # noqa: E402

type Facts = dict[str, Any]


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
    _await(
        lambda: (
            not Rotation.objects.filter(
                pk__in=[facts["rotations"]["moved"], facts["rotations"]["ending"]], state="re_encrypting"
            ).exists()
        )
    )
    facts["approvals"] = _approvals(org, facts)
    facts |= _provider()
    facts |= _certificates(org)
    facts |= _renewals(org)
    facts |= _rollover(org)
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
    _await(AuditCheckpoint.objects.exists)
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
    return {"provider": row.alias, "finding": finding.pk}


def _certificates(org: organisation.Organisation) -> Facts:
    """A root with two authorities below it, certificates in every state, and one from elsewhere."""
    ada, ring = org.actor("ada"), org.rings["platform"]
    found: dict[str, Authority] = {}
    for name, title, parent, more in (
        ("root", "Example Root CA", None, {"days": 7300, "path_length": 1}),
        ("servers", "Example Servers CA", "root", {"profiles": ["server"], "names": {"dns": ["example.org"], "ip": ["10.0.0.0/8"]}}),
        (
            "clients", "Example Clients CA", "root",
            {"profiles": ["client", "spiffe", "code-signing"], "names": {"uri": ["spiffe://example.org"], "email": ["example.org"]}},
        ),
    ):  # fmt: skip
        key = creation.create_key(
            actor=ada, ring=ring, name=f"ca-{name}", title=title, kind="transport", algorithm="ECDSA-P384-SHA384", parent=org.keys["platform-kek"]
        )  # fmt: skip
        plan = authorities.Plan(
            ring_id=str(ring.pk), name=name, title=title, organization="Example", key_id=str(key.pk), parent_id=str(found[parent].pk) if parent else None, **more
        )  # fmt: skip
        asked = _ask(
            lambda plan=plan: authorities.create_authority(
                actor=ada, plan=plan, reason="Certificates of our own for services."
            )
        )
        _agree(org, asked, "boris", "chen")
        _await(lambda name=name: Authority.objects.filter(name=name, state="active").exists())
        found[name] = Authority.objects.get(name=name)
    made = {}
    for short, days in (("www", 120), ("shop", 27), ("mail", 12), ("ledger", 5), ("revoked", 90)):
        order = issuing.order_from_csr(
            csr(names=(x509.DNSName(f"{short}.example.org"),)),
            profile="server",
            days=days,
            owner_id=org.people["boris"].pk,
        )
        made[short] = issuing.issue_certificate(actor=ada, authority_id=found["servers"].pk, order=order)
    for service in ("payments", "orders"):
        order = issuing.order_from_csr(
            csr(names=(x509.UniformResourceIdentifier(f"spiffe://example.org/service/{service}"),)),
            profile="spiffe",
            days=20,
        )
        issuing.issue_certificate(actor=ada, authority_id=found["clients"].pk, order=order)
    acme = _acme(org, found["servers"])
    revoking.revoke_certificate(
        actor=ada, certificate_id=made["revoked"].pk, reason="key_compromise", note="Found in a backup."
    )
    return _met_outside(org) | {
        "acme": acme,
        "authorities": {name: str(row.pk) for name, row in found.items()}, "certificates": {name: str(row.pk) for name, row in made.items()},
    }  # fmt: skip


def _met_outside(org: organisation.Organisation) -> Facts:
    """An endpoint that was scanned twice and does not answer now, an agent's report, and a log with a stranger's certificate."""
    ring = org.rings["platform"]
    above = tls_authority.Authority.root("Public Root").subordinate("Public Servers")
    old, new = (
        above.issue(subject(cn="www.example.org"), [x509.DNSName("www.example.org")], ends=NOW + days * DAY)
        for days in (9, 19)
    )
    ScanRange.objects.create(value="10.20.0.0/16", reason="Servers in Oslo.", created_by="Ada")
    target = ScanTarget.objects.create(
        ring=ring, host="www.example.org", every_hours=24, next_at=timezone.now() + DAY, created_by="Ada", owner=org.people["boris"]
    )  # fmt: skip
    for number, shown in enumerate((old, new)):
        report = Report(
            host=target.host, port=443, address="10.20.0.7", at=timezone.now(), versions=("TLSv1.2", "TLSv1.3"),
            ciphers=("ECDHE-ECDSA-AES128-GCM-SHA256",), suites13=("TLS_AES_256_GCM_SHA384",), groups=("X25519MLKEM768", "X25519"),
            chain=tuple(CertificateFacts.of(item.certificate) for item in (shown, above)), name_matches=True, chain_holds=True,
            version="TLSv1.3", cipher="TLS_AES_256_GCM_SHA384", group="X25519MLKEM768", protocol="h2", staple="good",
            certificates=tuple(item.certificate.public_bytes(Encoding.DER) for item in (shown, above)),
        )  # fmt: skip
        at = timezone.now() - (2 - number) * DAY
        scan = EndpointScan.objects.create(
            target=target, state="running", requested_by="scan schedule", created_at=at, started_at=at
        )
        scanning._keep(scan, report)
    found = [Found("/etc/ssl/www.pem", new.chain_pem.decode())]
    reports.report(actor=org.actor("ada"), ring=ring, host="web-1.oslo.example.org", found=found)
    content = json.loads((Path(__file__).parents[1] / "vectors" / "signed_certificate_timestamps.json").read_text())
    raw = json.dumps(content["log_list"]).encode()
    log_lists.upload_list(
        actor=org.actor("ada"), content=raw, provenance="www.gstatic.com/ct/log_list/v3/log_list.json"
    )
    [row] = inventory.upload(actor=org.actor("ada"), ring=ring, content=content["certificate"].encode()).rows
    monitor = LogMonitor.objects.create(
        ring=ring, name="Example 'Fjord2027' log", url="https://ct.example.net/fjord2027/", public_key=b"k", domains=["example.org"], created_by="Ada",
        begun=True, position=4_711_000, tree_size=4_711_000, tree_head_at=timezone.now(), next_at=timezone.now() + DAY,
    )  # fmt: skip
    for index, known in ((4_710_112, row), (4_710_996, None)):
        LoggedCertificate.objects.create(
            monitor=monitor, index=index, precertificate=known is None, serial="4711", issuer="CN=Some Public CA", names=["shop.example.org"],
            not_after=timezone.now() + 80 * DAY, logged_at=timezone.now(), der=b"-", certificate=known,
        )  # fmt: skip
    return {"endpoint": str(target.pk), "log": str(monitor.pk), "logged": str(row.pk)}


def _renewals(org: organisation.Organisation) -> Facts:
    """Two accounts at ACME CAs, a certificate that is kept alive and delivered, and one whose renewal fails; no CA is asked."""
    ring, soon = org.rings["platform"], timezone.now() + timedelta(days=20)
    ada = org.actor("ada")
    sealed = sealing.seal_value(ada, purpose="ACME account key", plaintext=b"not one", key=stores.sealing_key(ada))
    values = {
        "ring": ring, "directory": "https://acme-v02.api.letsencrypt.org/directory", "contacts": ["pki@example.org"], "account_key": sealed,
        "terms_agreed_by": "Ada", "created_by": "Ada", "thumbprint": "LPJNul-wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ",
    }  # fmt: skip
    source = AcmeSource.objects.create(
        name="lets-encrypt", state="ready", account_url="https://acme-v02.api.letsencrypt.org/acme/acct/1", offers_renewal_info=True,
        checked_at=timezone.now(), terms_url="https://letsencrypt.org/documents/terms.pdf", **values,
    )  # fmt: skip
    refused = AcmeSource.objects.create(
        name="corporate", state="failed", last_error="The CA wants an external account.", **values
    )
    dns = DnsHook.objects.create(
        ring=ring, name="zone", kind="rfc2136", address="10.0.0.53:53", zone="example.org", key_name="portal", key_algorithm="hmac-sha256",
        secret=sealed, created_by="Ada",
    )  # fmt: skip
    made = {}
    for short, ends, failures in (("docs", soon, 0), ("status", timezone.now() + timedelta(days=6), 3)):
        key = creation.create_key(
            actor=org.actor("ada"), ring=ring, name=f"tls-{short}", title=f"TLS key of {short}", kind="transport", algorithm="ECDSA-P256-SHA256",
            parent=org.keys["platform-kek"], exportable=True,
        )  # fmt: skip
        authority = Authority.objects.get(name="servers")
        certificate = issuing.issue_for_key(
            actor=org.actor("ada"), authority_id=authority.pk, key_id=key.pk, profile="server", names=[("dns", f"{short}.example.org")], days=60
        )  # fmt: skip
        row = ManagedCertificate.objects.create(
            ring=ring, source=source, key=key, names=[f"dns:{short}.example.org"], challenge="dns-01", dns_hook=dns, certificate=certificate,
            renew_at=ends, renew_because="Two thirds of its life are over.", failures=failures, created_by="Ada",
            last_error="status.example.org could not be proved: no TXT record found." if failures else "",
        )  # fmt: skip
        version = KeyVersion.objects.get(key=key)
        RenewalOrder.objects.create(
            managed=row, version=version, state="issued", order_url="https://acme-v02.api.letsencrypt.org/acme/order/1/1",
            certificate=certificate, because="Asked for.", finished_at=timezone.now(),
        )  # fmt: skip
        made[short] = (row, certificate, version)
    row, certificate, version = made["docs"]
    hook = DeployHook.objects.create(managed=row, kind="file", place="/srv/tls/docs", with_key=True, created_by="Ada")
    Delivery.objects.create(
        hook=hook, certificate=certificate, version=version, state="delivered", attempts=1, finished_at=timezone.now()
    )
    told = DeployHook.objects.create(
        managed=row, kind="webhook", place="https://balancer.example.org/hook", secret=sealed, created_by="Ada"
    )
    Delivery.objects.create(
        hook=told, certificate=certificate, version=version, state="failed", attempts=12, last_error="The webhook answers 503.",
        finished_at=timezone.now(),
    )  # fmt: skip
    return {
        "renewal": {
            "source": str(source.pk), "refused": str(refused.pk), "managed": str(row.pk), "failing": str(made["status"][0].pk), "hook": str(hook.pk),
        }
    }  # fmt: skip


def _rollover(org: organisation.Organisation) -> Facts:
    """From one servers' authority to the next, where two of three relying parties trust both."""
    ring, old, new = org.rings["platform"], Authority.objects.get(name="servers"), Authority.objects.get(name="clients")
    row = Rollover.objects.create(
        ring=ring, old=old, new=new, state="trust_both", trust_both_at=timezone.now(), reason="Its key is five years old.", created_by="Ada"
    )  # fmt: skip
    assert old.certificate is not None
    assert new.certificate is not None
    both = [old.certificate.fingerprint, new.certificate.fingerprint]
    for name, found, days in (
        ("shop-frontend", both, 0),
        ("ledger", both, 1),
        ("warehouse", both[:1], 2),
        ("kiosk", both, 12),
    ):
        party = RelyingParty.objects.create(
            ring=ring,
            name=name,
            fingerprints=found,
            reported_at=timezone.now() - timedelta(days=days),
            reported_by="trust agent",
        )
    return {"rollover": {"id": str(row.pk), "party": str(party.pk)}}


def _acme(org: organisation.Organisation, authority: Authority) -> Facts:
    """The servers' authority serves ACME: a key for accounts, an account, an order that failed and one that was finished."""
    ada, now = org.actor("ada"), timezone.now()
    rules = serving.Rules(
        profiles=["server"],
        networks=["10.0.0.0/8"],
        resolvers=["10.0.0.53"],
        caa_identities=["ca.example.org"],
        external_account_required=True,
    )
    server = serving.save_server(actor=ada, authority_id=authority.pk, rules=rules)
    key, _ = serving.create_external_key(
        actor=ada, authority_id=authority.pk, label="Web team", owner_id=org.people["boris"].pk
    )
    serving.create_external_key(actor=ada, authority_id=authority.pk, label="Kubernetes, production", once=False)
    account = AcmeAccount.objects.create(
        server=server, jwk={}, thumbprint="Ul2xQhRz7mPqkTzv3cW9yVb0aJdEfGhIjKlMnOpQrSt", contact=["mailto:web@example.org"], external_key=key,
        created_from="10.1.2.3",
    )  # fmt: skip
    made = {}
    for name, state, error in (
        ("intranet", "invalid", "Nothing answers at intranet.example.org, port 80."), ("wiki", "valid", ""), ("chat", "pending", ""),
    ):  # fmt: skip
        order = AcmeOrder.objects.create(
            server=server,
            account=account,
            names=[f"{name}.example.org"],
            profile="server",
            expires_at=now + timedelta(hours=20),
        )
        proved = now if state == "valid" else None
        authorization = AcmeAuthorization.objects.create(
            order=order, name=f"{name}.example.org", state=state, proved_at=proved, expires_at=order.expires_at
        )
        problem = {"type": "urn:ietf:params:acme:error:connection", "detail": error} if error else None
        AcmeChallenge.objects.create(
            authorization=authorization, kind="http-01", token=f"token-{name}", state=state, attempts=4 if error else 1 if proved else 0,
            validated_at=proved, error=problem,
        )  # fmt: skip
        AcmeChallenge.objects.create(authorization=authorization, kind="dns-01", token=f"other-{name}")
        if state == "valid":
            asked = issuing.order_from_csr(csr(names=(x509.DNSName(f"{name}.example.org"),)), profile="server", days=90)
            row = issuing.issue_certificate(actor=ada, authority_id=authority.pk, order=asked)
            order.certificate, order.grant = row, row.grant
        order.state = state
        order.error = problem | {"detail": f"{name}.example.org: {error}"} if problem else None
        order.save()
        made[name] = str(order.pk)
    return {"key": str(key.pk), "account": str(account.pk), "failed": made["intranet"], "done": made["wiki"]}


def _ceremonies(org: organisation.Organisation) -> Facts:
    """A rehearsal that was held, one whose room is open, the real thing planned; and a place for a key to be recovered to."""
    ada = org.actor("ada")
    registration.register_provider(actor=ada, kind="pkcs11", alias="vault-room", title="HSM in the vault room", values={
        "module": MODULE, "token": TOKEN, "pin_source": f"file:{Path(settings.VAR_DIR).parent / 'pin'}", "timeout": "30",
    })  # fmt: skip
    custodians = ("boris", "chen", "emil", "guus", "hedda")
    held = Cast(ada, plan(ada, title="Rehearsal of the escrow"), leader="ada", operator="dana", witness="fay")
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
        "share": share.pk, "link": link.rstrip("/").rsplit("/", 1)[-1],
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
        "waiting": _ask(lambda: rotation.request_rotation(actor=org.actor("ada"), key_id=org.keys["customer-notes"].pk, reason="Yearly rotation.")),
        "half": _ask(lambda: rotation.request_rotation(actor=org.actor("dana"), key_id=org.keys["contracts"].pk, reason="The contracts moved house.")),
        "rejected": _ask(lambda: rotation.request_rotation(actor=org.actor("boris"), key_id=org.keys["backups"].pk, reason="Before the holidays.")),
        "executed": _ask(lambda: rotation.request_decommission(actor=org.actor("ada"), rotation_id=facts["rotations"]["ending"], reason="Census zero.")),
    }  # fmt: skip
    _agree(org, asked["half"], "boris")
    _agree(org, asked["executed"], "boris", "chen")
    approvals.reject(
        actor=org.actor("ada"), request_id=asked["rejected"], reason="Nobody is in the office to look after it."
    )
    _await(lambda: ApprovalRequest.objects.get(pk=asked["executed"]).state == "executed")
    return {name: str(request_id) for name, request_id in asked.items()}


def _ask(act: Callable[[], object]) -> Any:
    try:
        act()
    except ApprovalRequired as waiting:
        return waiting.request_id
    raise RuntimeError("nobody was asked")


def _agree(org: organisation.Organisation, request_id: Any, *names: str) -> None:
    act_hash = ApprovalRequest.objects.get(pk=request_id).act_hash
    for name in names:
        approvals.approve(actor=org.actor(name), request_id=request_id, act_hash=act_hash)


def _await(happened: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > deadline:
            raise RuntimeError("the worker did not do its part")
        time.sleep(0.1)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(int(sys.argv[1]), int(sys.argv[2]))) + "\n")
