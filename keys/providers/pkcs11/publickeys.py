"""Public keys as a token tells them, in the form the portal keeps: SubjectPublicKeyInfo, DER."""

from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from keys.crypto.keyforms import spki
from keys.providers.base import ProviderFault

_CURVES: dict[str, tuple[ec.EllipticCurve, int]] = {
    "ECDSA-P256-SHA256": (ec.SECP256R1(), 65),
    "ECDSA-P384-SHA384": (ec.SECP384R1(), 97),
}


def public_key(algorithm: str, said: dict[str, Any]) -> bytes | None:
    """From modulus and exponent, or from a point; None for a secret key. Raises ProviderFault."""
    try:
        if "modulus" in said:
            modulus, exponent = (int.from_bytes(said[name]) for name in ("modulus", "exponent"))
            return spki(rsa.RSAPublicNumbers(exponent, modulus).public_key())
        if "point" not in said:
            return None
        # CKA_EC_POINT is the point inside an OCTET STRING (v2.40, 2.3.3); some tokens give it bare. Its end is the same.
        if algorithm == "Ed25519":
            return spki(ed25519.Ed25519PublicKey.from_public_bytes(said["point"][-32:]))
        curve, length = _CURVES[algorithm]
        return spki(ec.EllipticCurvePublicKey.from_encoded_point(curve, said["point"][-length:]))
    except (ValueError, KeyError, TypeError):
        raise ProviderFault("The HSM gave a public key that cannot be one.") from None
