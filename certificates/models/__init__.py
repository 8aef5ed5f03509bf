"""Rows of the certificates app."""

from certificates.models.acme import (
    AcmeAccount,
    AcmeAuthorization,
    AcmeChallenge,
    AcmeExternalKey,
    AcmeOrder,
    AcmeServer,
)
from certificates.models.authorities import Authority
from certificates.models.certificates import Certificate, ExpiryNotice, IssuanceGrant
from certificates.models.status import CertificateList, OcspAnswer

__all__ = [
    "AcmeAccount",
    "AcmeAuthorization",
    "AcmeChallenge",
    "AcmeExternalKey",
    "AcmeOrder",
    "AcmeServer",
    "Authority",
    "Certificate",
    "CertificateList",
    "ExpiryNotice",
    "IssuanceGrant",
    "OcspAnswer",
]
