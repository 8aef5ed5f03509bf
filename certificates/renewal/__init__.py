"""Certificates from ACME CAs (RFC 8555) for transport keys: obtained, renewed before they end, and handed to who serves with them."""
