"""Writes the server for nginx, to be included inside `http { }`."""

from collections.abc import Iterator

from certificates.tls import comments
from certificates.tls.configuration import ClientCertificates, Configuration

_GROUPS = {"P-256": "secp256r1", "P-384": "secp384r1", "P-521": "secp521r1"}
# RFC 2253 text: the name is what follows CN= where a part begins; a comma inside a value stands behind a backslash.
_COMMON_NAME = r'"~(?:^|(?<!\\\\)[,+])CN=(?<keyvault_cn>(?:[^,+\\\\]|\\\\.)+)"'


def render(asked: Configuration) -> str:
    """The file's text; every path is absolute."""
    asked = asked.with_paths()
    parts = [*comments.lines(comments.head(asked)), "", *_client_maps(asked.clients), *_server(asked)]
    return "\n".join(parts) + "\n"


def group_name(group: str, asked: Configuration) -> str:
    """The group as ssl_ecdh_curve writes it."""
    if asked.hybrid and group not in asked.rules.groups:
        return f"?{group}"
    return _GROUPS.get(group, group)


def _client_maps(clients: ClientCertificates | None) -> Iterator[str]:
    if clients is None:
        return
    yield "# nginx has the client's whole subject, and no variable for its common name alone."
    yield "map $ssl_client_s_dn $keyvault_client_cn {"
    yield '    default "";'
    yield f"    {_COMMON_NAME} $keyvault_cn;"
    yield "}"
    if clients.names:
        yield "# Who may come in, by common name; nginx cannot look at subject alternative names."
        yield "# Patterns, because nginx compares other text without regard to upper and lower case."
        yield 'map "$ssl_client_verify $keyvault_client_cn" $keyvault_client_allowed {'
        yield "    default 0;"
        if clients.optional:
            yield '    "NONE " 1;  # without a certificate: the back end sees X-Client-Verify NONE'
        yield from (f'    "~^SUCCESS {name.replace(".", r"\.")}$" 1;' for name in clients.names)
        yield "}"
    yield ""


def _server(asked: Configuration) -> Iterator[str]:
    rules = asked.rules
    yield "server {"
    yield f"    listen {_listen(asked)} ssl;"
    if asked.http2:
        yield "    http2 on;  # `listen ... http2` of older examples is deprecated since nginx 1.25.1; ALPN follows from it"
    yield f"    server_name {' '.join(asked.names)};"
    yield "    server_tokens off;"
    yield ""
    yield "    # The certificate with its intermediates, leaf first, and its private key."
    yield f"    ssl_certificate     {asked.certificate};"
    yield f"    ssl_certificate_key {asked.key};"
    yield ""
    yield f"    ssl_protocols {' '.join(rules.versions)};"
    if rules.ciphers:
        yield "    # For TLS 1.2: forward secrecy and authenticated encryption only."
        yield f"    ssl_ciphers {':'.join(rules.ciphers)};"
    if rules.suites13:
        yield f"    ssl_conf_command Ciphersuites {':'.join(rules.suites13)};"
    yield "    ssl_prefer_server_ciphers off;  # all are good: a phone without AES hardware takes ChaCha20"
    yield from _groups(asked)
    yield ""
    yield from comments.lines([comments.TICKETS], "    ")
    yield "    ssl_session_timeout 1d;"
    yield "    ssl_session_cache shared:SSL:10m;"
    yield "    ssl_session_tickets off;"
    if asked.stapling:
        yield ""
        yield from _stapling(asked)
    if asked.clients:
        yield ""
        yield from _mutual(asked.clients)
    yield ""
    yield from _headers(asked)
    yield ""
    yield from _location(asked)
    yield "}"


def _listen(asked: Configuration) -> str:
    if not asked.address:
        return str(asked.port)
    address = f"[{asked.address}]" if ":" in asked.address else asked.address
    return f"{address}:{asked.port}"


def _groups(asked: Configuration) -> Iterator[str]:
    if asked.hybrid:
        yield from comments.lines(
            [
                comments.HYBRID,
                "It needs OpenSSL 3.5 (`nginx -V`); the ? lets OpenSSL 3.3 and 3.4 pass over it. Delete it for older ones.",
            ],
            "    ",
        )
    yield f"    ssl_ecdh_curve {':'.join(group_name(group, asked) for group in asked.groups)};"


def _stapling(asked: Configuration) -> Iterator[str]:
    yield "    # OCSP stapling. A certificate without an OCSP address (Let's Encrypt since 2025) has none: nginx then warns and goes on."
    yield "    ssl_stapling on;"
    yield "    ssl_stapling_verify on;"
    yield f"    ssl_trusted_certificate {asked.chain};"
    if asked.staple:
        yield f"    ssl_stapling_file {asked.staple};  # you renew this file and reload; nginx asks nobody"
    elif asked.resolvers:
        resolvers = " ".join(f"[{address}]" if ":" in address else address for address in asked.resolvers)
        yield f"    resolver {resolvers} valid=300s;"
        yield "    resolver_timeout 5s;"


def _mutual(clients: ClientCertificates) -> Iterator[str]:
    yield "    # Mutual TLS. nginx answers a bad or missing certificate with status 400, inside TLS."
    yield f"    ssl_client_certificate {clients.authorities};"
    yield f"    ssl_verify_client {'optional' if clients.optional else 'on'};"
    yield f"    ssl_verify_depth {clients.depth};  # so many intermediates; OpenSSL does not count the root"
    if clients.revocations:
        yield from comments.lines([comments.REVOCATIONS], "    ")
        yield f"    ssl_crl {clients.revocations};"
    if clients.names:
        yield "    if ($keyvault_client_allowed = 0) {"
        yield "        return 403;"
        yield "    }"


def _headers(asked: Configuration) -> Iterator[str]:
    if asked.hsts:
        yield from comments.lines([comments.HSTS], "    ")
        yield f'    add_header Strict-Transport-Security "{asked.hsts}" always;'
    yield '    add_header X-Content-Type-Options "nosniff" always;'
    yield '    add_header X-Frame-Options "DENY" always;'


def _location(asked: Configuration) -> Iterator[str]:
    values = dict.fromkeys(comments.CLIENT_HEADERS, '""')
    if asked.clients:
        values |= {
            "X-Client-CN": "$keyvault_client_cn", "X-Client-DN": "$ssl_client_s_dn", "X-Client-Serial": "$ssl_client_serial",
            "X-Client-Verify": "$ssl_client_verify", "X-Client-Fingerprint": "$ssl_client_fingerprint",
        }  # fmt: skip
    yield "    location / {"
    yield "        # These are ours: whatever a request brings under these names is replaced or removed. nginx drops names"
    yield "        # with underscores by itself; it cannot remove by pattern, so the back end must trust no other X-Client- name."
    for name, value in values.items():
        yield f"        proxy_set_header {name} {value};"
    yield "        proxy_set_header Host $host;"
    yield "        proxy_set_header X-Forwarded-For $remote_addr;"
    yield "        proxy_set_header X-Forwarded-Proto https;"
    yield f"        proxy_pass http://{asked.backend};"
    yield "    }"
