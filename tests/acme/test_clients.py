"""Real ACME clients obtain, renew and revoke over TLS: certbot, lego, acme-tiny and dehydrated, each as its users run it."""

import os
import shutil
import ssl
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from django.db import connection
from django.test.testcases import LiveServerThread, ThreadedWSGIServer, _StaticFilesHandler
from django.utils import timezone

from certificates.acme.services import renewal as renewal_info
from certificates.acme.services import serving
from certificates.models import AcmeAccount, AcmeChallenge, AcmeOrder, Certificate, ChallengeAnswer
from certificates.names import read as named
from certificates.renewal import client, managing, schedule, sources
from certificates.services import revoking
from certificates.services.reading import pem
from keys.crypto.jwk import b64url
from keys.services import stores
from tests.acme.conftest import Acme, Signer, World, serve
from tests.certificates.requests import csr
from tests.keys.conftest import build_tree
from tests.ports import reserved_port
from tests.tls.authority import Authority, subject


@dataclass
class Live:
    """A portal that answers over TLS, and a folder for a client's files."""

    world: World
    origin: str
    trust: Path
    folder: Path

    @property
    def directory(self) -> str:
        return f"{self.origin}/acme/servers/directory"

    @property
    def environment(self) -> dict[str, str]:
        trust = {
            name: str(self.trust)
            for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "LEGO_CA_CERTIFICATES", "CURL_CA_BUNDLE")
        }
        return {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "LC_ALL": "C.UTF-8",
        } | trust

    def run(self, *words: Any, **more: str) -> str:
        """The output of a client's program, which must succeed."""
        done = subprocess.run(
            list(map(str, words)), cwd=self.folder, env=self.environment | more, capture_output=True, text=True, timeout=120, check=False
        )  # fmt: skip
        assert done.returncode == 0, (
            f"{done.stdout}\n{done.stderr}\n{[(row.kind, row.error) for row in AcmeChallenge.objects.all()]}"
        )
        return done.stdout

    def webroot(self) -> Path:
        """A folder that the web server of every name serves as its challenges."""
        folder = self.folder / "challenges"
        folder.mkdir()

        class Pages(dict[str, Any]):
            def get(self, path: str, _default: Any = None) -> Any:
                found = folder / path.rsplit("/", 1)[-1]
                return found.read_bytes() if found.exists() else (404, {}, b"nothing")

        self.world.web.pages = Pages()
        return folder

    def certificate(self, raw: str | bytes, *names: str) -> Certificate:
        """The row of the first certificate in PEM, which names these and chains to our root."""
        chain = x509.load_pem_x509_certificates(raw.encode() if isinstance(raw, str) else raw)
        chain[0].verify_directly_issued_by(chain[1])
        root = x509.load_pem_x509_certificate(pem(self.world.root.certificate).encode())
        chain[-1].verify_directly_issued_by(root)
        row = Certificate.objects.get(serial=f"{chain[0].serial_number:x}")
        assert row.state == "valid"
        assert sorted(row.names) == sorted(":".join(named(name)) for name in names)
        return row


class _TlsServer(ThreadedWSGIServer):
    context: ssl.SSLContext

    def get_request(self) -> Any:
        line, address = super().get_request()
        return self.context.wrap_socket(line, server_side=True, do_handshake_on_connect=False), address


