"""Check values, components and the wrappings a key travels in, against published vectors, properties and the openssl binary."""

import secrets

import pytest
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC
from hypothesis import given, settings
from hypothesis import strategies as st

from keys.crypto import components, keycheck, keymaterial, transport
from keys.crypto.errors import DecryptFailed, InvalidKey
from keys.crypto.secret import SecretBytes
from keys.crypto.transport import Method

# NIST SP 800-38B, appendix D.3 (AES-256), "Example values": key, subkey K1, and T of messages of 0, 16, 40 and 64 bytes; as
# corrected in 2016 and published at csrc.nist.gov (AES_CMAC.pdf). Message blocks are those of appendix D.
AES256_KEY = bytes.fromhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
AES256_K1 = bytes.fromhex("cad1ed03299eedac2e9a99808621502f")
MESSAGE = bytes.fromhex(
    "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
)
CODES = {
    0: "028962f61b7bf89efc6b551f4667d983",
    16: "28a7023f452e8f82bd4bf28d8c37c35c",
    40: "aaf3d8f1de5640c232f5b169b9c911e6",
    64: "e1992190549f6ed5696a2c056c315410",
}


def test_the_library_keeps_to_sp_800_38b():
    for length, expected in CODES.items():
        code = CMAC(AES(AES256_KEY))
        code.update(MESSAGE[:length])
        assert code.finalize().hex() == expected


def test_the_check_value_of_an_aes_key_follows_from_the_standard_s_subkey():
    # CMAC of one whole block M is AES(K, M xor K1); with M of zeros that is AES(K, K1), and K1 is published.
    from cryptography.hazmat.primitives.ciphers import Cipher, modes

    block = Cipher(AES(AES256_KEY), modes.ECB()).encryptor().update(AES256_K1)
    assert keycheck.check_value("AES-256-GCM", SecretBytes(AES256_KEY)) == block[:3]


def test_other_keys_have_a_check_value_of_their_own_kind():
    assert keycheck.check_method("AES-256-GCM") == "AES-CMAC"
    assert keycheck.check_method("HMAC-SHA256") == "HMAC-SHA-256"
    assert keycheck.check_method("Ed25519") == "SHA-256 of the public key"
    for algorithm in ("HMAC-SHA512", "Ed25519", "ChaCha20-Poly1305", "AES-256-CBC-HMAC-SHA256"):
        made = keymaterial.generate(algorithm)
        assert len(keycheck.check_value(algorithm, made.private)) == 3
    with pytest.raises(InvalidKey):
        keycheck.check_value("AES-256-GCM", SecretBytes(bytes(31)))


@given(st.binary(min_size=16, max_size=64).filter(any), st.integers(2, 9))
@settings(deadline=None)
def test_all_components_make_the_key_and_any_fewer_do_not(key, count):
    parts = components.split(SecretBytes(key), count)
    assert len(parts) == count
    assert components.combine(parts) == key
    for left_out in range(count):
        fewer = parts[:left_out] + parts[left_out + 1 :]
        if len(fewer) > 1:
            assert components.combine(fewer) != key


def test_components_that_cannot_be_right_are_refused():
    for bad in (
        [],
        [SecretBytes(b"1" * 16)],
        [SecretBytes(b"1" * 16), SecretBytes(b"1" * 17)],
        [SecretBytes(b"1" * 16)] * 2,
    ):
        with pytest.raises(InvalidKey):
            components.combine(bad)
    with pytest.raises(InvalidKey):
        components.split(SecretBytes(b"1" * 16), 1)


@pytest.mark.parametrize("method", [Method.RSA_AES_KW, Method.HPKE_X25519])
def test_what_is_wrapped_for_a_receiver_opens_with_the_private_half_only(method):
    pair, other = transport.new_receiver(method), transport.new_receiver(method)
    for length in (16, 32, 64, 2400):
        material = SecretBytes(secrets.token_bytes(length))
        sent = transport.wrap_for(transport.receiver_of(pair.public), method, material)
        assert transport.unwrap_from(pair.private, method, sent) == material
        bad = (
            sent[:-1],
            sent + b"x",
            sent[:30],
            b"",
            bytes([sent[0] ^ 1]) + sent[1:],
            sent[:-1] + bytes([sent[-1] ^ 1]),
        )
        if length != 32:  # what is damaged fails alike whatever its length, and each try checks an RSA key of 4096 bits
            continue
        for damaged in bad:
            with pytest.raises(DecryptFailed):
                transport.unwrap_from(pair.private, method, damaged)
        with pytest.raises(DecryptFailed):
            transport.unwrap_from(other.private, method, sent)


def test_receivers_are_rsa_or_x25519():
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    spki = PublicFormat.SubjectPublicKeyInfo
    found = transport.receiver_of(rsa.generate_private_key(65537, 2048).public_key().public_bytes(Encoding.PEM, spki))
    assert (found.words, found.methods, len(found.fingerprint)) == ("RSA-2048", {Method.RSA_AES_KW}, 64)
    weak = rsa.generate_private_key(65537, 1024).public_key()
    curve = ec.generate_private_key(ec.SECP256R1()).public_key()
    for bad in (
        weak.public_bytes(Encoding.PEM, spki),
        curve.public_bytes(Encoding.DER, spki),
        b"-----BEGIN",
        b"",
        b"\x30\x03",
    ):
        with pytest.raises(InvalidKey):
            transport.receiver_of(bad)
    with pytest.raises(InvalidKey):
        transport.wrap_for(found, Method.HPKE_X25519, SecretBytes(b"k" * 32))
