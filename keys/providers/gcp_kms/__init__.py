"""Google Cloud KMS: keys stay in a key ring of the organisation's project, in software or in Google's HSMs."""

from keys.providers.gcp_kms.provider import GcpKmsProvider

__all__ = ["GcpKmsProvider"]