@pytest.fixture
def live(
    transactional_db: None, officer: Any, web: Any, dns_server: Any, settings: Any, tmp_path: Path, request: Any
) -> Any:
    world = serve(build_tree(officer), dns_server, web, None)
    request.getfixturevalue("celery_eager")  # now that the authorities are signed
    world.zone[("www.example.org", "A")] = world.zone[("mail.example.org", "A")] = ["127.0.0.1"]
    trusted = Authority.root("Portal's own root")
    own = trusted.issue(subject(cn="localhost"), [x509.DNSName("localhost")])
    (tmp_path / "trust.pem").write_bytes(trusted.pem)
    (tmp_path / "server.pem").write_bytes(own.pem + own.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    thread = LiveServerThread("127.0.0.1", _StaticFilesHandler)
    thread.server_class = type("TlsServer", (_TlsServer,), {"context": context})
    thread.daemon = True
    thread.start()
    thread.is_ready.wait(60)
    assert thread.error is None
    settings.PORTAL_ORIGIN = f"https://localhost:{thread.port}"
    try:
        yield Live(world, settings.PORTAL_ORIGIN, tmp_path / "trust.pem", tmp_path)
    finally:
        thread.terminate()


def states(*rows: Certificate) -> list[str]:
    return [Certificate.objects.get(pk=row.pk).state for row in rows]


def test_certbot(live: Live):
    """With an external account, by http-01 from its own server; it renews by itself and revokes by its account."""
    port = reserved_port()
    live.world.rules(external_account_required=True, http_port=port, terms_url="https://example.org/terms")
    key = live.world.tree.make("portal", "dek", "AES-256-GCM", live.world.tree.kek)
    stores.register_sealed_values(actor=live.world.tree.officer, key=key)
    row, secret = serving.create_external_key(
        actor=live.world.tree.officer, authority_id=live.world.authority.pk, label="Web"
    )
    places = [word for name in ("config", "work", "logs") for word in (f"--{name}-dir", live.folder / name)]
    usual = ["--non-interactive", "--server", live.directory, *places]
    live.run(
        "certbot", "certonly", *usual, "--standalone", "--http-01-port", port, "--agree-tos", "-m", "ann@example.org", "--no-eff-email",
        "--eab-kid", row.pk, "--eab-hmac-key", secret.reveal().decode(), "-d", "www.example.org", "-d", "mail.example.org",
    )  # fmt: skip
    chain = live.folder / "config" / "live" / "www.example.org" / "fullchain.pem"
    first = live.certificate(chain.read_text(), "www.example.org", "mail.example.org")
    live.run("certbot", "renew", *usual, "--force-renewal", "--no-random-sleep-on-renew")
    second = live.certificate(chain.read_text(), "www.example.org", "mail.example.org")
    assert second.spki_sha256 != first.spki_sha256
    live.run(
        "certbot",
        "revoke",
        *usual,
        "--cert-name",
        "www.example.org",
        "--reason",
        "superseded",
        "--no-delete-after-revoke",
    )
    assert states(first, second) == ["valid", "revoked"]
    account = AcmeAccount.objects.get()
    assert (account.external_key, account.contact) == (row, ["mailto:ann@example.org"])
    # An IP address (RFC 8738), once the authority may certify it.
    authority = live.world.authority
    authority.names |= {"ip": ["127.0.0.0/8"]}
    authority.save(update_fields=["names"])
    live.run("certbot", "certonly", *usual, "--standalone", "--http-01-port", port, "--ip-address", "127.0.0.1")
    live.certificate((live.folder / "config" / "live" / "127.0.0.1" / "fullchain.pem").read_text(), "127.0.0.1")
    live.run("certbot", "unregister", *usual)
    assert AcmeAccount.objects.get().state == "deactivated"


@pytest.mark.needs_lego
def test_lego(live: Live):
    """By tls-alpn-01 from its own server, and a wildcard by dns-01 through a script."""
    port = reserved_port()
    live.world.rules(tls_port=port)
    usual = [
        "lego",
        "--accept-tos",
        "--email",
        "ann@example.org",
        "--server",
        live.directory,
        "--path",
        live.folder / "lego",
    ]
    tls = [*usual, "--tls", "--tls.port", f"127.0.0.1:{port}", "-d", "www.example.org"]
    live.run(*tls, "run")
    chain = live.folder / "lego" / "certificates" / "www.example.org.crt"
    first = live.certificate(chain.read_text(), "www.example.org")
    live.run(*tls, "renew", "--days", "365", "--no-random-sleep")
    second = live.certificate(chain.read_text(), "www.example.org")
    assert first.pk != second.pk
    live.run(*usual, "-d", "www.example.org", "revoke")
    assert states(first, second) == ["valid", "revoked"]
    live.world.zone.file = live.folder / "records"
    script = live.folder / "dns.sh"
    script.write_text(f'#!/bin/sh\n[ "$1" = present ] && echo "$2 $3" >> {live.world.zone.file}\nexit 0\n')
    script.chmod(0o755)
    live.world.zone[("example.org", "SOA")] = ["ns.example.org. admin.example.org. 1 60 60 60 60"]
    wild = [
        *usual,
        "--dns",
        "exec",
        "--dns.disable-cp",
        "--dns.resolvers",
        live.world.server.resolvers[0],
        "-d",
        "*.example.org",
        "-d",
        "example.org",
    ]
    live.run(*wild, "run", EXEC_PATH=str(script), EXEC_SEQUENCE_INTERVAL="1", EXEC_POLLING_INTERVAL="1")
    raw = (live.folder / "lego" / "certificates" / "_.example.org.crt").read_text()
    live.certificate(raw, "*.example.org", "example.org")
    assert set(AcmeChallenge.objects.filter(state="valid").values_list("kind", flat=True)) == {"tls-alpn-01", "dns-01"}


def test_acme_tiny(live: Live):
    """By http-01 from a folder; it knows no revocation, so that is asked for with the certificate's own key."""
    key = rsa.generate_private_key(65537, 2048)
    (live.folder / "account.key").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    )
    own = rsa.generate_private_key(65537, 2048)
    (live.folder / "request.csr").write_bytes(csr("www.example.org", (x509.DNSName("www.example.org"),), key=own))
    words = [
        "acme-tiny", "--account-key", "account.key", "--csr", "request.csr", "--acme-dir", live.webroot(), "--directory-url", live.directory,
        "--disable-check", "--quiet", "--contact", "mailto:ann@example.org",
    ]  # fmt: skip
    first = live.certificate(live.run(*words), "www.example.org")
    second = live.certificate(live.run(*words), "www.example.org")
    assert first.pk != second.pk
    assert AcmeAccount.objects.count() == 1
    holder = Acme(lambda execute: nullcontext(), origin=live.origin, signer=Signer("RS256", own))
    told = holder.post("revoke-cert", {"certificate": b64url(bytes(second.der)), "reason": 5}, jwk=True)
    assert told.status_code == 200, told.content
    assert states(first, second) == ["valid", "revoked"]


