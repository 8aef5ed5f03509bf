"""Pages of the keys app: thin callers of `keys.services`."""
