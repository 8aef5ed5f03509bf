"""A person's own signature over an act: by passkey in the browser, or offline by an Ed25519 or OpenPGP key that others agreed to.

Signed is `statement(act)`: a label and the canonical act, byte for byte. A passkey signs its SHA-256 as the WebAuthn challenge; the
act holds the request's id, so a signature fits no other request.
"""

from dataclasses import asdict
from hashlib import sha256
from typing import Any
from uuid import UUID

from keyvault_portal.accounts.passkeys import (
    Passkey,
    PasskeyRefused,
    check_assertion,
    passkeys_of,
    request_options,
    to_text,
)
from keyvault_portal.approvals.errors import SignatureRefused
from keyvault_portal.approvals.models import Decision, SigningKey
from keyvault_portal.audit.evidence.signatures import signed, statement

LONGEST = 65_536  # characters of a signature as it is given
_AGAIN = "Sign exactly the file that the page gives, with a key that is registered for you."


def options_for(person_id: UUID, act: bytes) -> str:
    """What this person's browser needs to sign the act with a passkey, as JSON; "" for somebody without one."""
    found = _passkeys(person_id)
    return request_options(challenge(act), found, verified=True) if found else ""


def challenge(act: bytes) -> bytes:
    """What a passkey signs: SHA-256 of the statement."""
    return sha256(statement(act)).digest()


def check(person_id: UUID, act: bytes, text: str) -> dict[str, Any]:
    """The evidence that `text` is this person's signature over `act`; raises SignatureRefused.

    `text` is the JSON of a WebAuthn assertion, an armored SSHSIG or OpenPGP signature, or 64 bytes of Ed25519 in base64.
    """
    text = text.strip()
    if len(text) > LONGEST:
        raise SignatureRefused("It is too long to be a signature.", hint=_AGAIN)
    if text.startswith("{"):
        try:
            found = asdict(check_assertion(challenge(act), _passkeys(person_id), text, verified=True))
        except PasskeyRefused as error:
            raise SignatureRefused(error.detail, hint=error.hint) from None
        return {"method": "passkey"} | found
    armored = next((name for start, name in _ARMOR.items() if text.startswith(start)), "ed25519")
    kind = SigningKey.Kind.OPENPGP if armored == "openpgp" else SigningKey.Kind.ED25519
    keys = SigningKey.objects.filter(person_id=person_id, kind=kind, removed_at=None)
    if not keys:
        raise SignatureRefused(
            "No key of this kind is registered for you.", hint="Register its public half on the page of your account."
        )
    for key in keys:
        evidence = {"method": armored, "key_id": key.fingerprint, "key": key.public_key, "signature": text}
        if fits(evidence, act):
            return evidence
    raise SignatureRefused("It fits this act with none of your keys.", hint=_AGAIN)


def fits(evidence: dict[str, Any], act: bytes) -> bool:
    """Whether the evidence is a signature over exactly this act, by the key that it names."""
    if evidence["method"] == "openpgp":
        return _openpgp_fits(evidence, statement(act))
    try:
        return signed(evidence, act)
    except (ValueError, KeyError, TypeError, IndexError):
        return False


_ARMOR = {"-----BEGIN SSH SIGNATURE-----": "ssh", "-----BEGIN PGP SIGNATURE-----": "openpgp"}


def _openpgp_fits(evidence: dict[str, Any], message: bytes) -> bool:
    from pysequoia import Cert, Sig, verify

    try:
        certificate = Cert.from_bytes(evidence["key"].encode())
        verify(bytes=message, store=lambda _: [certificate], signature=Sig.from_bytes(evidence["signature"].encode()))
    except Exception:  # the library raises bare ones for whatever does not verify
        return False
    return True


def _passkeys(person_id: UUID) -> list[Passkey]:
    """This person's passkeys, each with the greatest counter that it ever signed an act with."""
    counts: dict[str, int] = {}
    rows = Decision.objects.filter(person_id=person_id, signature__method="passkey")
    for key_id, count in rows.values_list("signature__key_id", "signature__count"):
        counts[key_id] = max(count, counts.get(key_id, 0))
    found = passkeys_of(person_id)
    return [
        Passkey(key.credential, max(key.count, counts.get(to_text(key.credential.credential_id), 0))) for key in found
    ]
