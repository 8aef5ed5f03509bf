"""The portal as an ACME server (RFC 8555): authorities of ours issue to whoever proves control of a name."""
