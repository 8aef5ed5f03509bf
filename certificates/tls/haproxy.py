"""Writes a whole file for HAProxy."""

from collections.abc import Iterator

from certificates.tls import comments
from certificates.tls.configuration import ClientCertificates, Configuration
from certificates.tls.suites import HYBRID


def render(asked: Configuration) -> str:
    """The file's text; every path is absolute."""
    asked = asked.with_paths()
    parts = [*comments.lines(comments.head(asked)), "", *_global(asked), "", *_defaults(), "", *_frontend(asked), ""]
    parts += ["backend application", f"    server application {asked.backend}"]
    return "\n".join(parts) + "\n"


def _global(asked: Configuration) -> Iterator[str]:
    rules = asked.rules
    yield "global"
    if rules.ciphers:
        yield "    # For TLS 1.2: forward secrecy and authenticated encryption only."
        yield f"    ssl-default-bind-ciphers {':'.join(rules.ciphers)}"
    if rules.suites13:
        yield f"    ssl-default-bind-ciphersuites {':'.join(rules.suites13)}"
    yield from comments.lines([comments.TICKETS], "    ")
    yield f"    ssl-default-bind-options ssl-min-ver {_version(rules.minimum)} no-tls-tickets prefer-client-ciphers"
    yield "    tune.ssl.lifetime 86400"
    yield "    tune.ssl.cachesize 50000"


def _version(name: str) -> str:
    return name if "." in name else "TLSv1.0"


def _defaults() -> Iterator[str]:
    yield "defaults"
    yield "    mode http"
    yield "    option forwardfor"
    yield "    timeout connect 5s"
    yield "    timeout client 60s"
    yield "    timeout server 60s"
    yield "    timeout http-request 10s  # a client that never finishes its request is let go"


def _frontend(asked: Configuration) -> Iterator[str]:
    yield "frontend https"
    yield "    # HAProxy reads the certificate with its intermediates, and beside it the key (.key behind the name)."
    if asked.stapling:
        yield "    # OCSP stapling: HAProxy 2.6 serves the DER file with .ocsp behind the name, and reads it at the start: you renew it."
        yield "    # HAProxy 2.8 and newer can fetch it (`ocsp-update on`). Without an OCSP address in the certificate there is none."
    if HYBRID in asked.groups:
        yield from comments.lines(
            [comments.HYBRID, "It needs OpenSSL 3.5 (`haproxy -vv`); with 3.0 HAProxy does not start."], "    "
        )
    yield f"    bind {_bind(asked)}"
    yield "    # What a request brings under our names is removed, in every spelling a back end might fold together."
    yield "    http-request del-header ^x[-_]client[-_] -m reg"
    yield "    http-request set-header X-Forwarded-Proto https"
    yield "    http-request del-header X-Forwarded-For  # `option forwardfor` writes the real one"
    if asked.clients:
        yield from _client_headers(asked.clients)
    yield "    # http-after-response: also on the answers that HAProxy gives by itself."
    if asked.hsts:
        yield from comments.lines([comments.HSTS], "    ")
        yield f'    http-after-response set-header Strict-Transport-Security "{asked.hsts}"'
    yield "    http-after-response set-header X-Content-Type-Options nosniff"
    yield "    http-after-response set-header X-Frame-Options DENY"
    yield "    default_backend application"


def _bind(asked: Configuration) -> str:
    address = asked.address or "*"
    words = [f"{f'[{address}]' if ':' in address else address}:{asked.port}", "ssl", "crt", asked.certificate]
    words += ["curves", ":".join(asked.groups)]
    words += ["alpn", "h2,http/1.1" if asked.http2 else "http/1.1"]
    if clients := asked.clients:
        words += ["ca-file", clients.authorities, "verify", "optional" if clients.optional else "required"]
        words += ["crl-file", clients.revocations] if clients.revocations else []
    return " ".join(words)


def _client_headers(clients: ClientCertificates) -> Iterator[str]:
    yield "    # Mutual TLS: `verify` above ends the handshake for a bad certificate. HAProxy has no setting for the depth of a"
    yield f"    # chain; asked for were {clients.depth} intermediates: put only the authorities that you mean into ca-file."
    if clients.revocations:
        yield from comments.lines([comments.REVOCATIONS], "    ")
    if clients.names:
        yield "    # Who may come in, by common name; HAProxy cannot look at subject alternative names."
        yield f"    acl known_client ssl_c_s_dn(cn) -m str {' '.join(clients.names)}"
        unless = "known_client or !{ ssl_c_used }" if clients.optional else "known_client"
        yield f"    http-request deny deny_status 403 unless {unless}"
    for name, sample in (
        ("X-Client-CN", "ssl_c_s_dn(cn)"), ("X-Client-DN", "ssl_c_s_dn(,0,rfc2253)"),
        ("X-Client-Serial", "ssl_c_serial,hex"), ("X-Client-Fingerprint", "ssl_c_sha1,hex"),
    ):  # fmt: skip
        yield f"    http-request set-header {name} %[{sample}] if {{ ssl_c_used }}"
    yield "    http-request set-header X-Client-Verify SUCCESS if { ssl_c_used } { ssl_c_verify 0 }"
    yield "    http-request set-header X-Client-Verify NONE if !{ ssl_c_used }"
