"""Pages of ceremonies."""
