"""The sentences that every generated file explains itself with."""

from collections.abc import Iterable, Iterator

from certificates.tls.configuration import Configuration
from certificates.tls.profiles import ServerKind
from certificates.tls.suites import TLS13_SUITES

# What a back end is told about the client; a request that brings one of these loses it.
CLIENT_HEADERS = (
    "X-Client-CN", "X-Client-DN", "X-Client-Serial", "X-Client-Verify", "X-Client-Fingerprint", "X-Client-URI", "X-Client-DNS",
)  # fmt: skip

_TLS13 = {
    ServerKind.NGINX: "nginx hands them to OpenSSL with ssl_conf_command Ciphersuites (since nginx 1.19.4); ssl_ciphers never touches them.",
    ServerKind.ENVOY: "Envoy's BoringSSL offers the first three, always, and cannot be told otherwise; cipher_suites is for TLS 1.2 only.",
    ServerKind.HAPROXY: "HAProxy chooses among them with ciphersuites; ciphers is for TLS 1.2 and older.",
}


def head(asked: Configuration) -> Iterator[str]:
    """The first lines: what this is, and what the five suites of TLS 1.3 are here."""
    yield f"{asked.server.label}, profile {asked.profile.value}, for {', '.join(asked.names)}."
    if asked.server is ServerKind.NGINX:
        yield "Include it inside http { }. Needs nginx 1.25.1 or newer for `http2 on`; check it with `nginx -t`."
    elif asked.server is ServerKind.ENVOY:
        yield "A whole bootstrap file; check it with `envoy --mode validate -c FILE`."
    else:
        yield "A whole file for HAProxy 2.6 or newer; check it with `haproxy -c -f FILE`."
    yield ""
    yield "TLS 1.3 knows five suites (RFC 8446, appendix B.4):"
    for suite in TLS13_SUITES:
        yield f"  {suite.name}: {suite.encryption}, {suite.hash}; {suite.standing}"
    yield _TLS13[asked.server]


REVOCATIONS = (
    "A list (CRL) of every authority in the chain, one after the other: a missing or old one refuses everybody. "
    "For an authority of the portal this is /pki/NAME/crls.pem: fetch it by a timer, and reload."
)
HSTS = "Browsers come back by HTTPS only (RFC 6797). Preload is hard to undo: be sure of every sub-domain first."
TICKETS = "No session tickets: a ticket key that leaks opens old sessions, so resumption is by the server's memory."
HYBRID = "X25519MLKEM768 joins X25519 and ML-KEM (FIPS 203): what is recorded today stays closed to a later quantum computer."


def lines(texts: Iterable[str], indent: str = "", mark: str = "#") -> list[str]:
    """Sentences as lines of comment."""
    return [f"{indent}{mark} {text}".rstrip() for text in texts]
