"""Certificates out of the files people have: PEM, DER, PKCS#12 and Java key stores; their private keys are never kept."""

from asn1crypto import core as asn1
from asn1crypto import pkcs12 as asn1_pkcs12
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import pkcs12

from certificates import jks
from certificates.csr import refused

MAX_BYTES, MAX_CERTIFICATES = 2**20, 500
MAX_ROUNDS = 2_000_000  # of a PKCS#12's key derivation: a file may ask for billions and so keep a worker busy for hours
_ROUND_FIELDS = {"iterations", "iteration_count"}


def read(content: bytes, password: str = "") -> tuple[list[x509.Certificate], int]:
    """The certificates of a file, and how many in it could not be read.

    Raises ValidationFailed: too large, too many, none in it, wrong password, a PKCS#12 whose key derivation would take
    too long.
    """
    if len(content) > MAX_BYTES:
        raise refused("file", f"At most {MAX_BYTES // 2**20} MiB.")
    found, unreadable = _read(content, password)
    if len(found) > MAX_CERTIFICATES:
        raise refused("file", f"At most {MAX_CERTIFICATES} certificates at a time.")
    return found, unreadable


def _read(content: bytes, password: str) -> tuple[list[x509.Certificate], int]:
    if jks.is_store(content):
        return _read_store(content, password)
    if b"-----BEGIN CERTIFICATE-----" in content:
        return _read_pem(content)
    try:
        return [x509.load_der_x509_certificate(content)], 0
    except (ValueError, UnsupportedAlgorithm):
        return _read_pkcs12(content, password), 0


def _read_pem(content: bytes) -> tuple[list[x509.Certificate], int]:
    found, unreadable = [], 0
    for block in content.split(b"-----BEGIN CERTIFICATE-----")[1:]:
        body, end, _ = block.partition(b"-----END CERTIFICATE-----")
        try:
            if not end:
                raise ValueError
            found.append(x509.load_pem_x509_certificate(b"-----BEGIN CERTIFICATE-----" + body + end))
        except (ValueError, UnsupportedAlgorithm):
            unreadable += 1
    return _some(found), unreadable


def _read_store(content: bytes, password: str) -> tuple[list[x509.Certificate], int]:
    """A Java key store opens without a password; one that is given is checked against the store's digest."""
    try:
        raws = jks.read(content, password)
    except jks.WrongPassword:
        raise refused("file", "The password is not that of the key store, or the store was changed.") from None
    except jks.MalformedStore as error:
        raise refused("file", f"The key store cannot be read: {error}.") from None
    found, unreadable = [], 0
    for raw in raws:
        try:
            found.append(x509.load_der_x509_certificate(raw))
        except (ValueError, UnsupportedAlgorithm):
            unreadable += 1
    return _some(found), unreadable


def _some(found: list[x509.Certificate]) -> list[x509.Certificate]:
    if not found:
        raise refused("file", "None of the certificates in the file can be read.")
    return found


def _read_pkcs12(content: bytes, password: str) -> list[x509.Certificate]:
    _refuse_bombs(content)
    try:
        _, leaf, others = pkcs12.load_key_and_certificates(content, password.encode() or None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise refused(
            "file", "This is no certificate in PEM, DER or PKCS#12, or the password does not open it."
        ) from None
    found = [item for item in (leaf, *others) if item is not None]
    if not found:
        raise refused("file", "There is no certificate in the file.")
    return found


def _refuse_bombs(content: bytes) -> None:
    """Raise ValidationFailed when some key derivation in the file asks for too many rounds, before one is begun."""
    try:
        pfx = asn1_pkcs12.Pfx.load(content, strict=True)
        rounds = [pfx["mac_data"]["iterations"].native or 1] if pfx["mac_data"].native else []
        for info in asn1_pkcs12.AuthenticatedSafe.load(pfx["auth_safe"]["content"].native):
            rounds += _rounds(info)
            if info["content_type"].native == "data":
                rounds += _rounds(asn1_pkcs12.SafeContents.load(info["content"].native))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise refused("file", "This is no certificate in PEM, DER or PKCS#12.") from None
    if any(not isinstance(number, int) or number > MAX_ROUNDS for number in rounds):
        raise refused("file", f"The file's key derivation asks for more than {MAX_ROUNDS:,} rounds; it is not opened.")


def _rounds(value: object) -> list[int]:
    """Every iteration count below an ASN.1 value."""
    found: list[int] = []
    if isinstance(value, asn1.Sequence):
        for name in [item[0] for item in value._fields] if value._fields else []:
            member = value[name]
            if name in _ROUND_FIELDS:
                found.append(member.native)
            else:
                found += _rounds(member)
    elif isinstance(value, asn1.SequenceOf | asn1.SetOf):
        for member in value:
            found += _rounds(member)
    elif isinstance(value, asn1.Choice):
        found += _rounds(value.chosen)
    elif isinstance(value, asn1.Any):
        found += _rounds(value.parsed) if value.contents is not None else []
    return found
