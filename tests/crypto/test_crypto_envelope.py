"""The JSON, compact and text forms: exact layout, strict parsing, one opaque error."""

import base64
import json
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from keys.crypto import compact
from keys.crypto.aead import Aead
from keys.crypto.algorithms import ALGORITHMS, Kind
from keys.crypto.envelope import Envelope, context_aad, open_envelope, seal_envelope
from keys.crypto.errors import CryptoError, DecryptFailed, InvalidKey, LimitExceeded, MalformedEnvelope
from keys.crypto.keywrap import unwrap_key, wrap_key
from keys.crypto.secret import SecretBytes

KEY = SecretBytes(bytes(range(32)))
AEADS = [name for name, row in ALGORITHMS.items() if row.kind is Kind.AEAD]
CONTEXTS = st.dictionaries(st.text(max_size=20), st.text(max_size=20), max_size=4)
IDENTIFIER = UUID("00112233-4455-6677-8899-aabbccddeeff")
GOOD = seal_envelope(b"data", {"tenant": "a", "type": "é"}, "arn:key", KEY, b"wrapped").to_dict()


def test_reads_what_the_usual_recipe_writes():
    context = {"z": "1", "a": "ü"}
    nonce = bytes(12)
    written = json.dumps(
        {
            "ciphertext": base64.b64encode(
                AESGCM(KEY.reveal()).encrypt(nonce, b"hello", json.dumps(context).encode())
            ).decode(),
            "wrapped_dek": base64.b64encode(b"blob").decode(),
            "nonce": base64.b64encode(nonce).decode(),
            "encryption_context": context,
            "algorithm": "AES-256-GCM",
            "kms_key_id": "arn:aws:kms:eu-west-1:1:key/x",
        }
    )
    assert open_envelope(Envelope.from_json(written), KEY) == b"hello"


def test_the_usual_recipe_reads_ours():
    data = json.loads(seal_envelope(b"hello", {"z": "1", "a": "ü"}, "arn", KEY, b"blob").to_json())
    aad = json.dumps(data["encryption_context"]).encode()
    assert list(data) == ["wrapped_dek", "nonce", "ciphertext", "encryption_context", "algorithm", "kms_key_id"]
    opened = AESGCM(KEY.reveal()).decrypt(base64.b64decode(data["nonce"]), base64.b64decode(data["ciphertext"]), aad)
    assert opened == b"hello"


@given(st.binary(max_size=200), CONTEXTS, st.sampled_from(AEADS))
def test_json_round_trip(plaintext, context, algorithm):
    key = SecretBytes(bytes(ALGORITHMS[algorithm].key_bytes))
    envelope = seal_envelope(plaintext, context, "arn", key, b"w", algorithm)
    again = Envelope.from_json(envelope.to_json().encode())
    assert again == envelope
    assert open_envelope(again, key) == plaintext


@pytest.mark.parametrize("field", ["nonce", "ciphertext"])
def test_any_change_of_the_bytes_fails(field):
    raw = base64.b64decode(GOOD[field])
    for bit in range(len(raw) * 8):
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DecryptFailed):
            open_envelope(Envelope.from_json({**GOOD, field: base64.b64encode(changed).decode()}), KEY)


def test_context_and_its_order_are_bound():
    reordered = dict(reversed(GOOD["encryption_context"].items()))
    for context in ({}, reordered, {**GOOD["encryption_context"], "more": ""}):
        with pytest.raises(DecryptFailed):
            open_envelope(Envelope.from_json({**GOOD, "encryption_context": context}), KEY)


def test_a_data_key_of_the_wrong_length_is_the_same_error():
    with pytest.raises(DecryptFailed):
        open_envelope(Envelope.from_json(GOOD), SecretBytes(bytes(16)))


