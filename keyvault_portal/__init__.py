"""KeyVault Portal: key lifecycle governance. Wiring and the floor apps live here."""
