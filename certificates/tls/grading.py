"""What a scan is worth: reasons first, and from them a grade."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from certificates.tls.report import CertificateFacts, Report
from certificates.tls.suites import OLD_VERSIONS, QUANTUM_SAFE, is_aead, is_forward_secret

YEAR = 31_536_000
SOON = timedelta(days=14)
GRADES = ("A+", "A", "B", "C", "F")
_BROKEN = ("RC4", "NULL", "DES-CBC3", "MD5")


@dataclass(frozen=True, slots=True)
class Reason:
    """Why no better grade than `cap` is given."""

    cap: str
    text: str

    @property
    def tone(self) -> str:
        return {"F": "danger", "C": "danger", "B": "warn"}.get(self.cap, "info")


@dataclass(frozen=True, slots=True)
class Grade:
    letter: str
    reasons: tuple[Reason, ...]


def grade(report: Report) -> Grade:
    """The worst of all caps; A+ when nothing is left to say."""
    reasons = tuple(sorted(_reasons(report), key=lambda reason: -GRADES.index(reason.cap)))
    return Grade(reasons[0].cap if reasons else "A+", reasons)


def hsts_seconds(header: str) -> int:
    """The max-age of Strict-Transport-Security (RFC 6797, section 6.1.1), 0 when there is none."""
    match = re.search(r'(?:^|;)\s*max-age\s*=\s*"?(\d{1,12})"?\s*(?:;|$)', header, re.I)
    return int(match[1]) if match else 0


def _reasons(report: Report) -> Iterator[Reason]:
    yield from _certificates(report)
    for version in OLD_VERSIONS:
        if version in report.versions:
            yield Reason("C", f"{version} is accepted; RFC 8996 forbids it.")
    if "TLSv1.3" not in report.versions:
        yield Reason("B", "TLS 1.3 is not offered.")
    broken = [cipher for cipher in report.ciphers if any(word in cipher for word in _BROKEN)]
    still = [cipher for cipher in report.ciphers if cipher not in broken and not is_forward_secret(cipher)]
    chained = [
        cipher
        for cipher in report.ciphers
        if cipher not in broken and is_forward_secret(cipher) and not is_aead(cipher)
    ]
    if broken:
        yield Reason("F", f"Broken suites are accepted: {', '.join(broken)}.")
    if still:
        yield Reason("C", f"Suites without forward secrecy are accepted: {', '.join(still)}.")
    if chained:
        yield Reason("B", f"Suites in CBC mode are accepted: {', '.join(chained)}.")
    if hsts_seconds(report.hsts) < YEAR and (report.hsts or not report.asks_for_certificate):
        yield Reason("A", "Strict-Transport-Security is missing or shorter than a year.")
    if not QUANTUM_SAFE & set(report.groups):
        yield Reason("A", "No hybrid post-quantum key exchange: what is recorded today can be opened later.")
    if report.incomplete:
        yield Reason("B", f"Not everything could be asked: {report.incomplete}")


def _certificates(report: Report) -> Iterator[Reason]:
    if not report.chain:
        yield Reason("F", "No certificate was seen.")
        return
    leaf = report.chain[0]
    if not report.name_matches:
        yield Reason("F", f"The certificate is not for {report.host}.")
    if not report.chain_holds:
        yield Reason("F", "The certificates sent do not sign each other.")
    for facts in report.chain:
        yield from _certificate(facts, report)
    if leaf.not_after - SOON < report.at <= leaf.not_after:
        yield Reason("B", f"The certificate expires on {leaf.not_after:%Y-%m-%d}.")
    if leaf.subject == leaf.issuer:
        yield Reason("C", "The certificate is signed by itself.")
    elif len(report.chain) == 1:
        yield Reason("B", "The intermediate certificate is not sent: some clients cannot find it.")
    if report.staple == "revoked":
        yield Reason("F", "The stapled answer says the certificate is revoked.")
    elif report.staple not in {"", "good"}:
        yield Reason("B", f"The stapled answer counts for nothing: {report.staple}.")


def _certificate(facts: CertificateFacts, report: Report) -> Iterator[Reason]:
    if facts.not_after < report.at:
        yield Reason("F", f"{facts.subject} expired on {facts.not_after:%Y-%m-%d}.")
    elif facts.not_before > report.at:
        yield Reason("F", f"{facts.subject} is not valid before {facts.not_before:%Y-%m-%d}.")
    if facts.serial in report.revoked:
        yield Reason("F", f"{facts.subject} was revoked.")
    if facts.is_weak:
        yield Reason("F", f"{facts.subject} has a weak key or signature ({facts.key}, {facts.signature_hash}).")
