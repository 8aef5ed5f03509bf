"""The only writers and the only gate of the certificates app."""
