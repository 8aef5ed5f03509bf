"""WebAuthn beyond the sign-in: a passkey signs a challenge of ours, or is made for somebody who has no account.

The relying party is the portal's own origin (`PORTAL_ORIGIN`), and no other origin is ever accepted.
"""

import base64
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from allauth.mfa.models import Authenticator
from allauth.mfa.webauthn.internal.auth import parse_registration_response
from django.conf import settings
from fido2.cose import CoseKey
from fido2.server import Fido2Server
from fido2.webauthn import (
    AttestedCredentialData,
    AuthenticationResponse,
    PublicKeyCredentialRpEntity,
    PublicKeyCredentialUserEntity,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from keyvault_portal.errors import PermissionRefused

ALGORITHMS = (-7, -8, -257)  # COSE: ES256, EdDSA, RS256; what the evidence pack's verifier can check
LONGEST = 16_384  # characters of a browser's answer


class PasskeyRefused(PermissionRefused):
    code, title = "passkey_refused", "The passkey is not accepted"


@dataclass(frozen=True, slots=True)
class Passkey:
    """A registered credential and the greatest value of its signature counter that is known."""

    credential: AttestedCredentialData
    count: int = 0


@dataclass(frozen=True, slots=True)
class Assertion:
    """One checked answer: everything somebody else needs to check it again. Bytes are base64url."""

    key_id: str
    jwk: dict[str, str]
    rp_id: str
    origin: str
    client_data: str
    authenticator_data: str
    signature: str
    count: int


def passkeys_of(person_id: UUID) -> list[Passkey]:
    """The passkeys that this person has registered for signing in."""
    rows = Authenticator.objects.filter(user_id=person_id, type=Authenticator.Type.WEBAUTHN)
    return [found for row in rows if (found := passkey_in(row)) is not None]


def passkey_in(row: Authenticator) -> Passkey | None:
    """What was registered with this row of allauth's; None if it holds no credential."""
    data = parse_registration_response(row.data["credential"]).response.attestation_object.auth_data
    return Passkey(data.credential_data, data.counter) if data.credential_data is not None else None


def have_passkeys(people: Iterable[UUID]) -> set[UUID]:
    """Which of these people have one."""
    rows = Authenticator.objects.filter(user_id__in=list(people), type=Authenticator.Type.WEBAUTHN)
    return set(rows.values_list("user_id", flat=True))


def request_options(challenge: bytes, passkeys: Sequence[Passkey], *, verified: bool) -> str:
    """What the browser needs to let one of `passkeys` sign `challenge`, as JSON; `verified` asks for PIN or biometrics."""
    options, _ = _server().authenticate_begin([key.credential for key in passkeys], _wanted(verified), challenge)
    return json.dumps(dict(options)["publicKey"])


def check_assertion(challenge: bytes, passkeys: Sequence[Passkey], answer: str, *, verified: bool) -> Assertion:
    """The browser's answer, checked by WebAuthn level 3, section 7.2; raises PasskeyRefused, also when a counter went back."""
    state = {"challenge": to_text(challenge), "user_verification": _wanted(verified)}
    try:
        given = AuthenticationResponse.from_dict(_read(answer))
        used = _server().authenticate_complete(state, [key.credential for key in passkeys], given)
    except (ValueError, TypeError, KeyError) as error:
        raise PasskeyRefused(_cause(error), hint="Use a passkey of your own, on this page, and try again.") from None
    data = given.response.authenticator_data
    known = max(key.count for key in passkeys if key.credential.credential_id == used.credential_id)
    if (data.counter or known) and data.counter <= known:
        raise PasskeyRefused(
            "Its counter went back: there may be a copy of it.",
            hint="Remove it from your account and tell a security officer.",
        )
    return Assertion(
        key_id=to_text(used.credential_id), jwk=jwk_of(used.public_key), rp_id=_rp_id(), origin=_origin(),
        client_data=to_text(given.response.client_data), authenticator_data=to_text(data), signature=to_text(given.response.signature),
        count=data.counter,
    )  # fmt: skip


def creation_options(challenge: bytes, *, user_id: bytes, name: str) -> str:
    """What the browser needs to make a passkey for `user_id`, as JSON."""
    user = PublicKeyCredentialUserEntity(id=user_id, name=name, display_name=name)
    options, _ = _server().register_begin(
        user, [], ResidentKeyRequirement.DISCOURAGED, _wanted(False), challenge=challenge
    )
    return json.dumps(dict(options)["publicKey"])


def check_creation(challenge: bytes, answer: str) -> Passkey:
    """The passkey that the browser made, checked by section 7.1; raises PasskeyRefused."""
    state = {"challenge": to_text(challenge), "user_verification": _wanted(False)}
    try:
        data = _server().register_complete(state, _read(answer))
    except (ValueError, TypeError, KeyError) as error:
        raise PasskeyRefused(_cause(error), hint="Try again, or go on without a passkey.") from None
    if data.credential_data is None:
        raise PasskeyRefused("The answer holds no passkey.")
    jwk_of(data.credential_data.public_key)
    return Passkey(data.credential_data, data.counter)


def jwk_of(key: CoseKey) -> dict[str, str]:
    """The public key as JWK (RFC 7517); raises PasskeyRefused for an algorithm that few can check."""
    if key.get(3) not in ALGORITHMS:
        raise PasskeyRefused(
            "It signs with an algorithm that the record's readers may not know.", hint="Use another passkey."
        )
    if key[3] == -257:
        return {"kty": "RSA", "n": to_text(key[-1]), "e": to_text(key[-2])}
    if key[3] == -8:
        return {"kty": "OKP", "crv": "Ed25519", "x": to_text(key[-2])}
    return {"kty": "EC", "crv": "P-256", "x": to_text(key[-2]), "y": to_text(key[-3])}


def to_text(data: bytes) -> str:
    """Base64url without padding (RFC 4648, section 5)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _server() -> Fido2Server:
    rp = PublicKeyCredentialRpEntity(id=_rp_id(), name="KeyVault Portal")
    server = Fido2Server(rp, verify_origin=lambda origin: origin == _origin())
    server.allowed_algorithms = [kind for kind in server.allowed_algorithms if kind.alg in ALGORITHMS]
    return server


def _origin() -> str:
    return str(settings.PORTAL_ORIGIN).rstrip("/")


def _rp_id() -> str:
    return urlsplit(_origin()).hostname or ""


def _wanted(verified: bool) -> UserVerificationRequirement:
    return UserVerificationRequirement.REQUIRED if verified else UserVerificationRequirement.PREFERRED


def _read(answer: str) -> dict[str, Any]:
    if len(answer) > LONGEST:
        raise ValueError("The answer is too long.")
    value = json.loads(answer)
    if not isinstance(value, dict):
        raise TypeError
    return value


_CAUSES = {
    "Wrong challenge": "It signed something else.",
    "Invalid origin": "It signed for another address.",
    "Wrong RP ID": "It signed for another site.",
    "User verification": "It did not verify you by PIN, fingerprint or face.",
    "Unknown credential": "It is none of the passkeys registered for you.",
    "Invalid signature": "Its signature is not of the registered key.",
}


def _cause(error: Exception) -> str:
    return next((said for start, said in _CAUSES.items() if str(error).startswith(start)), "Its answer cannot be read.")
