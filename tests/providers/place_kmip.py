"""PyKMIP's server as a process of its own, with certificates made here."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from keys.providers.base import KeyHandle
from keys.providers.kmip.library import ProxyKmipClient, enums
from keys.providers.kmip.provider import KmipProvider
from tests.ports import reserved_port
from tests.providers.place import Place

type Pair = tuple[x509.Certificate, rsa.RSAPrivateKey]

CONFIGURATION = """[server]
hostname=127.0.0.1
port={port}
certificate_path={folder}/server.pem
key_path={folder}/server.key
ca_path={folder}/ca.pem
auth_suite=TLS1.2
policy_path={folder}/policies
enable_tls_client_auth=True
logging_level=WARNING
database_path={folder}/kmip.db
"""


def certificate(
    name: str, folder: Path, issuer: Pair | None = None, *, server: bool = False, ahead: timedelta = timedelta(0)
) -> Pair:
    """Write NAME.pem and NAME.key, valid from `ahead` of now for a day; without an issuer it is a CA."""
    key = rsa.generate_private_key(65537, 2048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC) + ahead
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if issuer is None:
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        builder = builder.add_extension(usage, critical=True)
    else:
        purpose = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer[1].public_key())
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        builder = builder.add_extension(authority, critical=False)
    if server:
        names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
        builder = builder.add_extension(names, critical=False)
    made = builder.sign(issuer[1] if issuer else key, SHA256())
    (folder / f"{name}.pem").write_bytes(made.public_bytes(Encoding.PEM))
    (folder / f"{name}.key").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    )
    return made, key


@contextmanager
def server(folder: Path, port: int) -> Iterator["subprocess.Popen[bytes]"]:
    """A running server; its keys outlive it in the folder."""
    (folder / "policies").mkdir(exist_ok=True)
    (folder / "server.conf").write_text(CONFIGURATION.format(folder=folder, port=port))
    command = [
        sys.executable, "-W", "ignore", "-c", "from kmip.services.server.server import main; main()",
        "-f", str(folder / "server.conf"), "-l", str(folder / "server.log"),
    ]  # fmt: skip
    with (folder / "output.log").open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=folder, start_new_session=True)
    try:
        deadline = time.monotonic() + 90
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError((folder / "output.log").read_text()) from None
                time.sleep(0.1)
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # with the processes that it forked to watch its policies
        process.wait()


def _rename(client: ProxyKmipClient, opaque: str) -> None:
    """Modify Attribute (KMIP 1.4, 4.15), which PyKMIP's server allows for names."""
    attribute = client.attribute_factory.create_attribute(enums.AttributeType.NAME, "renamed by a stranger", 0)
    client.modify_attribute(opaque, attribute=attribute)


@contextmanager
def running() -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="keyvault-kmip-") as temporary, socket.socket() as silent:
        folder, port = Path(temporary), reserved_port()
        ca = certificate("ca", folder)
        certificate("server", folder, ca, server=True)
        certificate("portal", folder, ca)
        other = certificate("other-ca", folder)
        certificate("stranger", folder, other)
        silent.bind(("127.0.0.1", 0))
        silent.listen()

        def make(**changed: object) -> KmipProvider:
            values = {
                "host": "127.0.0.1", "port": port, "certificate": str(folder / "portal.pem"),
                "key": str(folder / "portal.key"), "ca": str(folder / "ca.pem"), "timeout": 60,
            } | changed  # fmt: skip
            return KmipProvider(**values)  # type: ignore[arg-type]

        with server(folder, port):
            second, provider = make(), make()
            yield Place(
                "kmip",
                provider,
                make,
                bad_credentials={
                    "certificate": str(folder / "stranger.pem"),
                    "key": str(folder / "stranger.key"),
                },
                dead_address={"port": reserved_port()},
                slow_address=lambda: {"port": silent.getsockname()[1]},
                delete_behind_our_back=lambda opaque: second.destroy(KeyHandle("", opaque)),
                change_metadata=lambda opaque: second._server.call(lambda client: _rename(client, opaque)),
                secrets=[(folder / "portal.key").read_text().split("\n")[1]],
            )
            provider._server.close()
            second._server.close()
