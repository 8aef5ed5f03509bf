"""What differs and what cannot be told, from reports written by hand: no server is asked."""

from dataclasses import replace

import pytest

from certificates.tls.configuration import ClientCertificates, Configuration
from certificates.tls.drift import compare
from certificates.tls.profiles import ProfileName, ServerKind
from certificates.tls.suites import AEAD_SUITES
from tests.tls.test_grading import GOOD

CLIENTS = ClientCertificates(authorities="/clients.pem")
PLAIN = Configuration(server=ServerKind.NGINX, profile=ProfileName.MODERN)
LIVE = replace(
    GOOD, versions=PLAIN.rules.versions, ciphers=(), suites13=PLAIN.rules.suites13 or AEAD_SUITES, groups=PLAIN.groups, protocol="h2",
    staple="good", hsts=PLAIN.hsts,
)  # fmt: skip
ASKS = replace(LIVE, asks_for_certificate=True)
MUTUAL = replace(PLAIN, clients=CLIENTS)
OPTIONAL = replace(PLAIN, clients=replace(CLIENTS, optional=True))


@pytest.mark.parametrize(
    ("report", "asked", "settings"),
    [
        (LIVE, PLAIN, []),
        (replace(LIVE, protocol="http/1.1"), PLAIN, ["HTTP/2"]),
        (replace(LIVE, protocol=""), PLAIN, ["HTTP/2"]),
        (LIVE, replace(PLAIN, http2=False), ["HTTP/2"]),
        (replace(LIVE, protocol=""), replace(PLAIN, http2=False), []),
        (replace(LIVE, staple=""), PLAIN, ["OCSP staple"]),
        (replace(LIVE, staple="out of date"), PLAIN, ["OCSP staple"]),
        (LIVE, replace(PLAIN, stapling=False), ["OCSP staple"]),
        (replace(LIVE, staple=""), replace(PLAIN, stapling=False), []),
        (LIVE, MUTUAL, ["Client certificates"]),
        (ASKS, PLAIN, ["Client certificates"]),
        (ASKS, MUTUAL, []),
        (replace(ASKS, protocol=""), MUTUAL, []),  # who has no certificate is not told
        (replace(ASKS, protocol="http/1.1"), MUTUAL, ["HTTP/2"]),
        (replace(ASKS, hsts=""), MUTUAL, []),  # nor does a request of theirs get an answer
        (replace(ASKS, hsts="max-age=5"), MUTUAL, ["Strict-Transport-Security"]),
        (replace(ASKS, hsts=""), OPTIONAL, ["Strict-Transport-Security"]),
        (replace(LIVE, hsts=""), PLAIN, ["Strict-Transport-Security"]),
        (LIVE, replace(PLAIN, hsts_preload=False), ["Strict-Transport-Security"]),
        (LIVE, replace(PLAIN, hsts_subdomains=False), ["Strict-Transport-Security"]),
        (replace(LIVE, hsts="preload; includesubdomains; max-age=63072000"), PLAIN, []),
        (LIVE, replace(PLAIN, hsts_seconds=0), ["Strict-Transport-Security"]),
        (LIVE, replace(PLAIN, post_quantum=False), ["Key exchange groups"]),
        (replace(LIVE, suites13=LIVE.suites13[:1]), PLAIN, ["TLS 1.3 suites"]),
        (replace(LIVE, versions=("TLSv1.2", "TLSv1.3")), PLAIN, ["Protocol versions"]),
        (replace(ASKS, incomplete="It ended."), PLAIN, ["Client certificates"]),
        (replace(LIVE, incomplete="It ended.", chain=(), staple="", hsts=""), PLAIN, []),
    ],
)
def test_a_difference_is_named_where_it_can_be_told(report, asked, settings):
    assert [difference.setting for difference in compare(report, asked)] == settings


def test_a_difference_says_what_is_wanted_and_what_was_found():
    found = compare(replace(ASKS, protocol="http/1.1", staple="", hsts="", groups=PLAIN.groups[1:]), PLAIN)
    assert [(one.wanted, one.found) for one in found] == [
        (", ".join(PLAIN.groups), f"without {PLAIN.groups[0]}"), ("not asked for", "asked for"), ("offered", "not offered"), ("good", "none"),
        ("max-age=63072000; includeSubDomains; preload", "none"),
    ]  # fmt: skip
    more = compare(LIVE, replace(PLAIN, http2=False, stapling=False, hsts_seconds=0))
    assert [(one.wanted, one.found) for one in more] == [
        ("not offered", "offered"),
        ("none", "good"),
        ("none", PLAIN.hsts),
    ]