def test_the_portals_own_client(live: Live, settings: Any):
    """By http-01 for a name and an address; it revokes once by the certificate's key and once by its account."""
    settings.ACME_ALLOWED_HOSTS = ["127.0.0.0/8", "::1/128"]
    authority, folder, trust = live.world.authority, live.webroot(), live.trust.read_text()
    authority.names |= {"ip": ["127.0.0.0/8"]}
    authority.save(update_fields=["names"])
    account_key, names = client.new_account_key(), [("dns", "www.example.org"), ("ip", "127.0.0.1")]
    with client.opened(live.directory, trust, account_key) as ca:
        account_url = ca.register(["ann@example.org"], None)
    rows = []
    for by_key in (True, False):
        key = ec.generate_private_key(ec.SECP256R1())
        request = csr("", (x509.DNSName("www.example.org"), x509.IPAddress(ip_address("127.0.0.1"))), key=key)
        with client.opened(live.directory, trust, account_key, account_url) as ca:
            url, order = ca.new_order(names, "")
            for address in order.authorizations:
                [challenge] = [item for item in ca.authorization(address).challenges if item.chall.typ == "http-01"]
                token = challenge.chall.encode("token")
                (folder / token).write_text(f"{token}.{client.thumbprint(account_key)}")
                ca.answer(challenge)
            assert ca.order(url).status == client.STATUS_READY
            ca.finalize(order, x509.load_pem_x509_csr(request).public_bytes(Encoding.DER))
            raw = ca.download(ca.order(url))
            rows.append(live.certificate(raw, "www.example.org", "127.0.0.1"))
            leaf = x509.load_pem_x509_certificate(raw.encode())
            if by_key:
                ca.revoke_by_key(
                    leaf, 1, "ECDSA-P256-SHA256", partial(key.sign, signature_algorithm=ec.ECDSA(SHA256()))
                )
            else:
                ca.revoke(leaf, 4)
                ca.revoke(leaf, 4)  # said again it is revoked all the same
    assert [Certificate.objects.get(pk=row.pk).reason for row in rows] == ["key_compromise", "superseded"]


