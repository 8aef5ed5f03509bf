"""Ceremonies that need people together."""
