"""The written files: exactly the reference's settings, nothing that leaves its place, and comments that explain."""

import re
from dataclasses import replace

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from certificates.tls.configuration import ClientCertificates, Configuration
from certificates.tls.generator import generate
from certificates.tls.profiles import ProfileName, ServerKind
from certificates.tls.suites import HYBRID, TLS13_SUITES
from keyvault_portal.errors import ValidationFailed

CLIENTS = ClientCertificates(
    authorities="/etc/nginx/ssl/client-ca-chain.pem", revocations="/etc/nginx/ssl/client-ca.crl"
)
# The settings of the reference document, in its own words; `listen ... http2` is today's `http2 on`.
NGINX_SEED = """
listen 443 ssl
http2 on
server_name example.com
ssl_certificate /etc/nginx/ssl/example.com.fullchain.pem
ssl_certificate_key /etc/nginx/ssl/example.com.privkey.pem
ssl_protocols TLSv1.2 TLSv1.3
ssl_ciphers ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256
ssl_prefer_server_ciphers off
ssl_ecdh_curve X25519:secp384r1:secp256r1
ssl_session_timeout 1d
ssl_session_cache shared:SSL:10m
ssl_session_tickets off
ssl_stapling on
ssl_stapling_verify on
ssl_trusted_certificate /etc/nginx/ssl/example.com.chain.pem
resolver 1.1.1.1 8.8.8.8 valid=300s
resolver_timeout 5s
add_header Strict-Transport-Security "max-age=63072000; includeSubDomains; preload" always
add_header X-Content-Type-Options "nosniff" always
add_header X-Frame-Options "DENY" always
"""
NGINX_SEED_CLIENTS = """
ssl_client_certificate /etc/nginx/ssl/client-ca-chain.pem
ssl_verify_client on
ssl_verify_depth 2
ssl_crl /etc/nginx/ssl/client-ca.crl
proxy_set_header X-Client-Serial $ssl_client_serial
proxy_set_header X-Client-Verify $ssl_client_verify
"""


def directives(text: str) -> set[str]:
    """The directives of an nginx file without comments, spaces run together."""
    return {re.sub(r"\s+", " ", found.strip()) for found in re.findall(r'^\s*((?:"[^"]*"|[^#{};"])+);', text, re.M)}


def lines(text: str) -> set[str]:
    return {line for line in text.splitlines() if line}


def test_nginx_gets_exactly_the_references_settings():
    found = directives(generate(Configuration(server=ServerKind.NGINX, profile=ProfileName.SEED)).text)
    assert lines(NGINX_SEED) <= found
    mine = {line for line in found if line.startswith(("ssl_", "listen", "http2", "add_header", "resolver"))}
    assert mine == {line for line in lines(NGINX_SEED) if not line.startswith("server_name")}


def test_nginx_gets_the_references_client_certificates():
    found = directives(generate(Configuration(server=ServerKind.NGINX, profile=ProfileName.SEED, clients=CLIENTS)).text)
    assert lines(NGINX_SEED_CLIENTS) <= found
    # The reference's $ssl_client_s_dn_cn does not exist in nginx; a map reads the common name out of the subject.
    assert "proxy_set_header X-Client-CN $keyvault_client_cn" in found


def test_envoy_gets_exactly_the_references_settings():
    text = generate(Configuration(server=ServerKind.ENVOY, profile=ProfileName.SEED)).text
    listener = yaml.safe_load(text)["static_resources"]["listeners"][0]
    context = listener["filter_chains"][0]["transport_socket"]["typed_config"]
    common = context["common_tls_context"]
    assert common["tls_params"] == {
        "tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3",
        "cipher_suites": ["ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305"],
        "ecdh_curves": ["X25519", "P-256"],
    }  # fmt: skip
    assert common["alpn_protocols"] == ["h2", "http/1.1"]
    assert context["require_client_certificate"] is False
    assert listener["address"]["socket_address"] == {"address": "0.0.0.0", "port_value": 443}


@pytest.mark.parametrize("server", ServerKind)
@pytest.mark.parametrize("profile", ProfileName)
def test_every_file_explains_the_five_suites_and_says_the_same_again(server, profile):
    asked = Configuration(server=server, profile=profile)
    text = generate(asked).text
    assert all(suite.name in text for suite in TLS13_SUITES)
    assert text == generate(asked).text
    assert (HYBRID in asked.groups) == (profile is not ProfileName.SEED and server is not ServerKind.HAPROXY)


