"""Replacing an authority without breaking anybody who trusts it: trust A, trust A+B, issue from B, trust B."""