@pytest.mark.parametrize(
    "change",
    [
        {"nonce": "AAAA"},
        {"nonce": "!!"},
        {"nonce": 5},
        {"ciphertext": "AAAA"},
        {"ciphertext": "AA=A"},
        {"ciphertext": "QR=="},
        {"ciphertext": "é"},
        {"wrapped_dek": ""},
        {"wrapped_dek": None},
        {"algorithm": "AES"},
        {"algorithm": []},
        {"algorithm": "Ed25519"},
        {"kms_key_id": ""},
        {"kms_key_id": 1},
        {"kms_key_id": "x" * 3000},
        {"extra": "1"},
        {"encryption_context": []},
        {"encryption_context": {"a": 1}},
        {"encryption_context": {"a": None}},
        {"encryption_context": {"a": "x" * 9000}},
    ],
)
def test_structural_faults(change):
    with pytest.raises(MalformedEnvelope):
        Envelope.from_json({**GOOD, **change})
    with pytest.raises(MalformedEnvelope):
        Envelope.from_json(json.dumps({**GOOD, **change}))


@pytest.mark.parametrize("field", sorted(GOOD))
def test_missing_and_duplicate_fields(field):
    with pytest.raises(MalformedEnvelope, match=field):
        Envelope.from_json({name: value for name, value in GOOD.items() if name != field})
    text = json.dumps(GOOD)
    with pytest.raises(MalformedEnvelope):
        Envelope.from_json(text[:-1] + f', "{field}": {json.dumps(GOOD[field])}}}')


@pytest.mark.parametrize(
    "text", [b"\xff\xfe", b"", "{", "[]", "null", "1", "[" * 100_000, '{"a": NaN}', "9" * 5000, "x" * (2**26 + 1)]
)
def test_not_an_envelope(text):
    with pytest.raises(MalformedEnvelope):
        Envelope.from_json(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(sorted(GOOD)), JSON), st.text(max_size=50) | st.binary(max_size=50))
def test_the_parser_raises_its_own_errors_only(changes, noise):
    for source in ({**GOOD, **changes}, noise):
        try:
            Envelope.from_json(source)
        except MalformedEnvelope:
            continue


def test_compact_layouts():
    row = ALGORITHMS["AES-256-GCM"]
    assert compact.direct_header(row, IDENTIFIER, 258).hex() == "0101" + IDENTIFIER.hex + "00000102"
    assert compact.segment_header(row, IDENTIFIER).hex() == "0201" + IDENTIFIER.hex
    assert (
        compact.inline_header(row, IDENTIFIER, 1, b"abc").hex()
        == "0301" + IDENTIFIER.hex + "00000001" + "0003" + "616263"
    )
    for version, wrapped in ((2**32, b""), (-1, b""), (1, bytes(65536))):
        with pytest.raises(LimitExceeded):
            compact.inline_header(row, IDENTIFIER, version, wrapped)


def headers(row):
    return {
        compact.DIRECT: compact.direct_header(row, IDENTIFIER, 7),
        compact.SEGMENT: compact.segment_header(row, IDENTIFIER),
        compact.INLINE: compact.inline_header(row, IDENTIFIER, 7, b"wrapped"),
    }


@given(st.sampled_from(AEADS), st.sampled_from([1, 2, 3]), st.binary(max_size=100), CONTEXTS)
def test_compact_round_trip(algorithm, form, plaintext, context):
    row = ALGORITHMS[algorithm]
    cipher = Aead(row, bytes(row.key_bytes))
    header = headers(row)[form]
    blob = compact.seal_compact(cipher, header, plaintext, context_aad(context))
    parsed = compact.parse_compact(blob)
    assert (parsed.form, parsed.algorithm, parsed.header) == (form, row, header)
    assert cipher.decrypt(parsed.nonce, parsed.ciphertext, parsed.header + context_aad(context)) == plaintext
    assert compact.open_compact(cipher, blob, len(header), context_aad(context)) == plaintext
    assert parsed.data_key_id == (IDENTIFIER if form == compact.SEGMENT else None)
    assert parsed.key_id == (None if form == compact.SEGMENT else IDENTIFIER)
    assert parsed.key_version == (None if form == compact.SEGMENT else 7)
    assert parsed.wrapped_dek == (b"wrapped" if form == compact.INLINE else None)


