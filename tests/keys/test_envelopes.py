"""Our envelopes and those of the usual recipe are the same thing."""

import base64
import json
import os

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keys.crypto.secret import SecretBytes
from keys.services import lifecycle, materials, operations
from keyvault_portal.errors import DecryptRefused, NotFound, ValidationFailed

CONTEXT = {"tenant": "größe", "purpose": "invoice"}


class Kms:
    """The two calls of the recipe, answered by a version of ours."""

    def __init__(self, version):
        self.version = version

    def generate_data_key(self, KeyId, KeySpec, EncryptionContext):
        key = os.urandom(32)
        return {
            "Plaintext": key,
            "CiphertextBlob": materials.wrap_under(self.version, SecretBytes(key), context=EncryptionContext),
        }

    def decrypt(self, CiphertextBlob, EncryptionContext):
        secret = materials.unwrap_under(self.version, CiphertextBlob, context=EncryptionContext)
        return {"Plaintext": secret.reveal()}


def envelope_encrypt(kms_client, kms_key_id, plaintext, context):
    """The recipe applications follow, word for word."""
    response = kms_client.generate_data_key(KeyId=kms_key_id, KeySpec="AES_256", EncryptionContext=context)
    plaintext_dek = response["Plaintext"]
    wrapped_dek = response["CiphertextBlob"]
    nonce = os.urandom(12)
    aesgcm = AESGCM(plaintext_dek)
    ciphertext = aesgcm.encrypt(nonce, plaintext, json.dumps(context).encode())
    return {
        "wrapped_dek": base64.b64encode(wrapped_dek).decode(),
        "nonce": base64.b64encode(nonce).decode(),
        "ciphertext": base64.b64encode(ciphertext).decode(),
        "encryption_context": context,
        "algorithm": "AES-256-GCM",
        "kms_key_id": kms_key_id,
    }


def envelope_decrypt(kms_client, encrypted):
    response = kms_client.decrypt(
        CiphertextBlob=base64.b64decode(encrypted["wrapped_dek"]), EncryptionContext=encrypted["encryption_context"]
    )
    aesgcm = AESGCM(response["Plaintext"])
    return aesgcm.decrypt(
        base64.b64decode(encrypted["nonce"]),
        base64.b64decode(encrypted["ciphertext"]),
        json.dumps(encrypted["encryption_context"]).encode(),
    )


def test_the_recipe_reads_what_the_portal_writes(tree, service):
    kms = Kms(materials.active_version(tree.kek))
    made = operations.envelope_encrypt(service, tree.kek.pk, b"data", CONTEXT)
    assert list(made.to_dict()) == [
        "wrapped_dek",
        "nonce",
        "ciphertext",
        "encryption_context",
        "algorithm",
        "kms_key_id",
    ]
    assert envelope_decrypt(kms, json.loads(made.to_json())) == b"data"


def test_the_portal_reads_what_the_recipe_writes(tree, service):
    version = materials.active_version(tree.kek)
    made = envelope_encrypt(Kms(version), version.kms_key_arn, b"data", CONTEXT)
    lifecycle.introduce_version(actor=tree.officer, key_id=tree.kek.pk, activate=True)
    assert operations.envelope_decrypt(service, json.dumps(made)) == b"data"


def test_a_data_key_comes_back_for_the_same_context_only(tree, service):
    made = operations.generate_data_key(service, tree.kek.pk, CONTEXT)
    assert operations.unwrap_data_key(service, made.kms_key_id, made.wrapped, CONTEXT) == made.plaintext
    with pytest.raises(DecryptRefused):
        operations.unwrap_data_key(service, made.kms_key_id, made.wrapped, {})


def test_damaged_envelopes_do_not_open(tree, service):
    whole = operations.envelope_encrypt(service, tree.kek.pk, b"data", CONTEXT).to_dict()
    other = operations.envelope_encrypt(service, tree.kek.pk, b"data", CONTEXT).to_dict()
    for change in (
        {"wrapped_dek": other["wrapped_dek"]},
        {"nonce": other["nonce"]},
        {"ciphertext": other["ciphertext"]},
        {"encryption_context": {"tenant": "b"}},
        {"wrapped_dek": whole["wrapped_dek"][:32]},
        {"ciphertext": base64.b64encode(base64.b64decode(whole["ciphertext"])[:-1]).decode()},
        {"algorithm": "AES-256-GCM-SIV"},
    ):
        with pytest.raises(DecryptRefused):
            operations.envelope_decrypt(service, whole | change)
    with pytest.raises(NotFound):
        operations.envelope_decrypt(service, whole | {"kms_key_id": "local:key/none/1"})
    for text in (
        "{",
        json.dumps(whole)[:-20],
        json.dumps({**whole, "more": 1}),
        b"\xff",
        "[]",
        json.dumps(whole | {"nonce": "AA"}),
    ):
        with pytest.raises(ValidationFailed):
            operations.envelope_decrypt(service, text)