def test_the_portals_own_client_renews_when_our_server_says(live: Live, settings: Any):
    """ARI (RFC 9773) of our server, asked by our client: the window, a revocation that ends it, and what is replaced."""
    settings.ACME_ALLOWED_HOSTS = ["127.0.0.0/8", "::1/128"]
    tree = live.world.tree
    stores.register_sealed_values(actor=tree.officer, key=tree.dek)

    class Pages(dict[str, Any]):
        def get(self, path: str, _default: Any = None) -> Any:
            found = ChallengeAnswer.objects.filter(token=path.rsplit("/", 1)[-1]).first()
            connection.close()
            return found.content.encode() if found is not None else (404, {}, b"nothing")

    live.world.web.pages = Pages()
    source = sources.register_source(
        actor=tree.officer, ring=tree.ring, name="ours", directory=live.directory, contacts=[], agree_to_terms=True,
        ca_bundle=live.trust.read_text(),
    )  # fmt: skip
    sources.complete_registration(source.pk)
    key = tree.make("www", "transport", "ECDSA-P256-SHA256", tree.kek)
    managed = managing.obtain_certificate(
        actor=tree.officer, source_id=source.pk, key_id=key.pk, names=[("dns", "www.example.org")], challenge="http-01", dns_hook_id=None
    )  # fmt: skip
    managed.refresh_from_db()  # its tasks ran at once
    first = managed.certificate
    assert first is not None
    schedule.ask_window(managed.pk)
    managed.refresh_from_db()
    said = renewal_info.window(first)
    assert (managed.window_start, managed.window_end) == (said.start, said.end)
    assert said.start <= managed.renew_at <= said.end
    assert managed.renew_because == "The CA suggests it (RFC 9773)."
    revoking.revoke_certificate(actor=tree.officer, certificate_id=first.pk, reason="superseded")
    schedule.ask_window(managed.pk)
    managed.refresh_from_db()
    assert managed.renew_at <= timezone.now()
    assert schedule.begin_due(managed.pk) is not None
    managed.refresh_from_db()
    assert managed.certificate is not None
    assert managed.certificate != first
    assert AcmeOrder.objects.get(replaces=first).certificate == managed.certificate


@pytest.mark.needs_dehydrated
def test_dehydrated(live: Live):
    """By http-01 from a folder, for a key of P-384; it revokes by its account."""
    (live.folder / "config").write_text(
        f'CA="{live.directory}"\nCHALLENGETYPE="http-01"\nBASEDIR="{live.folder}/data"\nWELLKNOWN="{live.webroot()}"\n'
        'CONTACT_EMAIL="ann@example.org"\nKEY_ALGO="secp384r1"\nKEYSIZE="2048"\n'
    )
    (live.folder / "data").mkdir()
    program = [shutil.which("dehydrated") or "dehydrated", "--config", live.folder / "config"]
    live.run(*program, "--register", "--accept-terms")
    live.run(*program, "--cron", "--domain", "www.example.org")
    chain = live.folder / "data" / "certs" / "www.example.org" / "fullchain.pem"
    first = live.certificate(chain.read_text(), "www.example.org")
    assert first.key_algorithm == "ECDSA secp384r1"
    live.run(*program, "--cron", "--force", "--domain", "www.example.org")
    second = live.certificate(chain.read_text(), "www.example.org")
    live.run(*program, "--revoke", chain.with_name("cert.pem"))
    assert states(first, second) == ["valid", "revoked"]
    assert not AcmeOrder.objects.exclude(state="valid").exists()
