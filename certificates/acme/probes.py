"""Proofs of control, looked for where the protocol says and nowhere else (RFC 8555, 8.3 and 8.4; RFC 8737).

Every connection goes to an address that was checked after its name was looked up; nothing that a stranger's server says is
ever quoted, so that no answer from inside a network reaches a client.
"""

import http.client
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest
from ipaddress import ip_address
from time import monotonic
from urllib.parse import urljoin, urlsplit

from cryptography import x509

from certificates.acme.errors import AcmeError
from certificates.acme.lookup import Lookup
from certificates.acme.states import ChallengeType
from certificates.names import from_general_names
from certificates.names import read as named
from keys.crypto.jwk import b64url
from keys.hosts import HostRefused, HostRule

SECONDS = 10.0
MAX_BODY = 4096
MAX_REDIRECTS = 5
MAX_ADDRESSES = 4
ALPN = "acme-tls/1"
_ACME_IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")
_OCTETS_32 = b"\x04\x20"
_TOKEN = re.compile(r"[A-Za-z0-9_-]{22,128}")


@dataclass(frozen=True, slots=True)
class Prober:
    """How one ACME server looks for proofs: by these resolvers, at addresses of this rule, on these ports."""

    lookup: Lookup
    rule: HostRule
    http_port: int = 80
    tls_port: int = 443
    seconds: float = SECONDS

    def prove(self, kind: str, host: str, token: str, thumbprint: str) -> None:
        """Return if the proof is there; raises AcmeError saying what was found instead."""
        assert _TOKEN.fullmatch(token)
        authorization = f"{token}.{thumbprint}"
        match ChallengeType(kind):
            case ChallengeType.HTTP:
                self._http(host, token, authorization)
            case ChallengeType.DNS:
                self._dns(host, authorization)
            case ChallengeType.TLS_ALPN:
                self._tls_alpn(host, authorization)

    def _dns(self, host: str, authorization: str) -> None:
        wanted = b64url(sha256(authorization.encode()).digest()).encode()
        found = self.lookup.texts(f"_acme-challenge.{host}")
        if not any(compare_digest(text, wanted) for text in found):
            said = "holds other values" if found else "does not exist"
            raise AcmeError("unauthorized" if found else "dns", f"The TXT record _acme-challenge.{host} {said}.")

    def _http(self, host: str, token: str, authorization: str) -> None:
        shown = f"[{host}]" if ":" in host else host
        url = f"http://{shown}:{self.http_port}/.well-known/acme-challenge/{token}"
        until = monotonic() + self.seconds
        for _ in range(MAX_REDIRECTS + 1):
            status, location, body = self._get(url, until)
            if status not in {301, 302, 303, 307, 308}:
                break
            url = self._next(url, location)
        else:
            raise AcmeError("connection", f"More than {MAX_REDIRECTS} redirects.")
        if status != 200:
            raise AcmeError("unauthorized", f"The answer has the status {status}, not 200.")
        if len(body) > MAX_BODY or not compare_digest(body.rstrip(b" \t\r\n"), authorization.encode()):
            raise AcmeError("incorrectResponse", "The answer is not the key authorization of this challenge.")

    def _next(self, url: str, location: str) -> str:
        """Where a redirect leads; only to names, only by HTTP and HTTPS on their own ports (RFC 8555, 8.3)."""
        try:
            target = urlsplit(urljoin(url, location))
            port = target.port or (443 if target.scheme == "https" else 80)
        except ValueError:
            raise AcmeError("connection", "The redirect cannot be read.") from None
        named = target.hostname and not _is_address(target.hostname) and target.username is None
        allowed = (target.scheme == "http" and port in {80, self.http_port}) or (target.scheme, port) == ("https", 443)
        if not named or not allowed:
            raise AcmeError("rejectedIdentifier", "The redirect leads to no name on port 80 or 443.")
        return target.geturl()

    def _get(self, url: str, until: float) -> tuple[int, str, bytes]:
        parts = urlsplit(url)
        host, secure = parts.hostname or "", parts.scheme == "https"
        port = parts.port or (443 if secure else 80)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        with self._line(host, port, until) as line:
            connection = http.client.HTTPConnection(host, port)
            try:
                # The proof is in the answer: a certificate that could be checked is what the client came for.
                connection.sock = _unchecked().wrap_socket(line, server_hostname=host) if secure else line
                connection.request("GET", path, headers={"User-Agent": "keyvault-portal", "Accept": "*/*", "Connection": "close"})  # fmt: skip
                answer = connection.getresponse()
                body = answer.read(MAX_BODY + 1)
                if monotonic() >= until:
                    raise TimeoutError  # it was cut: what came is not all
                return answer.status, answer.getheader("Location") or "", body
            except http.client.RemoteDisconnected:
                raise
            except (http.client.HTTPException, ValueError):
                raise AcmeError("connection", f"{host} does not speak HTTP on port {port}.") from None
            finally:
                connection.close()

    def _tls_alpn(self, host: str, authorization: str) -> None:
        context = _unchecked()
        context.set_alpn_protocols([ALPN])
        with self._line(host, self.tls_port, monotonic() + self.seconds) as line:
            try:
                # An address is asked for by its name in the reverse tree (RFC 8738, 6).
                asked = ip_address(host).reverse_pointer if _is_address(host) else host
                with context.wrap_socket(line, server_hostname=asked) as secured:
                    protocol, raw = secured.selected_alpn_protocol(), secured.getpeercert(binary_form=True)
            except ssl.SSLError:
                raise AcmeError("tls", f"The TLS handshake with {host} failed.") from None
        if protocol != ALPN:
            raise AcmeError("tls", f"{host} does not answer by the protocol {ALPN}.")
        if not _proves(raw or b"", host, sha256(authorization.encode()).digest()):
            raise AcmeError("unauthorized", f"The certificate of {host} is not the one for this challenge.")

    @contextmanager
    def _line(self, host: str, port: int, until: float) -> Iterator[socket.socket]:
        """A connection to `host` that is cut when the time is over, however slowly the other side goes on."""
        line = self._connect(host, port, until)
        other_end = line.dup()  # TLS takes the first handle away
        cut = threading.Timer(max(0.01, until - monotonic()), _cut, [other_end])
        cut.daemon = True
        cut.start()
        try:
            yield line
        except OSError as error:
            late = monotonic() >= until
            said = "does not answer in time" if late or isinstance(error, TimeoutError) else "ends the connection"
            raise AcmeError("connection", f"{host} {said} on port {port}.") from None
        finally:
            cut.cancel()
            other_end.close()
            line.close()

    def _connect(self, host: str, port: int, until: float) -> socket.socket:
        addresses = [host] if _is_address(host) else self.lookup.addresses(host)
        try:
            for address in addresses:  # all of them: one that is allowed does not excuse one that is not
                self.rule.check_address(host, ip_address(address))
        except HostRefused:
            raise AcmeError(
                "rejectedIdentifier", f"The name {host} leads to an address where this server looks for no proof."
            ) from None
        for address in addresses[:MAX_ADDRESSES]:
            with suppress(OSError):
                return socket.create_connection((address, port), timeout=max(0.01, min(5.0, until - monotonic())))
        raise AcmeError("connection", f"Nothing answers at {host}, port {port}.")


def _cut(line: socket.socket) -> None:
    with suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)


def _unchecked() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _is_address(host: str) -> bool:
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def _proves(raw: bytes, host: str, digest: bytes) -> bool:
    """Whether a certificate names the host alone and holds the digest in its critical extension (RFC 8737, 3)."""
    try:
        extensions = x509.load_der_x509_certificate(raw).extensions
        names = list(extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
        found = extensions.get_extension_for_oid(_ACME_IDENTIFIER)
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension):
        return False
    if not found.critical or not isinstance(found.value, x509.UnrecognizedExtension):
        return False
    if len(names) != 1 or from_general_names(names)[0] != [named(host)]:
        return False
    return compare_digest(found.value.value, _OCTETS_32 + digest)
