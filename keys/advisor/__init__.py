"""What to protect with what: the decision tree, the scopes of encryption, and what is to be said of a key. Data without Django."""
