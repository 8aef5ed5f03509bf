"""Certificates in every state for the browser: authorities, endpoints, renewals, a rollover, ACME. Imported once Django is set up."""

import json
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from django.utils import timezone

from certificates.acme.services import serving
from certificates.models import (
    AcmeAccount,
    AcmeAuthorization,
    AcmeChallenge,
    AcmeOrder,
    AcmeSource,
    Authority,
    CaRevocation,
    Certificate,
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
from certificates.services import (
    authorities,
    inventory,
    issuing,
    log_lists,
    reports,
    revoking,
    scanning,
)
from certificates.services.reports import Found
from certificates.tls.report import CertificateFacts, Report
from keys.demo import organisation
from keys.models import KeyVersion
from keys.services import creation, sealing, stores
from keyvault_portal.accounts.models import KeyRing
from tests.browser.seeding import Facts, agree, ask, wait_until
from tests.certificates.requests import csr
from tests.tls import authority as tls_authority
from tests.tls.authority import DAY, NOW, subject


def certificates(org: organisation.Organisation) -> Facts:
    """All of them; returns the names by which tests find them."""
    return _certificates(org) | _renewals(org) | _rollover(org)


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
        asked = ask(
            lambda plan=plan: authorities.create_authority(
                actor=ada, plan=plan, reason="Certificates of our own for services."
            )
        )
        agree(org, asked, "boris", "chen")
        wait_until(lambda name=name: Authority.objects.filter(name=name, state="active").exists())
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
    asked = _asked_to_revoke(ring, *made["status"][::2])
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
            "asked": str(asked.pk),
        }
    }  # fmt: skip


def _asked_to_revoke(ring: KeyRing, managed: ManagedCertificate, version: KeyVersion) -> Certificate:
    """An older certificate of an outside CA, which refused to revoke it."""
    issued = tls_authority.Authority.root("Public CA").issue(
        subject(cn="status.example.org"), [x509.DNSName("status.example.org")]
    )
    raw = issued.certificate.public_bytes(Encoding.DER)
    [row] = inventory.take_in(ring.pk, [raw], Certificate.Source.ACME, "Ada").added
    RenewalOrder.objects.create(
        managed=managed, version=version, state="issued", order_url="https://acme-v02.api.letsencrypt.org/acme/order/1/2",
        certificate=row, because="Asked for.", created_at=timezone.now() - timedelta(days=50), finished_at=timezone.now() - timedelta(days=50),
    )  # fmt: skip
    CaRevocation.objects.create(
        certificate=row, reason="key_compromise", requested_by="Ada", state="failed", attempts=1, finished_at=timezone.now(),
        last_error="The account is not allowed to revoke this certificate.",
    )  # fmt: skip
    return row


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
