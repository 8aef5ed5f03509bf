"""State machines of the certificates app: one table of allowed moves each, no Django."""

from collections.abc import Mapping
from enum import StrEnum


class AuthorityState(StrEnum):
    PENDING = "pending"  # its certificate waits for the issuer's signature
    ACTIVE = "active"
    RETIRED = "retired"  # issues no more; its CRL and OCSP answers go on
    REVOKED = "revoked"  # compromised: everything it issued is revoked


class CertificateState(StrEnum):
    VALID = "valid"
    HELD = "held"  # certificateHold: the only revocation that can be taken back (RFC 5280, 5.3.1)
    REVOKED = "revoked"


class GrantState(StrEnum):
    """A leave to sign one to-be-signed certificate, once."""

    OPEN = "open"
    SPENT = "spent"  # handed to the signer; whatever happens it is never signed again
    DONE = "done"
    LOST = "lost"  # spent, and no certificate came back: its serial number is burned


class ScanState(StrEnum):
    """One scan of an endpoint, from the wish to what was found."""

    QUEUED = "queued"
    RUNNING = "running"  # by one worker; one that never comes back is reaped
    DONE = "done"
    FAILED = "failed"


A, C, G, S = AuthorityState, CertificateState, GrantState, ScanState

AUTHORITY_MOVES: Mapping[AuthorityState, frozenset[AuthorityState]] = {
    A.PENDING: frozenset({A.ACTIVE, A.RETIRED}),
    A.ACTIVE: frozenset({A.RETIRED, A.REVOKED}),
    A.RETIRED: frozenset({A.ACTIVE, A.REVOKED}),
    A.REVOKED: frozenset(),
}

CERTIFICATE_MOVES: Mapping[CertificateState, frozenset[CertificateState]] = {
    C.VALID: frozenset({C.HELD, C.REVOKED}),
    C.HELD: frozenset({C.VALID, C.REVOKED}),
    C.REVOKED: frozenset(),
}

GRANT_MOVES: Mapping[GrantState, frozenset[GrantState]] = {
    G.OPEN: frozenset({G.SPENT, G.LOST}),
    G.SPENT: frozenset({G.DONE, G.LOST}),
    G.DONE: frozenset(),
    G.LOST: frozenset(),
}

SCAN_MOVES: Mapping[ScanState, frozenset[ScanState]] = {
    S.QUEUED: frozenset({S.RUNNING, S.FAILED}),
    S.RUNNING: frozenset({S.DONE, S.FAILED}),
    S.DONE: frozenset(),
    S.FAILED: frozenset(),
}


class Reason(StrEnum):
    """RFC 5280, 5.3.1; `code` is the CRLReason."""

    UNSPECIFIED = "unspecified"
    KEY_COMPROMISE = "key_compromise"
    CA_COMPROMISE = "ca_compromise"
    AFFILIATION_CHANGED = "affiliation_changed"
    SUPERSEDED = "superseded"
    CESSATION_OF_OPERATION = "cessation_of_operation"
    CERTIFICATE_HOLD = "certificate_hold"
    PRIVILEGE_WITHDRAWN = "privilege_withdrawn"
    AA_COMPROMISE = "aa_compromise"

    @property
    def code(self) -> int:
        return _CODES[self]

    @property
    def words(self) -> str:
        """For people."""
        text = self.value.replace("_", " ").capitalize()
        return text.replace("Ca ", "CA ").replace("Aa ", "AA ")


COMPROMISES = [Reason.KEY_COMPROMISE.value, Reason.CA_COMPROMISE.value]  # a key that is in other hands


_CODES = {
    Reason.UNSPECIFIED: 0, Reason.KEY_COMPROMISE: 1, Reason.CA_COMPROMISE: 2, Reason.AFFILIATION_CHANGED: 3, Reason.SUPERSEDED: 4,
    Reason.CESSATION_OF_OPERATION: 5, Reason.CERTIFICATE_HOLD: 6, Reason.PRIVILEGE_WITHDRAWN: 9, Reason.AA_COMPROMISE: 10,
}  # fmt: skip
REMOVE_FROM_CRL = 8  # only in delta CRLs
