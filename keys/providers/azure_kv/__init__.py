"""Azure Key Vault and Managed HSM: keys stay in the organisation's vault, in software or in Microsoft's HSMs."""

from keys.providers.azure_kv.provider import AzureKeyVaultProvider

__all__ = ["AzureKeyVaultProvider"]
