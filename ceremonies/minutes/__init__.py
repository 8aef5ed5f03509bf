"""The minutes of a ceremony: the document, and the signature that a key of the hierarchy puts on it."""
