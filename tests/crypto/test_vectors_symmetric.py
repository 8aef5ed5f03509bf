"""Published vectors, valid and invalid, for AEAD, key wrap, HKDF and HMAC."""

import json
from pathlib import Path

import pytest

from keys.crypto import keymaterial
from keys.crypto.aead import Aead, AesCbcHmac, open_, seal
from keys.crypto.errors import DecryptFailed, InvalidKey, InvalidSignature, LimitExceeded
from keys.crypto.kdf import hkdf, hkdf_expand, hkdf_extract
from keys.crypto.keywrap import unwrap_key, wrap_key
from keys.crypto.secret import SecretBytes

VECTORS = Path(__file__).parent.parent / "vectors"


def sections(name):
    return json.loads((VECTORS / name).read_text())["sections"]


def cases(name):
    return [(alg, case) for alg, section in sections(name).items() for case in section["tests"]]


def raw(case, *names):
    return [bytes.fromhex(case[name]) for name in names]


@pytest.mark.parametrize(("algorithm", "case"), cases("wycheproof_aead.json"))
def test_wycheproof_aead(algorithm, case):
    key, iv, aad, msg, ct, tag = raw(case, "key", "iv", "aad", "msg", "ct", "tag")
    if case["result"] == "valid" and len(iv) == Aead(algorithm, key).nonce_size:
        assert open_(algorithm, key, iv, ct + tag, aad) == msg
        assert seal(algorithm, key, msg, aad, nonce=iv) == (iv, ct + tag)
    else:
        with pytest.raises(DecryptFailed):
            open_(algorithm, key, iv, ct + tag, aad)


def test_nist_gcm():
    outcomes = set()
    for case in json.loads((VECTORS / "nist_gcm.json").read_text())["tests"]:
        key, iv, aad, ct, tag = raw(case, "key", "iv", "aad", "ct", "tag")
        outcomes.add(case["result"])
        if case["result"] == "valid":
            assert open_("AES-256-GCM", key, iv, ct + tag, aad) == bytes.fromhex(case["msg"])
        else:
            with pytest.raises(DecryptFailed):
                open_("AES-256-GCM", key, iv, ct + tag, aad)
    assert outcomes == {"valid", "invalid"}


def test_cbc_hmac_tag_is_that_of_rfc_7518_b1():
    # B.1 has a 16-byte MAC key; HMAC pads keys with zeros, so a zero-extended one gives the same code M.
    aad = b"The second principle of Auguste Kerckhoffs"
    iv = bytes.fromhex("1af38c2dc2b96ffdd86694092341bc04")
    ciphertext = bytes.fromhex(
        "c80edfa32ddf39d5ef00c0b468834279a2e46a1b8049f792f76bfe54b903a9c9a94ac9b47ad2655c5f10f9aef71427e2"
        "fc6f9b3f399a221489f16362c703233609d45ac69864e3321cf82935ac4096c86e133314c54019e8ca7980dfa4b9cf1b"
        "384c486f3a54c51078158ee5d79de59fbd34d848b3d69550a67646344427ade54b8851ffb598f7f80074b9473c82e2db"
    )
    scheme = AesCbcHmac(bytes(range(16)) + bytes(16) + bytes(32))
    expected = "652c3fa36b0a7c5b3219fab3a30bc1c4e6e54582476515f0ad9f75a2b71c73ef"
    assert scheme._tag(iv, ciphertext, aad).hex() == expected


def test_cbc_is_nist_sp_800_38a_f_2_5():
    enc = bytes.fromhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
    plain = bytes.fromhex("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51")
    iv = bytes(range(16))
    _, sealed = seal("AES-256-CBC-HMAC-SHA256", bytes(32) + enc, plain, nonce=iv)
    assert sealed[:32].hex() == "f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d"


@pytest.mark.parametrize(("algorithm", "case"), cases("wycheproof_keywrap.json") + cases("nist_keywrap.json"))
def test_key_wrap(algorithm, case):
    key, ct = raw(case, "key", "ct")
    if case["result"] == "valid":
        msg = bytes.fromhex(case["msg"])
        assert unwrap_key(algorithm, key, ct, {}) == msg
        assert wrap_key(algorithm, key, SecretBytes(msg), {}) == ct
    elif case["result"] == "invalid":
        with pytest.raises(DecryptFailed):
            unwrap_key(algorithm, key, ct, {})


def test_rfc_3394_4_6():
    kek = bytes(range(32))
    data = bytes.fromhex("00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f")
    expected = "28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21"
    assert wrap_key("AES-256-KW", kek, SecretBytes(data), {}).hex() == expected


def test_key_wrap_refuses_lengths_rfc_3394_cannot_carry():
    with pytest.raises(InvalidKey):
        wrap_key("AES-256-KW", bytes(32), SecretBytes(b"odd"), {})


def test_rfc_5869():
    for case in json.loads((VECTORS / "rfc5869.json").read_text())["tests"]:
        ikm, salt, info, prk, okm = raw(case, "ikm", "salt", "info", "prk", "okm")
        assert hkdf_extract(salt, ikm) == prk
        assert hkdf_expand(prk, info, int(case["l"])) == okm


@pytest.mark.parametrize("case", sections("wycheproof_hkdf.json")["sha256"]["tests"])
def test_wycheproof_hkdf(case):
    ikm, salt, info, okm = raw(case, "ikm", "salt", "info", "okm")
    if case["result"] == "valid":
        assert hkdf(salt, ikm, info, case["size"]) == okm
    else:
        with pytest.raises(LimitExceeded):
            hkdf(salt, ikm, info, case["size"])


@pytest.mark.parametrize(("algorithm", "case"), cases("wycheproof_hmac.json"))
def test_wycheproof_hmac(algorithm, case):
    key, msg, tag = raw(case, "key", "msg", "tag")
    if case["result"] == "valid":
        assert keymaterial.mac(algorithm, SecretBytes(key), msg) == tag
        keymaterial.verify_mac(algorithm, SecretBytes(key), msg, tag)
    else:
        with pytest.raises(InvalidSignature):
            keymaterial.verify_mac(algorithm, SecretBytes(key), msg, tag)
