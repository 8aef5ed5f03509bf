"""A hierarchy of authorities for tests: an offline root, one intermediate for servers and one for clients, their lists and answers."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

DAY = timedelta(days=1)
NOW = datetime.now(UTC).replace(microsecond=0)


@dataclass(frozen=True)
class Issued:
    certificate: x509.Certificate
    key: Any
    issuer: "Authority | None" = None

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    @property
    def chain_pem(self) -> bytes:
        """The certificate with its intermediates, without the root."""
        above = self.issuer
        return self.pem + (above.chain_pem if above is not None and above.issuer is not None else b"")


def new_key(kind: str = "ec") -> Any:
    return ec.generate_private_key(ec.SECP256R1()) if kind == "ec" else rsa.generate_private_key(65537, 2048)


def subject(**parts: str) -> x509.Name:
    oids = {"cn": NameOID.COMMON_NAME, "o": NameOID.ORGANIZATION_NAME, "ou": NameOID.ORGANIZATIONAL_UNIT_NAME}
    return x509.Name([x509.NameAttribute(oids[part], text) for part, text in parts.items()])


class Authority(Issued):
    """Issues certificates, lists of revoked ones and OCSP answers."""

    @classmethod
    def root(cls, name: str) -> "Authority":
        key = new_key()
        builder = _builder(subject(cn=name), subject(cn=name), key.public_key(), NOW - DAY, NOW + 30 * DAY)
        return cls(_as_authority(builder, None).sign(key, hashes.SHA256()), key)

    def subordinate(self, name: str) -> "Authority":
        key = new_key()
        builder = _builder(subject(cn=name), self.certificate.subject, key.public_key(), NOW - DAY, NOW + 20 * DAY)
        builder = builder.add_extension(_issued_by(self), critical=False)
        return Authority(_as_authority(builder, 0).sign(self.key, hashes.SHA256()), key, self)

    def issue(
        self,
        name: x509.Name,
        alternatives: list[x509.GeneralName],
        *,
        usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.SERVER_AUTH,
        kind: str = "ec",
        begins: datetime = NOW - DAY,
        ends: datetime = NOW + 18 * DAY,
        responder: str = "",
        key: Any = None,
    ) -> Issued:
        key = key or new_key(kind)
        builder = _builder(name, self.certificate.subject, key.public_key(), begins, ends)
        builder = builder.add_extension(x509.BasicConstraints(False, None), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        builder = builder.add_extension(_issued_by(self), critical=False)
        if responder:
            access = x509.AccessDescription(
                AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(responder)
            )
            builder = builder.add_extension(x509.AuthorityInformationAccess([access]), critical=False)
        return Issued(builder.sign(self.key, hashes.SHA256()), key, self)

    def revocations(self, *revoked: Issued) -> bytes:
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.certificate.subject)
        builder = builder.last_update(NOW - DAY).next_update(NOW + DAY)
        for entry in revoked:
            row = x509.RevokedCertificateBuilder().serial_number(entry.certificate.serial_number)
            builder = builder.add_revoked_certificate(row.revocation_date(NOW - DAY).build())
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def answer(self, leaf: Issued) -> bytes:
        """An OCSP answer (DER) that says good, signed by this authority itself."""
        builder = ocsp.OCSPResponseBuilder().add_response(
            cert=leaf.certificate, issuer=self.certificate, algorithm=hashes.SHA1(), cert_status=ocsp.OCSPCertStatus.GOOD,
            this_update=NOW - timedelta(hours=1), next_update=NOW + DAY, revocation_time=None, revocation_reason=None,
        )  # fmt: skip
        builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, self.certificate)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def _builder(name: x509.Name, issuer: x509.Name, key: Any, begins: datetime, ends: datetime) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _issued_by(authority: Issued) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())


def _as_authority(builder: x509.CertificateBuilder, length: int | None) -> x509.CertificateBuilder:
    usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
    return builder.add_extension(x509.BasicConstraints(True, length), critical=True).add_extension(usage, critical=True)


class Hierarchy:
    """Everything a server and its clients need, as files in one folder."""

    def __init__(self, folder: Path, responder: str = "") -> None:
        self.folder = folder
        self.root = Authority.root("Test root")
        self.servers, self.clients = self.root.subordinate("Test servers"), self.root.subordinate("Test clients")
        self.stranger = Authority.root("Somebody else's root").subordinate("Somebody else's clients")
        names: list[x509.GeneralName] = [x509.DNSName("portal.example"), x509.DNSName("localhost")]
        self.leaves = {
            kind: self.servers.issue(
                subject(cn="portal.example"), names, kind=kind, responder=responder and f"{responder}/{kind}"
            )
            for kind in ("ec", "rsa")
        }
        self.people = {
            "right": self._client("service-payments"), "wrong name": self._client("service-orders"),
            "expired": self._client("service-payments", begins=NOW - 5 * DAY, ends=NOW - DAY), "revoked": self._client("service-payments"),
            "wrong authority": self._client("service-payments", authority=self.stranger),
            # A subject whose organisation tries to read like a common name.
            "disguised": self._client("service-orders", organisation="x,CN=service-payments"),
            "shouted": self._client("service-orders", common_name="SERVICE-PAYMENTS"),
            # A subject without a common name, which must not pass for a client without a certificate.
            "nameless": self._client("service-orders", common_name=""),
        }  # fmt: skip
        self.write("root.pem", self.root.pem)
        self.write("authorities.pem", self.clients.pem + self.root.pem)
        self.write("revoked.pem", self.clients.revocations(self.people["revoked"]) + self.root.revocations())
        self.write("issuers.pem", self.servers.pem + self.root.pem)
        for kind, leaf in self.leaves.items():
            self.write(f"{kind}.pem", leaf.chain_pem)
            self.write(f"{kind}.pem.key", leaf.key_pem)
            self.write(f"{kind}.pem.ocsp", self.servers.answer(leaf))
        for name, person in self.people.items():
            self.write(f"{name}.client.pem", person.chain_pem + person.key_pem)

    def _client(
        self,
        name: str,
        *,
        authority: Authority | None = None,
        organisation: str = "",
        common_name: str | None = None,
        **more: Any,
    ) -> Issued:
        names: list[x509.GeneralName] = [
            x509.DNSName(name), x509.UniformResourceIdentifier(f"spiffe://example.com/service/{name}"),
        ]  # fmt: skip
        parts = {"o": organisation, "cn": name} if organisation else {"cn": name, "o": "ExampleCorp"}
        if common_name is not None:
            parts = {"o": "ExampleCorp"} | ({"cn": common_name} if common_name else {})
        return (authority or self.clients).issue(subject(**parts), names, usage=ExtendedKeyUsageOID.CLIENT_AUTH, **more)

    def write(self, name: str, content: bytes) -> str:
        path = self.folder / name
        path.write_bytes(content)
        return str(path)

    def path(self, name: str) -> str:
        return str(self.folder / name)
