"""Writes a whole bootstrap file for Envoy."""

import json
from collections.abc import Iterator

from certificates.tls import comments
from certificates.tls.configuration import ClientCertificates, Configuration
from certificates.tls.suites import VERSIONS

_VERSIONS = {name: name.replace(".", "_") if "." in name else "TLSv1_0" for name in VERSIONS}
_TYPE = "type.googleapis.com/envoy.extensions"
_VALUES = {
    "X-Client-DN": "%DOWNSTREAM_PEER_SUBJECT%",
    "X-Client-Serial": "%DOWNSTREAM_PEER_SERIAL%",
    "X-Client-Fingerprint": "%DOWNSTREAM_PEER_FINGERPRINT_256%",
    "X-Client-URI": "%DOWNSTREAM_PEER_URI_SAN%",
    "X-Client-DNS": "%DOWNSTREAM_PEER_DNS_SAN%",
}


def render(asked: Configuration) -> str:
    """The file's text; every path is absolute."""
    asked = asked.with_paths()
    parts = [*comments.lines(comments.head(asked)), "", *_listener(asked), *_cluster(asked)]
    return "\n".join(parts) + "\n"


def _listener(asked: Configuration) -> Iterator[str]:
    yield from (
        "static_resources:",
        "  listeners:",
        "    - name: https_listener",
        "      address:",
        f'        socket_address: {{ address: "{asked.address or "0.0.0.0"}", port_value: {asked.port} }}',  # noqa: S104  the listener's own
        "      filter_chains:",
        "        - transport_socket:",
        "            name: envoy.transport_sockets.tls",
        "            typed_config:",
        f'              "@type": {_TYPE}.transport_sockets.tls.v3.DownstreamTlsContext',
        "              common_tls_context:",
    )
    yield from _indented(_common(asked), 16)
    yield from _indented(_context(asked), 14)
    yield "          filters:"
    yield from _indented(_http(asked), 12)


def _common(asked: Configuration) -> Iterator[str]:
    rules = asked.rules
    yield "tls_params:"
    yield f"  tls_minimum_protocol_version: {_VERSIONS[rules.minimum]}"
    yield "  tls_maximum_protocol_version: TLSv1_3"
    if rules.ciphers:
        yield "  # For TLS 1.2: forward secrecy and authenticated encryption only."
        yield "  cipher_suites:"
        yield from (f"    - {cipher}" for cipher in rules.ciphers)
    if asked.hybrid:
        yield f"  # {comments.HYBRID}"
    yield "  ecdh_curves:"
    yield from (f"    - {group}" for group in asked.groups)
    yield "tls_certificates:"
    yield f'  - certificate_chain: {{ filename: "{asked.certificate}" }}'
    yield f'    private_key: {{ filename: "{asked.key}" }}'
    if asked.stapling:
        yield "    # Envoy asks no responder itself: something of yours renews this file (DER) before it ends."
        yield f'    ocsp_staple: {{ filename: "{asked.staple}" }}'
    yield f'alpn_protocols: [{'"h2", ' if asked.http2 else ""}"http/1.1"]'
    if asked.clients:
        yield from _mutual(asked.clients)


def _mutual(clients: ClientCertificates) -> Iterator[str]:
    yield "validation_context:"
    yield f'  trusted_ca: {{ filename: "{clients.authorities}" }}'
    yield f"  max_verify_depth: {clients.depth + 1}  # {clients.depth} intermediates and the root, which BoringSSL counts as well"
    if clients.revocations:
        yield f"  # {comments.REVOCATIONS}"
        yield f'  crl: {{ filename: "{clients.revocations}" }}'
    if clients.names:
        yield "  # Who may come in, by subject alternative name; Envoy does not look at the common name."
        yield "  match_typed_subject_alt_names:"
        for name in clients.names:
            kind = "URI" if "://" in name else "DNS"
            yield f'    - {{ san_type: {kind}, matcher: {{ exact: "{name}" }} }}'


