"""Signing the minutes (PAdES, ETSI EN 319 142-1, B-B and with a time-stamp B-T) with a key that only a provider can use.

pyHanko builds the document; the signature itself is one call of `sign`, whatever holds the key.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from secrets import randbits

from asgiref.sync import async_to_sync, sync_to_async
from asn1crypto import x509
from asn1crypto.algos import SignedDigestAlgorithm
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.sign.fields import MDPPerm, SigSeedSubFilter
from pyhanko.sign.signers import PdfSignatureMetadata, PdfSigner
from pyhanko.sign.signers.pdf_cms import Signer
from pyhanko.sign.timestamps import TimeStamper
from pyhanko_certvalidator.registry import SimpleCertificateStore

from ceremonies.minutes.schemes import SCHEMES, Scheme

LIFETIME = timedelta(days=3653)
FIELD = "Minutes"


@dataclass(frozen=True, slots=True)
class Signed:
    """The signed document."""

    pdf: bytes
    timestamped: bool


def digest_of(certificate: bytes) -> str:
    """SHA-256 of a certificate's DER, in hexadecimal: what people compare."""
    return sha256(certificate).hexdigest()


def sign_pdf(
    pdf: bytes,
    *,
    algorithm: str,
    chain: Sequence[bytes],
    sign: Callable[[bytes], bytes],
    place: str,
    timestamper: TimeStamper | None = None,
) -> Signed:
    """The document with a signature after which nothing in it may change; `chain` is DER, the key's own certificate first.

    `sign` gets whole messages and runs in the caller's thread; what it raises comes through, as does pyHanko's
    TimestampRequestError.
    """
    signer = _KeySigner(SCHEMES[algorithm], [x509.Certificate.load(one) for one in chain], sign)
    metadata = PdfSignatureMetadata(
        field_name=FIELD, md_algorithm=SCHEMES[algorithm].digest, location=place, reason="Minutes of a ceremony", name=signer.subject_name,
        subfilter=SigSeedSubFilter.PADES, certify=True, docmdp_permissions=MDPPerm.NO_CHANGES,
    )  # fmt: skip
    out = io.BytesIO()
    work = PdfSigner(metadata, signer=signer, timestamper=timestamper)
    async_to_sync(work.async_sign_pdf)(IncrementalPdfFileWriter(io.BytesIO(pdf)), output=out)
    return Signed(out.getvalue(), timestamper is not None)


class _KeySigner(Signer):
    """pyHanko's signer over one call of ours."""

    def __init__(self, scheme: Scheme, chain: Sequence[x509.Certificate], sign: Callable[[bytes], bytes]) -> None:
        registry = SimpleCertificateStore()  # type: ignore[no-untyped-call]
        registry.register_multiple(chain[1:])
        super().__init__(
            signing_cert=chain[0], cert_registry=registry, signature_mechanism=SignedDigestAlgorithm(scheme.identifier)
        )
        self._sign, self._longest = sign, scheme.longest

    async def async_sign_raw(self, data: bytes, digest_algorithm: str, dry_run: bool = False) -> bytes:
        if dry_run:
            return bytes(self._longest)
        return bytes(await sync_to_async(self._sign)(data))


def self_signed(
    algorithm: str, public_key: bytes, *, name: str, sign: Callable[[bytes], bytes], now: datetime
) -> bytes:
    """A certificate for a key that nobody certified, signed by itself, in DER (RFC 5280; RFC 9336 for its purpose)."""
    identifier = SignedDigestAlgorithm(SCHEMES[algorithm].identifier)
    subject = x509.Name.build({"common_name": name[:64], "organization_name": "KeyVault Portal"})
    spki = x509.PublicKeyInfo.load(public_key)
    body = x509.TbsCertificate({
        "version": "v3", "serial_number": randbits(159) + 1, "signature": identifier, "issuer": subject, "subject": subject,
        "validity": {
            "not_before": x509.Time({"utc_time": now - timedelta(minutes=5)}), "not_after": x509.Time({"utc_time": now + LIFETIME}),
        },
        "subject_public_key_info": spki,
        "extensions": [
            {"extn_id": "basic_constraints", "critical": True, "extn_value": {"ca": False}},
            {"extn_id": "key_usage", "critical": True, "extn_value": {"digital_signature", "non_repudiation"}},
            {"extn_id": "extended_key_usage", "critical": False, "extn_value": ["1.3.6.1.5.5.7.3.36"]},
            {"extn_id": "key_identifier", "critical": False, "extn_value": sha256(public_key).digest()[:20]},
        ],
    })  # fmt: skip
    signature = sign(body.dump())
    made = x509.Certificate({"tbs_certificate": body, "signature_algorithm": identifier, "signature_value": signature})
    return bytes(made.dump())
