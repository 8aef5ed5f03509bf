"""A certification request (RFC 2986) for a key version, signed where the key lives."""

from cryptography import x509
from cryptography.x509.oid import NameOID

from certificates import encoding, signing
from certificates.names import Name, to_general_name
from keys.models import KeyVersion
from keys.services import materials


def request_for(version: KeyVersion, names: list[Name]) -> bytes:
    """PKCS#10 in DER for these names; the library builds it with a throw-away key, ours stands in it and signs it.

    Raises ProviderUnavailable, WrongState, WrongSignature.
    """
    scheme = signing.scheme(version.key.algorithm)
    public_key = bytes(version.public_key or b"")
    common = next((value for kind, value in names if kind == "dns" and len(value) <= 64), "")
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)] if common else [])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    alternative = x509.SubjectAlternativeName([to_general_name(name) for name in names])
    built = scheme.sign_with_throw_away(builder.add_extension(alternative, critical=not common))
    number, name, _, attributes = encoding.parts(built.tbs_certrequest_bytes, exactly=4)
    info = encoding.sequence(number, name, public_key, attributes)
    signature = signing.sign(version.key.algorithm, public_key, info, materials.signer(version).sign)
    return signing.assemble(info, scheme.identifier, signature)
