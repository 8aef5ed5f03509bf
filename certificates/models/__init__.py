"""Rows of the certificates app."""

from certificates.models.authorities import Authority
from certificates.models.certificates import Certificate, ExpiryNotice, IssuanceGrant
from certificates.models.status import CertificateList, OcspAnswer

__all__ = ["Authority", "Certificate", "CertificateList", "ExpiryNotice", "IssuanceGrant", "OcspAnswer"]
