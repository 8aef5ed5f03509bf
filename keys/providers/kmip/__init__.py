"""Keys at a KMIP server."""