BAD = [
    ({"names": ("example.com; return 200",)}, "names"),
    ({"names": ("example.com\n",)}, "names"),
    ({"names": ("EXAMPLE.com",)}, "names"),
    ({"names": ()}, "names"),
    ({"names": ("*.*.example.com",)}, "names"),
    ({"certificate": "/etc/ssl/a.pem; evil"}, "certificate"),
    ({"certificate": 'relative.pem'}, "certificate"),
    ({"certificate": "/etc/../root.pem"}, "certificate"),
    ({"key": "/etc/ssl/a b.key"}, "key"),
    ({"chain": "/etc/$chain"}, "chain"),
    ({"staple": '/etc/"x'}, "staple"),
    ({"backend": "127.0.0.1"}, "backend"),
    ({"backend": "127.0.0.1:80; evil"}, "backend"),
    ({"backend": "127.0.0.1:99999"}, "backend"),
    ({"address": "0.0.0.0 ssl"}, "address"),
    ({"address": "fe80::1%eth0"}, "address"),
    ({"port": 0}, "port"),
    ({"resolvers": ("1.1.1.1; evil",)}, "resolvers"),
    ({"hsts_seconds": -1}, "hsts_seconds"),
    ({"profile": ProfileName.SEED, "post_quantum": True}, "post_quantum"),
    ({"clients": ClientCertificates(authorities="")}, "client_authorities"),
    ({"clients": ClientCertificates(authorities="/a", revocations="b")}, "client_revocations"),
    ({"clients": ClientCertificates(authorities="/a", depth=11)}, "client_depth"),
    ({"clients": ClientCertificates(authorities="/a", names=('x" 1; default 1; "',))}, "client_names"),
    ({"clients": ClientCertificates(authorities="/a", names=("~.*",))}, "client_names"),
    ({"server": ServerKind.HAPROXY, "key": "/etc/other.key"}, "key"),
    ({"server": ServerKind.HAPROXY, "certificate": "/etc/a.pem", "staple": "/etc/b.ocsp"}, "staple"),
    ({"server": ServerKind.ENVOY, "clients": ClientCertificates(authorities="/a", optional=True, names=("x",))}, "client_names"),
]  # fmt: skip


@pytest.mark.parametrize(("values", "field"), BAD)
def test_what_cannot_be_written_safely_is_refused(values, field):
    with pytest.raises(ValidationFailed) as caught:
        Configuration(**{"server": ServerKind.NGINX, "profile": ProfileName.MODERN} | values)
    assert field in caught.value.errors


TEXTS = st.text(alphabet=st.sampled_from("a./:*-_@ \n\r\t;{}\"'\\#$%[]0"), max_size=20)


@given(
    server=st.sampled_from(list(ServerKind)), name=TEXTS, path=TEXTS, client=TEXTS, backend=TEXTS, mutual=st.booleans()
)
def test_no_text_adds_a_line_or_a_directive(server, name, path, client, backend, mutual):
    """Whatever is accepted leaves the file's shape as it was: same lines, same directives, same YAML keys."""
    values = {"names": (name,), "certificate": path, "backend": backend}
    more = ClientCertificates(authorities=path, names=(client,)) if mutual else None
    plain = ClientCertificates(authorities="/a", names=("b",)) if mutual else None
    try:
        asked = Configuration(server=server, profile=ProfileName.MODERN, clients=more, **values)  # type: ignore[arg-type]
    except ValidationFailed:
        return
    usual = Configuration(
        server=server, profile=ProfileName.MODERN, names=(name,), certificate="/a", backend="a:1", clients=plain
    )
    got, wanted = generate(asked).text, generate(usual).text
    assert got.count("\n") == wanted.count("\n")
    assert [got.count(mark) for mark in ';{}"#'] == [wanted.count(mark) for mark in ';{}"#']


def test_flat_values_become_a_configuration():
    asked = Configuration.of({
        "server": "envoy", "profile": "modern", "names": ["a.example"], "client_authorities": "/ca.pem", "client_names": ["b"],
    })  # fmt: skip
    assert asked.clients == ClientCertificates(authorities="/ca.pem", names=("b",))
    assert asked.names == ("a.example",)
    with pytest.raises(ValidationFailed):
        Configuration.of({"server": "envoy", "profile": "modern", "client_names": ["b"]})


@pytest.mark.parametrize("optional", [False, True])
def test_a_certificate_is_required_unless_it_is_said_to_be_optional(optional):
    """Without names nothing else would keep a client out, so the words themselves are looked at."""
    wanted = replace(CLIENTS, optional=optional)
    texts = {
        server: generate(Configuration(server=server, profile=ProfileName.MODERN, clients=wanted)).text
        for server in ServerKind
    }
    assert f"ssl_verify_client {'optional' if optional else 'on'}" in directives(texts[ServerKind.NGINX])
    assert f" verify {'optional' if optional else 'required'} " in texts[ServerKind.HAPROXY]
    assert f"require_client_certificate: {'false' if optional else 'true'}" in texts[ServerKind.ENVOY]
    assert ("X-Client-Verify, value" in texts[ServerKind.ENVOY]) is not optional


@pytest.mark.parametrize("optional", [False, True])
def test_who_comes_without_a_certificate_passes_the_list_of_names_only_where_it_is_optional(optional):
    wanted = replace(CLIENTS, optional=optional, names=("spiffe.example",))
    nginx, haproxy = (
        generate(Configuration(server=server, profile=ProfileName.MODERN, clients=wanted)).text
        for server in (ServerKind.NGINX, ServerKind.HAPROXY)
    )
    assert ('"NONE " 1;' in nginx, "or !{ ssl_c_used }" in haproxy) == (optional, optional)
    assert r'"~^SUCCESS spiffe\.example$" 1;' in nginx
