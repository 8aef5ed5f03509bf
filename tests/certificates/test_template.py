"""Certificates by template are byte for byte what the library builds, and what is odd is left to the library."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from certificates import encoding, issuance, lint, signing
from certificates.issuance import Draft, Issuer, Places
from certificates.profiles import LEAF_PROFILES, PROFILES
from certificates.services import reading
from keyvault_portal.errors import ValidationFailed

ALGORITHMS = ("ECDSA-P256-SHA256", "ECDSA-P384-SHA384", "RSA-3072-PSS-SHA256", "Ed25519", "ML-DSA-44")
NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
PLACES = Places(
    "http://ca.example.org/ca.cer",
    "http://ca.example.org/crl",
    "http://ca.example.org/delta",
    "http://ca.example.org/ocsp",
)
_LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
_HOST = st.lists(_LABEL, min_size=1, max_size=4).map(lambda labels: ".".join([*labels, "example"]))
_NAMES = {
    "dns": _HOST, "ip": st.ip_addresses().map(str), "uri": _HOST.map("spiffe://{}/a".format), "email": _HOST.map("a.b@{}".format),
}  # fmt: skip


def spki(key):
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@cache
def issuer_by(algorithm):
    public = spki(signing.scheme(algorithm).throw_away.public_key())
    life = NOW, NOW + timedelta(days=3000)
    root = issuance.prepare(Draft(PROFILES["root"], public, 2**80, *life, "Root", "Example"), Issuer(algorithm, public))
    return Issuer(algorithm, public, x509.load_der_x509_certificate(root.throw_away))


@cache
def keys():
    made = [signing.scheme(name).throw_away.public_key() for name in ALGORITHMS]
    return [spki(key) for key in (*made, rsa.generate_private_key(65537, 2048).public_key())]


@st.composite
def drafts(draw):
    profile = PROFILES[draw(st.sampled_from([*LEAF_PROFILES, "ocsp-responder"]))]
    kinds = sorted(profile.san_kinds)
    one = st.sampled_from(kinds).flatmap(lambda kind: st.tuples(st.just(kind), _NAMES[kind])) if kinds else st.nothing()
    names = tuple(draw(st.lists(one, max_size=5))) if kinds else ()
    begin = draw(st.datetimes(datetime(2026, 1, 1), datetime(2060, 1, 1), timezones=st.just(UTC)))
    text = st.text(st.characters(exclude_categories=["Cs"]), max_size=16)
    return Draft(
        profile, draw(st.sampled_from(keys())), draw(st.integers(1, 2**159 - 1)), begin, begin + timedelta(seconds=draw(st.integers(1, 10**8))),
        draw(text), draw(text), names, places=draw(st.sampled_from([PLACES, Places(), Places(crl="http://ca.example.org/crl/7")])),
    )  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(draft=drafts(), algorithm=st.sampled_from(ALGORITHMS))
def test_a_filled_template_is_what_the_library_builds(draft, algorithm):
    issuer = issuer_by(algorithm)
    filled, signature = issuance._throw_away(draft, issuer)
    assert filled == issuance._by_library(draft, issuer)[0]
    assert len(signature) > 32


def server(**more):
    values = {"common_name": "www.example.org", "names": (("dns", "www.example.org"),), "places": PLACES} | more
    return Draft(PROFILES["server"], keys()[0], 2**100 + 5, NOW, NOW + timedelta(days=90), **values)


def test_what_is_linted_is_what_is_signed(monkeypatch):
    """The lint reads the whole certificate; the real signer is given exactly the bytes that the lint read."""
    read, given_to_signer = [], []
    real = lint.read
    monkeypatch.setattr(lint, "read", lambda raw, *rest: read.append(raw) or real(raw, *rest))
    issuer = issuer_by("Ed25519")
    prepared = issuance.prepare(server(), issuer)

    def sign(message):
        given_to_signer.append(message)
        return signing.scheme("Ed25519").throw_away.sign(message)

    made = issuance.complete(prepared, issuer.public_key, sign)
    assert given_to_signer == [x509.load_der_x509_certificate(read[0]).tbs_certificate_bytes] == [prepared.to_be_signed]
    assert x509.load_der_x509_certificate(made).tbs_certificate_bytes == prepared.to_be_signed
    assert read[0] != made  # another signature


def test_the_row_of_the_linted_bytes_is_that_of_the_certificate():
    issuer = issuer_by("ECDSA-P256-SHA256")
    prepared = issuance.prepare(server(), issuer)
    assert prepared.linted is not None
    assert reading.columns(prepared.throw_away, prepared.linted) == reading.columns(prepared.throw_away)


def test_every_certificate_of_a_template_is_linted():
    """One template, and each leaf that breaks a rule is found by itself."""
    issuer = issuer_by("ECDSA-P256-SHA256")
    issuance.prepare(server(), issuer)
    for wrong, rule in (
        ({"names": (("dns", "a_b.example.org"),), "common_name": ""}, "not a DNS name"),
        ({"names": (("dns", "www.example.org"),) * 2}, "listed twice"),
        ({"common_name": "other.example.org"}, "not among the alternative names"),
        ({"names": (("email", "a@example.org"),), "common_name": ""}, "are not for"),
    ):
        with pytest.raises(issuance.LintFailed, match=rule):
            issuance.prepare(server(**wrong), issuer)
    for wrong, rule in (
        ({"serial": 2**40}, "fewer than 64 bits"),
        ({"serial": 2**159 + 1}, "longer than 20 octets"),
        ({"not_after": NOW - timedelta(days=1)}, "ends before"),
        ({"not_after": NOW + timedelta(days=300)}, "lives longer"),
        ({"not_after": NOW + timedelta(days=3001)}, "outlives"),
    ):
        with pytest.raises(issuance.LintFailed, match=rule):
            issuance.prepare(replace(server(), **wrong), issuer)


@pytest.mark.parametrize("piece", ["version", "issuer", "subject", "extensions"])
def test_a_template_that_went_wrong_is_found_by_the_lint(piece, monkeypatch):
    issuer = issuer_by("ECDSA-P256-SHA256")
    template, signature = issuance._template(issuer, PROFILES["server"], "", PLACES, True, True)
    stranger = issuance._template(issuer_by("Ed25519"), PROFILES["client"], "Other", Places(), True, True)[0]
    extension = encoding.extension(
        x509.KeyUsage(True, False, False, False, False, True, False, False, False), critical=True
    )
    wrong = {
        "version": b"\xa0\x03\x02\x01\x01",
        "issuer": stranger.issuer[: stranger.issuer.index(b"0", 2)] + encoding.sequence(),
        "subject": encoding.one(encoding.sequence(encoding.object_identifier("2.5.4.3"), encoding.utf8("forged"))),
        "extensions": (template.extensions[0], template.extensions[1] + extension, template.extensions[2]),
    }[piece]
    monkeypatch.setattr(issuance, "_template", lambda *key: (replace(template, **{piece: wrong}), signature))
    with pytest.raises(issuance.LintFailed):
        issuance.prepare(server(), issuer)


def test_a_key_is_written_as_the_library_writes_it():
    """A public key with a name for its curve's parameters left out, or anything after it, never gets into a certificate."""
    issuer = issuer_by("ECDSA-P256-SHA256")
    for raw in (keys()[0] + b"\0", keys()[0][:-1], b"", b"\x30\x00"):
        with pytest.raises(ValidationFailed):
            issuance.prepare(replace(server(), public_key=raw), issuer)


@pytest.mark.parametrize("name", ["ä" * 33, "x" * 65])
def test_a_common_name_that_is_too_long_is_refused(name):
    with pytest.raises(ValidationFailed, match="cannot be built"):
        issuance.prepare(server(common_name=name), issuer_by("ECDSA-P256-SHA256"))


def test_a_name_that_is_not_ascii_is_refused():
    with pytest.raises(ValidationFailed, match="cannot be built"):
        issuance.prepare(server(names=(("dns", "exämple.org"),)), issuer_by("ECDSA-P256-SHA256"))


def test_ed25519_keys_have_a_template_too():
    public = spki(ed25519.Ed25519PrivateKey.generate().public_key())
    made = issuance.prepare(replace(server(), public_key=public), issuer_by("Ed25519"))
    assert spki(x509.load_der_x509_certificate(made.throw_away).public_key()) == public
