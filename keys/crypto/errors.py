"""The errors of the cryptographic core: few, and silent about secrets."""


class CryptoError(Exception):
    """Base of every error raised by `keys.crypto`."""


class DecryptFailed(CryptoError):
    """A ciphertext does not open; one constant message whatever the cause (tag, padding, context, truncation).

    A caller who could tell the causes apart would hold a decryption oracle (NIST SP 800-38D, 7.2; RFC 7518, 5.2.2.2).
    """

    def __init__(self) -> None:
        super().__init__("decryption failed")


class InvalidSignature(CryptoError):
    """A signature or a message authentication code does not verify."""

    def __init__(self) -> None:
        super().__init__("signature does not verify")


class MalformedEnvelope(CryptoError):
    """The public structure of an envelope is broken: bad JSON, missing field, bad base64, too short."""


class UnsupportedAlgorithm(CryptoError):
    """The algorithm is unknown, or the table does not allow it this operation."""


class InvalidKey(CryptoError):
    """Key material has the wrong size, type or encoding; the message never holds any of it."""


class LimitExceeded(CryptoError):
    """A size or use limit of an algorithm would be passed."""
