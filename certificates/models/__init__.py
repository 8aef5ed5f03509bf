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
from certificates.models.renewal import (
    AcmeSource,
    CaRevocation,
    ChallengeAnswer,
    Delivery,
    DeployHook,
    DnsHook,
    ManagedCertificate,
    RenewalOrder,
)
from certificates.models.rollover import RelyingParty, Rollover
from certificates.models.scans import EndpointScan, ScanRange, ScanTarget, Sighting
from certificates.models.status import CertificateList, OcspAnswer
from certificates.models.transparency import LoggedCertificate, LogList, LogMonitor

__all__ = [
    "AcmeAccount", "AcmeAuthorization", "AcmeChallenge", "AcmeExternalKey", "AcmeOrder", "AcmeServer", "AcmeSource",
    "Authority", "CaRevocation", "Certificate", "CertificateList", "ChallengeAnswer", "Delivery", "DeployHook", "DnsHook",
    "EndpointScan", "ExpiryNotice", "IssuanceGrant", "LogList", "LogMonitor", "LoggedCertificate", "ManagedCertificate",
    "OcspAnswer", "RelyingParty", "RenewalOrder", "Rollover", "ScanRange", "ScanTarget", "Sighting",
]  # fmt: skip
