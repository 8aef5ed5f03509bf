"""The minutes of a ceremony: the document, and the signature that a key of the hierarchy puts on it."""

from ceremonies.minutes.document import local, write
from ceremonies.minutes.signing import Signed, digest_of, self_signed, sign_pdf, signs_minutes

__all__ = ["Signed", "digest_of", "local", "self_signed", "sign_pdf", "signs_minutes", "write"]
