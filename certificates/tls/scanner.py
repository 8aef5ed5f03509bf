"""Scans one live endpoint: what it accepts, message by message, and what one whole handshake shows."""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from ipaddress import ip_address
from itertools import pairwise
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from OpenSSL import SSL

from certificates import encoding
from certificates.tls import flight, hello
from certificates.tls.report import CertificateFacts, Report, names_of
from certificates.tls.suites import CIPHER_NAMES, CIPHERS, GROUPS, TLS13_NUMBERS, VERSIONS
from certificates.tls.wire import Budget, Line, ScanEnded, ask

SECONDS = 20.0
MAXIMUM_HEAD = 65_536
_OLD = [number for number in CIPHERS.values() if number not in TLS13_NUMBERS]
_CURVES = [number for name, number in GROUPS.items() if "MLKEM" not in name and not name.startswith("ffdhe")]


def scan(host: str, port: int, address: str, *, seconds: float = SECONDS) -> Report:
    """Everything one endpoint shows within `seconds`; `address` is where `host` was found, already allowed.

    Raises ScanEnded when it never speaks TLS, OSError when nobody listens.
    """
    budget = Budget.of(seconds)
    name = "" if _is_address(host) else host
    found: dict[str, Any] = {"host": host, "port": port, "address": address, "at": datetime.now(UTC), "timestamps": ()}

    def question(version: int, ciphers: Iterable[int], groups: Iterable[int]) -> hello.Choice | None:
        answer = ask(address, port, hello.client_hello(version, ciphers, groups, name), budget)
        if not isinstance(answer, hello.Choice) or answer.version != version:
            return None
        if answer.timestamps:
            found["timestamps"] = (("tls", answer.timestamps),)
        return answer

    try:
        for key, value in _questions(question):
            found[key] = value
        if "TLSv1.3" in found["versions"] and not found["timestamps"]:
            found["timestamps"] = _encrypted_timestamps(name, Line(address, port, budget))
        if found["versions"]:
            shown = _handshake(host, name, Line(address, port, budget))
            found |= shown | {"timestamps": found["timestamps"] + shown["timestamps"]}
    except (ScanEnded, TimeoutError) as error:
        if not found.get("versions"):
            raise ScanEnded(str(error) or "It does not answer in time.") from None
        found["incomplete"] = str(error) or "It did not answer every question in time."
    return Report(**found)


type _Question = Callable[[int, Iterable[int], Iterable[int]], hello.Choice | None]


def _questions(question: _Question) -> Iterator[tuple[str, tuple[str, ...]]]:
    groups = list(GROUPS.values())
    versions = tuple(
        name for name, number in VERSIONS.items()
        if question(number, sorted(TLS13_NUMBERS) if number == hello.TLS13 else _OLD, groups if number == hello.TLS13 else _CURVES)
    )  # fmt: skip
    yield "versions", versions
    old = [name for name in versions if name != "TLSv1.3"]
    if old:
        yield "ciphers", _in_order(question, VERSIONS[old[-1]], _OLD, _CURVES)
    if "TLSv1.3" in versions:
        yield "suites13", _in_order(question, hello.TLS13, sorted(TLS13_NUMBERS), groups)
        suites: list[int] = sorted(TLS13_NUMBERS)
        yield "groups", tuple(name for name, number in GROUPS.items() if question(hello.TLS13, suites, [number]))


def _in_order(question: _Question, version: int, ciphers: list[int], groups: list[int]) -> tuple[str, ...]:
    """The suites a server takes, in the order in which it takes them from a list that shrinks."""
    left, taken = list(ciphers), []
    while left and (choice := question(version, left, groups)):
        if choice.cipher not in left:
            break
        left.remove(choice.cipher)
        taken.append(CIPHER_NAMES[choice.cipher])
    return tuple(taken)


def _encrypted_timestamps(name: str, line: Line) -> tuple[tuple[str, bytes], ...]:
    with suppress(OSError):
        raw = flight.timestamps(line, name)
        return (("tls", raw),) if raw else ()
    return ()


def _handshake(host: str, name: str, line: Line) -> dict[str, Any]:
    """One handshake by a whole TLS library, with what only it can see, and one request for the headers."""
    found = _speak(name, line)
    chain, staple = found.pop("certificates"), found.pop("answer")
    found["staple"] = _staple(staple, chain)
    found["timestamps"] = _stapled_timestamps(staple)
    with suppress(SSL.Error, OSError):
        found["hsts"] = _speak(name, line, headers_of=host)["hsts"]
    return found | {
        "chain": tuple(CertificateFacts.of(certificate) for certificate in chain),
        "certificates": tuple(certificate.public_bytes(Encoding.DER) for certificate in chain),
        "name_matches": bool(chain) and _matches(host, names_of(chain[0])), "chain_holds": _holds(chain),
    }  # fmt: skip