@pytest.mark.parametrize("form", [1, 2, 3])
def test_compact_any_bit_and_any_length(form):
    cipher = Aead("AES-256-GCM", KEY)
    header = headers(cipher.algorithm)[form]
    blob = compact.seal_compact(cipher, header, b"data", b"{}")

    def attempt(changed):
        parsed = compact.parse_compact(changed)
        return cipher.decrypt(parsed.nonce, parsed.ciphertext, parsed.header + b"{}")

    assert attempt(blob) == b"data"
    for bit in range(len(blob) * 8):
        changed = bytearray(blob)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DecryptFailed):
            compact.open_compact(cipher, bytes(changed), len(header), b"{}")
        with pytest.raises((DecryptFailed, MalformedEnvelope)):
            attempt(bytes(changed))
    for size in range(len(blob)):
        with pytest.raises(DecryptFailed):
            compact.open_compact(cipher, blob[:size], len(header), b"{}")
        with pytest.raises((DecryptFailed, MalformedEnvelope)):
            attempt(blob[:size])


def test_compact_key_names():
    blob = headers(ALGORITHMS["AES-256-GCM"])
    assert compact.direct_key(blob[1]) == (1, IDENTIFIER.bytes, 7)
    assert compact.segment_key(blob[2]) == (1, IDENTIFIER.bytes)
    for wrong in (b"", b"\x01", blob[2], blob[3]):
        with pytest.raises(MalformedEnvelope):
            compact.direct_key(wrong)
    for wrong in (b"", b"\x02", blob[1]):
        with pytest.raises(MalformedEnvelope):
            compact.segment_key(wrong)


@given(st.binary(max_size=120), st.text(max_size=60))
def test_compact_and_text_parsers_raise_their_own_errors_only(blob, text):
    for parse, source in (
        (compact.parse_compact, blob),
        (compact.parse_text, text),
        (compact.parse_text, "vault:v1:" + text),
    ):
        try:
            parse(source)
        except MalformedEnvelope:
            continue


@given(st.integers(1, 10**9), st.binary(min_size=1, max_size=60))
def test_text_round_trip(version, payload):
    assert compact.parse_text(compact.format_text(version, payload)) == (version, payload)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "vault:v0:AAAA",
        "vault:v01:AAAA",
        "vault:v1:",
        "vault:v1:AAA",
        "vault:v1:QR==",
        "vault:v1:AAAA\n",
        "vault:v1:AA_A",
        "Vault:v1:AAAA",
        "vault:v1:AAAA:",
        None,
    ],
)
def test_text_faults(text):
    with pytest.raises(MalformedEnvelope):
        compact.parse_text(text)


@given(CONTEXTS, st.binary(min_size=1, max_size=64), st.sampled_from(AEADS))
def test_wrapping_is_bound_to_a_context_without_order(context, material, algorithm):
    wrapper = SecretBytes(bytes(ALGORITHMS[algorithm].key_bytes))
    wrapped = wrap_key(algorithm, wrapper, SecretBytes(material), context)
    assert unwrap_key(algorithm, wrapper, wrapped, dict(reversed(context.items()))) == material
    with pytest.raises(DecryptFailed):
        unwrap_key(algorithm, wrapper, wrapped, {**context, "more": "x" * 21})
    with pytest.raises(DecryptFailed):
        Aead(algorithm, wrapper).decrypt_joined(wrapped, context_aad(context))


def test_wrapping_faults():
    with pytest.raises(CryptoError, match="context"):
        wrap_key("AES-256-KW", KEY, KEY, {"a": "b"})
    with pytest.raises(MalformedEnvelope):
        wrap_key("AES-256-GCM", KEY, KEY, {"a": 1})
    with pytest.raises(CryptoError):
        wrap_key("RSA-2048-OAEP-SHA256", KEY, KEY, {})
    with pytest.raises(InvalidKey):
        unwrap_key("AES-256-KW", Aead("AES-256-GCM", KEY), b"", {})
