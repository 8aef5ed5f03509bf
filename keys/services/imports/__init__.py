"""Keys made elsewhere, brought here wrapped or in components."""
