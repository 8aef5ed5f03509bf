"""Where encrypted data lives."""
