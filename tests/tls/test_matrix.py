"""Every generated file in the real server, met by real clients; a weakened file is caught."""

from typing import Any

import pytest

from certificates.tls.configuration import ClientCertificates
from certificates.tls.generator import generate
from certificates.tls.profiles import ProfileName, ServerKind
from certificates.tls.suites import HYBRID
from tests.tls import clients, matrix
from tests.tls.authority import Hierarchy

pytestmark = pytest.mark.needs_haproxy
MODERN, INTERMEDIATE, SEED = ProfileName
KINDS = [(MODERN, "ec"), (INTERMEDIATE, "ec"), (INTERMEDIATE, "rsa"), (SEED, "ec"), (SEED, "rsa")]


@pytest.mark.parametrize("server", ServerKind)
@pytest.mark.parametrize(("profile", "kind"), KINDS)
def test_what_the_profile_says_is_what_clients_meet(server, profile, kind, asks, run, hierarchy: Hierarchy):
    asked = asks(server, profile, kind)
    run(asked, generate(asked).text, check=True)
    assert list(matrix.tls_faults(asked, hierarchy, kind)) == []


@pytest.mark.parametrize("server", ServerKind)
@pytest.mark.parametrize("profile", ProfileName)
def test_only_the_right_client_comes_in(server, profile, asks, run, hierarchy: Hierarchy):
    asked = asks(server, profile, mutual=True)
    run(asked, generate(asked).text, check=True)
    assert list(matrix.client_faults(asked, hierarchy)) == []


@pytest.mark.parametrize("server", ServerKind)
def test_a_certificate_may_be_optional_and_still_has_to_be_good(server, asks, run, hierarchy: Hierarchy):
    wanted = ClientCertificates(
        authorities=hierarchy.path("authorities.pem"), revocations=hierarchy.path("revoked.pem"), optional=True
    )
    asked = asks(server, INTERMEDIATE, clients=wanted)
    run(asked, generate(asked).text, check=True)
    root = hierarchy.path("root.pem")
    answer = clients.get(asked.port, root, headers=matrix.SPOOFED)
    told = {name.lower(): value for name, value in answer.seen if name.lower().startswith("x-client-")}
    assert answer.status == 200
    assert told in ({}, {"x-client-verify": "NONE"})
    assert clients.get(asked.port, root, client=hierarchy.path("wrong name.client.pem")).status == 200
    for name in ("expired", "revoked", "wrong authority"):
        got = clients.get(asked.port, root, client=hierarchy.path(f"{name}.client.pem")).status
        assert got in matrix.REFUSALS[server], name


@pytest.mark.parametrize("server", [ServerKind.NGINX, ServerKind.HAPROXY])
def test_who_brings_an_optional_certificate_needs_the_right_name(server, asks, run, hierarchy: Hierarchy):
    wanted = ClientCertificates(
        authorities=hierarchy.path("authorities.pem"), optional=True, names=("service-payments",)
    )
    asked = asks(server, INTERMEDIATE, clients=wanted)
    run(asked, generate(asked).text, check=True)
    root = hierarchy.path("root.pem")
    assert clients.get(asked.port, root).status == 200
    assert clients.get(asked.port, root, client=hierarchy.path("right.client.pem")).status == 200
    for name in ("wrong name", "nameless", "disguised", "shouted"):
        assert clients.get(asked.port, root, client=hierarchy.path(f"{name}.client.pem")).status == 403, name


@pytest.mark.parametrize("server", [ServerKind.NGINX, ServerKind.ENVOY])
@pytest.mark.parametrize("depth", [0, 1])
def test_a_chain_that_is_too_long_is_refused(server, depth, asks, run, hierarchy: Hierarchy):
    """The depth counts intermediates: the clients' certificates have one."""
    wanted = ClientCertificates(authorities=hierarchy.path("root.pem"), depth=depth)
    asked = asks(server, MODERN, clients=wanted)
    run(asked, generate(asked).text)
    got = clients.get(asked.port, hierarchy.path("root.pem"), client=hierarchy.path("right.client.pem")).status
    assert got == 200 if depth else got in matrix.REFUSALS[server]


@pytest.mark.parametrize("server", ServerKind)
def test_one_protocol_no_staple_and_no_hsts_when_they_are_not_wanted(server, asks, run, hierarchy: Hierarchy):
    asked = asks(server, MODERN, stapling=False, staple="", hsts_seconds=0, http2=False)
    text = generate(asked).text
    run(asked, text, check=True)
    found = clients.shake(asked.port)
    assert found.protocol == "http/1.1"
    if server is not ServerKind.HAPROXY:  # it staples whatever file lies beside the certificate
        assert found.staple == b""
    assert "strict-transport-security" not in clients.get(asked.port, hierarchy.path("root.pem")).headers


def test_an_older_openssl_does_not_start_with_the_hybrid_group(asks, run):
    """Why HAProxy is given it only on request: the one of Debian 12 stands on OpenSSL 3.0."""
    asked = asks(ServerKind.HAPROXY, MODERN, post_quantum=True)
    text = generate(asked).text
    assert f"curves {HYBRID}:X25519" in text
    with pytest.raises(AssertionError, match="curves"):
        run(asked, text, check=True)


