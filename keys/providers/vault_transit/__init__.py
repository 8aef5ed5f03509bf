"""Keys in the transit engine of OpenBao or Vault, through hvac."""

from keys.providers.vault_transit.provider import VaultTransitProvider

__all__ = ["VaultTransitProvider"]
