"""A passkey in software: answers as a browser does, with a key that tests may also misuse."""

import json
from hashlib import sha256
from typing import Any
from uuid import UUID

from allauth.mfa.models import Authenticator
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from django.conf import settings
from fido2.cose import ES256, RS256, EdDSA
from fido2.webauthn import AttestationObject, AttestedCredentialData, AuthenticatorData, CollectedClientData

from keyvault_portal.accounts.passkeys import to_text

FLAG = AuthenticatorData.FLAG
_KEYS = {
    "es256": (lambda: ec.generate_private_key(ec.SECP256R1()), ES256),
    "eddsa": (ed25519.Ed25519PrivateKey.generate, EdDSA),
    "rs256": (lambda: rsa.generate_private_key(65537, 2048), RS256),
}


class SoftPasskey:
    """One credential; `count` is its signature counter."""

    def __init__(self, algorithm: str = "es256", *, identifier: bytes = b"passkey-of-a-test") -> None:
        make, cose = _KEYS[algorithm]
        self.key: Any = make()
        self.identifier, self.count = identifier, 1
        self.credential = AttestedCredentialData.create(
            bytes(16), identifier, cose.from_cryptography_key(self.key.public_key())
        )

    def create(self, challenge: bytes, *, origin: str = "") -> dict[str, Any]:
        """The answer of navigator.credentials.create."""
        data = AuthenticatorData.create(_rp(), FLAG.UP | FLAG.UV | FLAG.AT, self.count, bytes(self.credential))
        response = {
            "clientDataJSON": to_text(_client("webauthn.create", challenge, origin)),
            "attestationObject": to_text(AttestationObject.create("none", data, {})),
        }
        return self._answer(response)

    def sign(
        self, challenge: bytes, *, origin: str = "", verified: bool = True, rp: bytes = b"", kind: str = "webauthn.get"
    ) -> str:
        """The answer of navigator.credentials.get, as JSON."""
        self.count += 1
        client = _client(kind, challenge, origin)
        data = AuthenticatorData.create(rp or _rp(), FLAG.UP | (FLAG.UV if verified else FLAG(0)), self.count)
        message = bytes(data) + sha256(client).digest()
        if isinstance(self.key, ec.EllipticCurvePrivateKey):
            signature = self.key.sign(message, ec.ECDSA(hashes.SHA256()))
        elif isinstance(self.key, rsa.RSAPrivateKey):
            signature = self.key.sign(message, padding.PKCS1v15(), hashes.SHA256())
        else:
            signature = self.key.sign(message)
        return json.dumps(self._answer({
            "clientDataJSON": to_text(client), "authenticatorData": to_text(data), "signature": to_text(signature),
        }))  # fmt: skip

    def register(self, person_id: UUID | None) -> Authenticator:
        """As allauth keeps it."""
        data = {"name": "Test", "credential": self.create(b"registered before the test")}
        return Authenticator.objects.create(user_id=person_id, type=Authenticator.Type.WEBAUTHN, data=data)

    def _answer(self, response: dict[str, str]) -> dict[str, Any]:
        name = to_text(self.identifier)
        return {"id": name, "rawId": name, "type": "public-key", "response": response, "clientExtensionResults": {}}


def _client(kind: str, challenge: bytes, origin: str) -> bytes:
    return bytes(CollectedClientData.create(kind, challenge, origin or settings.PORTAL_ORIGIN))


def _rp() -> bytes:
    return sha256(b"localhost").digest()
