"""What is wrong with a certificate that is valid all the same: weak keys and digests, keys that others have too."""

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa

from keys.crypto.algorithms import ALGORITHMS, Standing


def weaknesses_of(certificate: x509.Certificate) -> list[str]:
    """Faults that the certificate itself shows, in words."""
    found = []
    digest = certificate.signature_hash_algorithm
    if digest is not None and digest.name in {"md5", "sha1"}:
        found.append(f"Signed with {digest.name.upper()}.")
    match certificate.public_key():
        case rsa.RSAPublicKey() as key if key.key_size < 2048:
            found.append(f"RSA key of {key.key_size} bits.")
        case ec.EllipticCurvePublicKey() as key if key.key_size < 256:
            found.append(f"Curve {key.curve.name}.")
        case dsa.DSAPublicKey():
            found.append("DSA key.")
    if certificate.version is not x509.Version.v3:
        found.append("Not version 3.")
    lifetime = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    try:
        leaf = not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        leaf = True
    if leaf and lifetime.days > 825:
        found.append(f"Lives {lifetime.days} days.")
    return found


def weakness_of_authority(algorithm: str) -> str:
    """What is wrong with this algorithm for an authority, in words, or nothing: what it signs stands for years."""
    row = ALGORITHMS[algorithm]
    if row.standing is Standing.RECOMMENDED:
        return ""
    end = f", good until {row.acceptable_until:%-d %B %Y}" if row.acceptable_until else ""
    return f"{algorithm} has a strength of {row.strength} bits{end}: too weak for an authority."
