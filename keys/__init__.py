"""Keys: hierarchy, versions, rotation, data stores, and the data plane."""
