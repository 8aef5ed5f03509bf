"""Certificates and TLS."""
