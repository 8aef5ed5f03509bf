"""People, roles, key rings, second factors, sessions and API tokens."""
