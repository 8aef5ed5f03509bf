"""What a person asks a generator for, checked so that no value can leave its place in the written file."""

import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Self

from certificates.tls.profiles import PROFILES, Profile, ProfileName, ServerKind, groups_of, profile_of
from keyvault_portal.errors import ValidationFailed

_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
HOST_NAME = re.compile(rf"(\*\.)?({_LABEL}\.)*{_LABEL}")
PLAIN_PATH = re.compile(r"/[A-Za-z0-9._/+@-]{1,250}")
# A common name, a DNS name or a SPIFFE ID: nothing that any of the three languages reads as syntax.
CLIENT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,250}")
MAXIMUM_NAMES = 100


def is_host_name(text: str, *, wildcard: bool = False) -> bool:
    """Whether a text is a DNS host name in lower case, with a leading `*.` only where it is wanted."""
    return bool(len(text) <= 253 and HOST_NAME.fullmatch(text) and (wildcard or not text.startswith("*.")))


def is_address(text: str) -> bool:
    try:
        return bool(ipaddress.ip_address(text)) and "%" not in text
    except ValueError:
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCertificates:
    """Mutual TLS: `authorities` and `revocations` are PEM files (of every authority in the chain), `names` who may come in.

    `depth` is how many intermediates may stand between the client's certificate and a trusted root. No `names` lets in
    whoever the authorities certified.
    """

    authorities: str
    revocations: str = ""
    depth: int = 2
    optional: bool = False
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """One server in front of one back end; raises ValidationFailed, by field, for what cannot be written safely.

    `address` empty listens on all; `chain` holds the issuers that answer for a staple; `staple` is a DER file with the
    OCSP answer where the server does not fetch it itself. `post_quantum` None means as the profile and server allow.
    """

    server: ServerKind
    profile: ProfileName
    names: tuple[str, ...] = ("example.com",)
    address: str = ""
    port: int = 443
    certificate: str = ""
    key: str = ""
    chain: str = ""
    backend: str = "127.0.0.1:8080"
    clients: ClientCertificates | None = None
    stapling: bool = True
    staple: str = ""
    resolvers: tuple[str, ...] = ("1.1.1.1", "8.8.8.8")
    hsts_seconds: int = 63_072_000
    hsts_subdomains: bool = True
    hsts_preload: bool = True
    http2: bool = True
    post_quantum: bool | None = None

    def __post_init__(self) -> None:
        errors: dict[str, list[str]] = {}
        for field, message in self._faults():
            errors.setdefault(field, []).append(message)
        if errors:
            raise ValidationFailed("The configuration cannot be written.", errors=errors)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """From flat values, where those about clients begin with `client_`; raises ValidationFailed."""
        own = {field.name for field in fields(cls)} - {"clients"}
        about = {name.removeprefix("client_"): value for name, value in values.items() if name.startswith("client_")}
        if about.get("authorities"):
            clients = ClientCertificates(**about | {"names": tuple(about.get("names", ()))})
        elif about.get("revocations") or about.get("names"):
            message = "Mutual TLS needs the file of the authorities that certify clients."
            raise ValidationFailed(message, errors={"client_authorities": [message]})
        else:
            clients = None
        kept: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items() if name in own
        }
        kept |= {"server": ServerKind(kept["server"]), "profile": ProfileName(kept["profile"])}
        return cls(**kept, clients=clients)

    @property
    def rules(self) -> Profile:
        return profile_of(self.profile, self.server)

    @property
    def hybrid(self) -> bool:
        """Whether X25519MLKEM768 is written. HAProxy only when asked: with OpenSSL before 3.5 it would not start."""
        if self.post_quantum is not None:
            return self.post_quantum
        return self.rules.hybrid and self.server is not ServerKind.HAPROXY

    @property
    def groups(self) -> tuple[str, ...]:
        return groups_of(self.rules, post_quantum=self.hybrid)

    @property
    def hsts(self) -> str:
        """The value of Strict-Transport-Security (RFC 6797), empty when it is not sent."""
        if not self.hsts_seconds:
            return ""
        parts = [f"max-age={self.hsts_seconds}"]
        parts += ["includeSubDomains"] if self.hsts_subdomains else []
        parts += ["preload"] if self.hsts_preload else []
        return "; ".join(parts)

    @property
    def backend_host(self) -> str:
        return self.backend.rpartition(":")[0].strip("[]")

    @property
    def backend_port(self) -> int:
        return int(self.backend.rpartition(":")[2])

    def with_paths(self) -> Self:
        """The same with every path that was left out in the server's usual place."""
        name = self.names[0].removeprefix("*.")
        folder = f"/etc/{self.server.value}/ssl"
        if self.server is ServerKind.HAPROXY:
            certificate = self.certificate or f"{folder}/{name}.pem"
            key = self.key or f"{certificate}.key"
            staple = self.staple or (f"{certificate}.ocsp" if self.stapling else "")
        else:
            certificate = self.certificate or f"{folder}/{name}.fullchain.pem"
            key = self.key or f"{folder}/{name}.privkey.pem"
            fetched = self.server is ServerKind.NGINX or not self.stapling
            staple = self.staple or ("" if fetched else f"{folder}/{name}.ocsp.der")
        return replace(
            self, certificate=certificate, key=key, staple=staple, chain=self.chain or f"{folder}/{name}.chain.pem"
        )

    def _faults(self) -> Iterator[tuple[str, str]]:
        yield from self._place_faults()
        for field in ("certificate", "key", "chain", "staple"):
            yield from _path_faults(field, getattr(self, field))
        if self.server is ServerKind.HAPROXY:
            yield from self._haproxy_faults()
        for resolver in self.resolvers:
            if not is_address(resolver):
                yield "resolvers", f"{resolver!r} is not an IP address."
        if not 0 <= self.hsts_seconds <= 10 * 31_536_000:
            yield "hsts_seconds", "Between 0 (off) and ten years."
        if self.post_quantum and self.profile is ProfileName.SEED:
            yield "post_quantum", "The reference profile is written exactly; take modern or intermediate."
        if self.clients is not None:
            yield from _client_faults(self.clients)
            if self.server is ServerKind.ENVOY and self.clients.optional and self.clients.names:
                yield (
                    "client_names",
                    "Envoy asks everybody for a certificate once names are given; leave one of the two out.",
                )

    def _place_faults(self) -> Iterator[tuple[str, str]]:
        """Names, and where the server and its back end listen."""
        if not 1 <= len(self.names) <= MAXIMUM_NAMES:
            yield "names", f"Between 1 and {MAXIMUM_NAMES} host names."
        for name in self.names:
            if not is_host_name(name, wildcard=True):
                yield "names", f"{name!r} is not a host name in lower case, such as example.com or *.example.com."
        if self.address and not is_address(self.address):
            yield "address", "Write an IP address, or leave it empty to listen on all."
        if not 1 <= self.port <= 65_535:
            yield "port", "A port is between 1 and 65535."
        host, _, port = self.backend.rpartition(":")
        if not (is_host_name(host) or is_address(host.strip("[]"))) or not _is_port(port):
            yield "backend", "Write host:port, such as 127.0.0.1:8080 or [::1]:8080."

    def _haproxy_faults(self) -> Iterator[tuple[str, str]]:
        """HAProxy finds a key and a staple by the certificate's name."""
        if self.key and self.key != f"{self.certificate}.key":
            yield "key", "HAProxy reads the key from the certificate's path with .key behind it."
        if self.staple and self.staple != f"{self.certificate}.ocsp":
            yield "staple", "HAProxy reads the staple from the certificate's path with .ocsp behind it."


def _path_faults(field: str, path: str) -> Iterator[tuple[str, str]]:
    if path and (not PLAIN_PATH.fullmatch(path) or ".." in path.split("/")):
        yield field, "Write an absolute path of letters, digits and . _ / + @ -."


def _client_faults(clients: ClientCertificates) -> Iterator[tuple[str, str]]:
    if not clients.authorities:
        yield "client_authorities", "Mutual TLS needs the file of the authorities that certify clients."
    yield from _path_faults("client_authorities", clients.authorities)
    yield from _path_faults("client_revocations", clients.revocations)
    if not 0 <= clients.depth <= 10:
        yield "client_depth", "The depth is between 0 and 10."
    if len(clients.names) > MAXIMUM_NAMES:
        yield "client_names", f"At most {MAXIMUM_NAMES} names."
    for name in clients.names:
        if not CLIENT_NAME.fullmatch(name):
            yield "client_names", f"{name!r} is no name of a client: letters, digits and . _ : / @ - only."


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 1 <= int(text) <= 65_535


assert PROFILES.keys() == set(ProfileName)
