"""Pages below /certificates/."""
