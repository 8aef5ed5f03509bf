"""The only writers of ceremonies, shares' whereabouts and scripts."""