def _speak(name: str, line: Line, *, headers_of: str = "") -> dict[str, Any]:
    """Shake hands; with a host in `headers_of`, by HTTP/1.1 and with one request."""
    staples: list[bytes] = []

    def keep(_: Any, answer: bytes, __: Any) -> bool:
        staples.append(answer)
        return True

    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_cipher_list(b"ALL:@SECLEVEL=0")  # to look at it, not to trust it
    context.set_ocsp_client_callback(keep)
    context.set_alpn_protos([b"http/1.1"] if headers_of else [b"h2", b"http/1.1"])
    connection = SSL.Connection(context, None)
    if name:
        connection.set_tlsext_host_name(name.encode())
    connection.request_ocsp()
    connection.set_connect_state()
    found: dict[str, Any] = {"certificates": [], "hsts": ""}
    with line:
        with suppress(
            SSL.Error, ConnectionError
        ):  # a server that wants our certificate ends here; what it showed stays
            _pump(connection, line, connection.do_handshake)
        found |= {
            "certificates": connection.get_peer_cert_chain(as_cryptography=True) or [],
            "version": connection.get_protocol_version_name(), "cipher": connection.get_cipher_name() or "",
            "group": connection.get_group_name() or "", "protocol": connection.get_alpn_proto_negotiated().decode("ascii", "replace"),
            "asks_for_certificate": bool(connection.get_client_ca_list()), "answer": staples[0] if staples else b"",
        }  # fmt: skip
        if headers_of:
            found["hsts"] = _hsts(connection, line, headers_of)
    return found


def _pump(connection: SSL.Connection, line: Line, step: Callable[[], Any]) -> Any:
    """Carry one step of the library over the line; raises SSL.Error, OSError and ScanEnded."""
    while True:
        try:
            done = step()
        except SSL.WantReadError:
            _flush(connection, line)
            piece = line.receive()
            if not piece:
                raise ConnectionResetError from None
            connection.bio_write(piece)
        else:
            _flush(connection, line)
            return done


def _flush(connection: SSL.Connection, line: Line) -> None:
    with suppress(SSL.WantReadError):
        while True:
            line.send(connection.bio_read(65_536))


def _hsts(connection: SSL.Connection, line: Line, host: str) -> str:
    shown = (f"[{host}]" if ":" in host else host) + (f":{line.port}" if line.port != 443 else "")
    request = (
        f"GET / HTTP/1.1\r\nHost: {shown}\r\nUser-Agent: KeyVault-Portal-scan\r\nConnection: close\r\n\r\n".encode(
            "ascii"
        )
    )
    _pump(connection, line, lambda: connection.sendall(request))
    received = b""
    while b"\r\n\r\n" not in received and len(received) < MAXIMUM_HEAD:
        received += _pump(connection, line, lambda: connection.recv(4_096))
    head = received.partition(b"\r\n\r\n")[0].decode("latin-1")
    match = re.search(r"^strict-transport-security:[ \t]*([^\r\n]{1,500})", head, re.I | re.M)
    return match[1].strip() if match else ""


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _matches(host: str, names: Iterable[str]) -> bool:
    """RFC 9525, section 6.3: a wildcard stands for the whole leftmost label and nothing else."""
    host = host.lower().rstrip(".")
    wanted = {host} if _is_address(host) else {host, "*." + host.partition(".")[2]}
    return any(name.lower().rstrip(".") in wanted for name in names)


def _holds(chain: list[x509.Certificate]) -> bool:
    """Whether each certificate was really issued by the next one that was sent."""
    try:
        for lower, upper in pairwise(chain):
            lower.verify_directly_issued_by(upper)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return bool(chain)


def _staple(staple: bytes, chain: list[x509.Certificate]) -> str:
    """What the stapled answer is worth (RFC 6960, section 3.2); empty when there is none."""
    if not staple:
        return ""
    try:
        answer = ocsp.load_der_ocsp_response(staple)
        if answer.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            return "the responder refused"
        return _staple_fault(answer, chain) or answer.certificate_status.name.lower()
    except (ValueError, UnsupportedAlgorithm):
        return "unreadable"


def _stapled_timestamps(staple: bytes) -> tuple[tuple[str, bytes], ...]:
    """The list of SCTs in a stapled answer (RFC 6962, section 3.3)."""
    with suppress(ValueError, UnsupportedAlgorithm, x509.ExtensionNotFound):
        extensions = ocsp.load_der_ocsp_response(staple).single_extensions
        found = extensions.get_extension_for_class(x509.SignedCertificateTimestamps).value
        return (("ocsp", encoding.content(found.public_bytes())),)
    return ()


def _staple_fault(answer: ocsp.OCSPResponse, chain: list[x509.Certificate]) -> str:
    now = datetime.now(UTC)
    if not chain or answer.serial_number != chain[0].serial_number:
        return "for another certificate"
    if len(chain) == 1:
        return "the issuer that would prove it is not sent"
    if not _is_signed(answer, chain[1:]):
        return "signed by somebody else"
    if answer.this_update_utc > now or (answer.next_update_utc is not None and answer.next_update_utc < now):
        return "out of date"
    return ""


def _is_signed(answer: ocsp.OCSPResponse, issuers: list[x509.Certificate]) -> bool:
    """By the issuer itself, or by a responder that it certified for this."""
    signer = issuers[0]
    for delegate in answer.certificates:
        with suppress(ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
            delegate.verify_directly_issued_by(issuers[0])
            usage = delegate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
            if x509.oid.ExtendedKeyUsageOID.OCSP_SIGNING in usage:
                signer = delegate
    key, digest = signer.public_key(), answer.signature_hash_algorithm
    try:
        if isinstance(key, rsa.RSAPublicKey) and digest is not None:
            key.verify(answer.signature, answer.tbs_response_bytes, PKCS1v15(), digest)
        elif isinstance(key, ec.EllipticCurvePublicKey) and digest is not None:
            key.verify(answer.signature, answer.tbs_response_bytes, ec.ECDSA(digest))
        elif isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
            key.verify(answer.signature, answer.tbs_response_bytes)
        else:
            return False
    except InvalidSignature:
        return False
    return True
