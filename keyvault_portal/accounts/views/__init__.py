"""Pages of people, rings, tokens and one's own account."""
