"""Rows of the certificates app."""

from certificates.models.authorities import Authority
from certificates.models.certificates import Certificate, ExpiryNotice, IssuanceGrant
from certificates.models.renewal import (
    AcmeOrder,
    AcmeSource,
    ChallengeAnswer,
    Delivery,
    DeployHook,
    DnsHook,
    ManagedCertificate,
)
from certificates.models.rollover import RelyingParty, Rollover
from certificates.models.status import CertificateList, OcspAnswer

__all__ = [
    "AcmeOrder", "AcmeSource", "Authority", "Certificate", "CertificateList", "ChallengeAnswer", "Delivery", "DeployHook",
    "DnsHook", "ExpiryNotice", "IssuanceGrant", "ManagedCertificate", "OcspAnswer", "RelyingParty", "Rollover",
]  # fmt: skip
