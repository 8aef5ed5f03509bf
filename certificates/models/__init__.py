"""Rows of the certificates app."""

from certificates.models.authorities import Authority
from certificates.models.certificates import Certificate, ExpiryNotice, IssuanceGrant
from certificates.models.scans import EndpointScan, ScanRange, ScanTarget, Sighting
from certificates.models.status import CertificateList, OcspAnswer
from certificates.models.transparency import LoggedCertificate, LogList, LogMonitor

__all__ = [
    "Authority",
    "Certificate",
    "CertificateList",
    "EndpointScan",
    "ExpiryNotice",
    "IssuanceGrant",
    "LogList",
    "LogMonitor",
    "LoggedCertificate",
    "OcspAnswer",
    "ScanRange",
    "ScanTarget",
    "Sighting",
]