OLD = {
    ServerKind.NGINX: [("ssl_protocols TLSv1.2 TLSv1.3", "ssl_protocols TLSv1 TLSv1.1 TLSv1.2 TLSv1.3"), ("ssl_ciphers ", "ssl_ciphers ALL:@SECLEVEL=0:")],
    ServerKind.ENVOY: [("TLSv1_2", "TLSv1_0"), ("cipher_suites:", "cipher_suites:\n                    - ECDHE-ECDSA-AES128-SHA")],
    ServerKind.HAPROXY: [("ssl-min-ver TLSv1.2", "ssl-min-ver TLSv1.0"), ("bind-ciphers ", "bind-ciphers ALL:@SECLEVEL=0:")],
}  # fmt: skip
WEAKER: dict[str, tuple[dict[ServerKind, list[tuple[str, str]]], str]] = {
    "old versions and suites": (OLD, "TLSv1 is accepted"),
    "a suite without forward secrecy": ({
        ServerKind.NGINX: [("ssl_ciphers ", "ssl_ciphers ECDHE-ECDSA-AES128-SHA:")],
        ServerKind.ENVOY: [("cipher_suites:", "cipher_suites:\n                    - ECDHE-ECDSA-AES128-SHA")],
        ServerKind.HAPROXY: [("bind-ciphers ", "bind-ciphers ECDHE-ECDSA-AES128-SHA:")],
    }, "ECDHE-ECDSA-AES128-SHA is accepted"),
    "another curve": ({
        ServerKind.NGINX: [("X25519:secp256r1", "X25519:secp521r1:secp256r1")],
        ServerKind.ENVOY: [("- P-256", "- P-256\n                    - P-521")],
        ServerKind.HAPROXY: [("curves X25519:", "curves X25519:P-521:")],
    }, "P-521 is accepted"),
    "no HSTS": ({server: [("max-age=63072000", "max-age=0")] for server in ServerKind}, "HSTS is max-age=0"),
    "no staple": ({
        ServerKind.NGINX: [("ssl_stapling on", "ssl_stapling off")],
        ServerKind.ENVOY: [("    ocsp_staple:", "    # ocsp_staple:")],
    }, "nothing is stapled"),
    "no HTTP/2": ({
        ServerKind.NGINX: [("http2 on;", "http2 off;")],
        ServerKind.ENVOY: [('"h2", ', "")],
        ServerKind.HAPROXY: [("alpn h2,", "alpn ")],
    }, "ALPN says http/1.1"),
    "session tickets": ({
        ServerKind.ENVOY: [("resumption: true", "resumption: false")],
        ServerKind.NGINX: [("tickets off", "tickets on")],
        ServerKind.HAPROXY: [("no-tls-tickets", "")],
    }, "a session ticket is given"),
    "headers of the client's own": ({
        ServerKind.NGINX: [('proxy_set_header X-Client-CN "";', "")],
        ServerKind.ENVOY: [("x-client-", "x-nothing-")],
        ServerKind.HAPROXY: [("^x[-_]client", "^x[-_]nothing")],
    }, "the back end is sent the client's own"),
}  # fmt: skip
CHANGES = [(name, server) for name, (changes, _) in WEAKER.items() for server in changes]


def _changed(text: str, changes: list[tuple[str, str]]) -> str:
    for before, after in changes:
        assert before in text, before
        text = text.replace(before, after)
    return text


@pytest.mark.parametrize(("change", "server"), CHANGES)
def test_a_weakened_file_turns_the_matrix_red(change, server, asks, run, hierarchy: Hierarchy, monkeypatch: Any):
    changes, expected = WEAKER[change]
    asked = asks(server, INTERMEDIATE)
    run(asked, _changed(generate(asked).text, changes[server]))
    if change == "no staple":
        monkeypatch.setattr(matrix, "STAPLE_SECONDS", 0.2)
    found = list(matrix.tls_faults(asked, hierarchy, "ec"))
    assert any(expected in fault for fault in found), found


WEAKER_CLIENTS: dict[str, tuple[dict[ServerKind, list[tuple[str, str]]], str]] = {
    "no certificate asked for": ({
        ServerKind.NGINX: [("ssl_verify_client on", "ssl_verify_client off"), ("$keyvault_client_allowed = 0", "$keyvault_client_allowed = 9")],
        ServerKind.ENVOY: [("require_client_certificate: true", "require_client_certificate: false"), ("exact: ", "prefix: "), ("match_typed", "# match_typed"), ("- { san_type", "# - { san_type")],
        ServerKind.HAPROXY: [("verify required", "verify none"), ("unless known_client", "if FALSE")],
    }, "a client with no certificate is answered with 200"),
    "no list of revoked ones": ({
        ServerKind.NGINX: [("ssl_crl ", "# ssl_crl ")],
        ServerKind.ENVOY: [("crl: {", "# crl: {")],
        ServerKind.HAPROXY: [(" crl-file ", " alpn h2,http/1.1 # ")],
    }, "a client with a revoked certificate is answered with 200"),
    "any name": ({
        ServerKind.NGINX: [("default 0;", "default 1;")],
        ServerKind.ENVOY: [('exact: "service-payments"', 'prefix: "service-"')],
        ServerKind.HAPROXY: [("unless known_client", "if FALSE")],
    }, "a client with a wrong name certificate is answered with 200"),
    "a common name read carelessly": (
        {ServerKind.NGINX: [(r"(?:^|(?<!\\\\)[,+])CN=", "[,+]CN=")]}, "a client with a disguised certificate is answered with 200",
    ),
}  # fmt: skip
CLIENT_CHANGES = [(name, server) for name, (changes, _) in WEAKER_CLIENTS.items() for server in changes]


@pytest.mark.parametrize(("change", "server"), CLIENT_CHANGES)
def test_a_weakened_check_of_clients_turns_the_matrix_red(change, server, asks, run, hierarchy: Hierarchy):
    changes, expected = WEAKER_CLIENTS[change]
    asked = asks(server, INTERMEDIATE, mutual=True)
    run(asked, _changed(generate(asked).text, changes[server]))
    found = list(matrix.client_faults(asked, hierarchy))
    assert any(expected in fault for fault in found), found
