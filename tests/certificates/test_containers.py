"""Java key stores: real ones, broken ones, and every other sequence of bytes."""

import json
import struct
from base64 import b64decode
from hashlib import sha1
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import example, given
from hypothesis import strategies as st

from certificates import jks
from certificates.services import containers
from keyvault_portal.errors import ValidationFailed
from tests.certificates.test_inventory import made

_VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "java_key_stores.json").read_text())["stores"]
STORES = {item["name"]: (b64decode(item["content"]), item["password"]) for item in _VECTORS}


def store(*entries: bytes, magic: bytes = jks.MAGICS[0], version: int = 2, password: str = "changeit") -> bytes:
    body = magic + struct.pack(">II", version, len(entries)) + b"".join(entries)
    return body + sha1(password.encode("utf-16-be") + b"Mighty Aphrodite" + body).digest()


def trusted(raw: bytes, alias: bytes = b"a", kind: bytes = b"X.509") -> bytes:
    head = struct.pack(">IH", 2, len(alias)) + alias + bytes(8)
    return head + struct.pack(">H", len(kind)) + kind + struct.pack(">I", len(raw)) + raw


@pytest.mark.filterwarnings("ignore:Parsed a serial number")  # those of 2012 have none that is positive
@pytest.mark.parametrize("name", ["3certs.jks", "3certs.jceks", "RSA2048_3certs.jks"])
def test_what_keytool_wrote_is_read_with_and_without_the_password(name):
    content, password = STORES[name]
    subjects = {x509.load_der_x509_certificate(raw).subject.rfc4514_string() for raw in jks.read(content, password)}
    assert subjects == {f"O={number},CN=RSA2048" for number in (1, 2, 3)}
    assert jks.read(content) == jks.read(content, password)
    with pytest.raises(jks.WrongPassword):
        jks.read(content, "87654321")
    with pytest.raises(jks.WrongPassword):
        jks.read(content[:-40] + b"\0" + content[-39:], password)


def test_a_password_beyond_ascii():
    content, password = STORES["non_ascii_password.jks"]
    assert len(jks.read(content, password)) == 1


def test_a_store_of_secret_keys_has_no_certificate():
    content, _ = STORES["AES128.jceks"]
    with pytest.raises(ValidationFailed, match="neither a key with its chain"):
        containers.read(content)


def test_certificates_of_a_store_reach_the_inventory():
    raws = [made(f"h{number}.example.net")[1].public_bytes(Encoding.DER) for number in range(3)]
    found, unreadable = containers.read(store(*(trusted(raw) for raw in raws), trusted(b"\x30\x03\x02\x01\x01")))
    assert ([item.public_bytes(Encoding.DER) for item in found], unreadable) == (raws, 1)
    with pytest.raises(ValidationFailed, match="password"):
        containers.read(store(trusted(raws[0])), "another")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (store(magic=b"\xfe\xed\xfe\xed", version=3), "not a key store"),
        (b"\xfe\xed\xfe\xed" + struct.pack(">II", 2, 2**32 - 1), "more than"),
        (b"\xfe\xed\xfe\xed" + struct.pack(">III", 2, 1, 2) + b"\xff\xff", "too early"),
        (store(struct.pack(">IHxxxxxxxxII", 1, 0, 0, 2**31)), "a chain of more than"),
        (store(struct.pack(">IHxxxxxxxxI", 1, 0, 2**31)), "too early"),
        (store(trusted(b"", kind=b"PGP")), "not X.509"),
        (store(struct.pack(">IHxxxxxxxx", 9, 0)), "neither"),
        (store(), "None of the certificates"),
    ],
)
def test_stores_that_are_none(content, words):
    with pytest.raises(ValidationFailed, match=words):
        containers.read(content)


@given(st.binary(max_size=400), st.sampled_from(jks.MAGICS), st.integers(0, 3), st.text(max_size=4))
def test_any_bytes_are_read_or_refused(rest, magic, version, password):
    try:
        found = jks.read(magic + struct.pack(">I", version) + rest, password)
    except (jks.MalformedStore, jks.WrongPassword):
        return
    assert all(raw in rest for raw in found)


@given(st.lists(st.binary(max_size=50), max_size=6), st.integers(0, 400))
@example([b"a"], 20)
@example([], 1)
def test_what_was_put_in_comes_out_and_a_cut_store_does_not(raws, cut):
    content = store(*(trusted(raw) for raw in raws))
    assert jks.read(content, "changeit") == raws
    if cut:
        with pytest.raises(jks.MalformedStore):
            jks.read(content[:-cut])