def _context(asked: Configuration) -> Iterator[str]:
    """Settings of the listener's side alone; they stand beside common_tls_context, not inside it."""
    required = asked.clients is not None and not asked.clients.optional
    yield f"require_client_certificate: {str(required).lower()}" + ("" if required else "  # true for mutual TLS")
    yield f"# {comments.TICKETS}"
    yield "disable_stateless_session_resumption: true"
    yield "session_timeout: 86400s"
    if asked.stapling:
        yield "# LENIENT goes on without a staple that has ended; STRICT_STAPLING refuses to."
        yield "ocsp_staple_policy: LENIENT_STAPLING"


def _http(asked: Configuration) -> Iterator[str]:
    yield "- name: envoy.filters.network.http_connection_manager"
    yield "  typed_config:"
    yield f'    "@type": {_TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager'
    yield "    stat_prefix: https"
    yield "    use_remote_address: true"
    yield "    common_http_protocol_options:"
    yield "      headers_with_underscores_action: DROP_HEADER  # X_Client_CN must not pass for X-Client-CN"
    yield "    forward_client_cert_details: SANITIZE"
    yield "    # What a request brings under our names is removed before anything else looks at it."
    yield "    early_header_mutation_extensions:"
    yield "      - name: envoy.http.early_header_mutation.header_mutation"
    yield "        typed_config:"
    yield f'          "@type": {_TYPE}.http.early_header_mutation.header_mutation.v3.HeaderMutation'
    yield "          mutations:"
    yield '            - remove_on_match: { key_matcher: { prefix: "x-client-", ignore_case: true } }'
    yield "    http_filters:"
    yield "      - name: envoy.filters.http.router"
    yield "        typed_config:"
    yield f'          "@type": {_TYPE}.filters.http.router.v3.Router'
    yield "    route_config:"
    yield "      name: application"
    yield from _indented(_header_lists(asked), 6)
    yield "      virtual_hosts:"
    yield "        - name: application"
    yield f"          domains: [{', '.join(json.dumps(name) for name in _domains(asked))}]"
    yield "          routes:"
    yield '            - match: { prefix: "/" }'
    yield "              route: { cluster: application }"


def _domains(asked: Configuration) -> Iterator[str]:
    """Each name with and without a port: Envoy compares the whole Host header."""
    for name in asked.names:
        yield name
        if not name.startswith("*."):
            yield f"{name}:{asked.port}"


def _header_lists(asked: Configuration) -> Iterator[str]:
    sent = {"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY"}
    if asked.hsts:
        yield f"# {comments.HSTS}"
        sent = {"Strict-Transport-Security": asked.hsts} | sent
    yield "response_headers_to_add:"
    yield from _headers(sent)
    if asked.clients:
        yield "# What the back end learns of the client; Envoy has the names of a certificate, not its common name."
        yield "request_headers_to_add:"
        yield from _headers(_VALUES | ({} if asked.clients.optional else {"X-Client-Verify": "SUCCESS"}))


def _headers(values: dict[str, str]) -> Iterator[str]:
    for name, value in values.items():
        yield f"  - header: {{ key: {name}, value: {json.dumps(value)} }}"
        yield "    append_action: OVERWRITE_IF_EXISTS_OR_ADD"


def _cluster(asked: Configuration) -> Iterator[str]:
    yield from (
        "  clusters:",
        "    - name: application",
        "      type: STRICT_DNS",
        "      connect_timeout: 5s",
        "      load_assignment:",
        "        cluster_name: application",
        "        endpoints:",
        "          - lb_endpoints:",
        "              - endpoint:",
        "                  address:",
        f'                    socket_address: {{ address: "{asked.backend_host}", port_value: {asked.backend_port} }}',
    )


def _indented(texts: Iterator[str], spaces: int) -> Iterator[str]:
    return (" " * spaces + text for text in texts)
