"""A live endpoint against the configuration that was generated for it: every difference by name."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from certificates.tls.configuration import Configuration
from certificates.tls.grading import hsts_seconds
from certificates.tls.profiles import ServerKind
from certificates.tls.report import Report
from certificates.tls.suites import AEAD_SUITES


@dataclass(frozen=True, slots=True)
class Difference:
    """One setting: what the configuration says and what the endpoint does."""

    setting: str
    wanted: str
    found: str


def compare(report: Report, asked: Configuration) -> tuple[Difference, ...]:
    """Where they differ; empty when the endpoint runs what was generated. Nothing is said about what was not scanned."""
    return tuple(_differences(report, asked))


def _differences(report: Report, asked: Configuration) -> Iterator[Difference]:
    rules = asked.rules
    yield from _sets("Protocol versions", rules.versions, report.versions)
    yield from _sets("TLS 1.2 suites", _of_key(rules.ciphers, report), report.ciphers)
    if "TLSv1.3" in report.versions:
        suites = rules.suites13 or AEAD_SUITES
        yield from _sets("TLS 1.3 suites", suites, report.suites13)
        yield from _sets("Key exchange groups", asked.groups, report.groups)
    if report.incomplete and not report.chain:
        return
    if bool(asked.clients) != report.asks_for_certificate:
        yield Difference("Client certificates", _asked(bool(asked.clients)), _asked(report.asks_for_certificate))
    if asked.http2 != (report.protocol == "h2") and not (asked.clients and not report.protocol):
        yield Difference("HTTP/2", _offered(asked.http2), _offered(report.protocol == "h2"))
    if asked.stapling and report.staple != "good":
        yield Difference("OCSP staple", "good", report.staple or "none")
    if not asked.stapling and report.staple and asked.server is not ServerKind.HAPROXY:
        yield Difference("OCSP staple", "none", report.staple)
    hidden = (
        asked.clients is not None and not asked.clients.optional and not report.hsts
    )  # no request without a certificate
    if not hidden and (hsts_seconds(report.hsts) != asked.hsts_seconds or _words(report.hsts) != _words(asked.hsts)):
        yield Difference("Strict-Transport-Security", asked.hsts or "none", report.hsts or "none")


def _sets(setting: str, wanted: Iterable[str], found: Iterable[str]) -> Iterator[Difference]:
    """Order is the client's to choose, so only what is there counts."""
    wanted, found = list(wanted), list(found)
    missing, more = [name for name in wanted if name not in found], [name for name in found if name not in wanted]
    if missing or more:
        said = [f"without {', '.join(missing)}"] if missing else []
        said += [f"also {', '.join(more)}"] if more else []
        yield Difference(setting, ", ".join(wanted) or "none", "; ".join(said))


def _of_key(ciphers: Iterable[str], report: Report) -> list[str]:
    """A server can use the suites of its certificate's kind of key only."""
    auth = "RSA" if report.chain and report.chain[0].key_kind == "RSA" else "ECDSA"
    return [cipher for cipher in ciphers if f"-{auth}-" in cipher]


def _words(header: str) -> set[str]:
    return {word.strip().lower() for word in header.split(";")} & {"includesubdomains", "preload"}


def _asked(yes: bool) -> str:
    return "asked for" if yes else "not asked for"


def _offered(yes: bool) -> str:
    return "offered" if yes else "not offered"
