"""The edges of a grade, from reports written by hand: no server is asked."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from certificates.tls.grading import SOON, YEAR, grade
from certificates.tls.report import CertificateFacts, Report
from certificates.tls.suites import HYBRID

AT = datetime(2026, 11, 26, 12, tzinfo=UTC)
LEAF = CertificateFacts(
    "CN=www", "CN=Issuer", ("www.example.org",), "1", AT - timedelta(days=30), AT + timedelta(days=60), "EC", 256, "sha256", "pin",
)  # fmt: skip
ISSUER = replace(LEAF, subject="CN=Issuer", issuer="CN=Root", serial="2")
GOOD = Report(
    host="www.example.org", port=443, address="127.0.0.1", at=AT, versions=("TLSv1.3",), groups=(HYBRID,), chain=(LEAF, ISSUER),
    name_matches=True, chain_holds=True, hsts=f"max-age={YEAR}",
)  # fmt: skip


def with_leaf(**more: object) -> Report:
    return replace(GOOD, chain=(replace(LEAF, **more), ISSUER))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("report", "letter"),
    [
        (GOOD, "A+"),
        (replace(GOOD, hsts=f"max-age={YEAR - 1}"), "A"),
        (replace(GOOD, hsts=""), "A"),
        (replace(GOOD, hsts="", asks_for_certificate=True), "A+"),  # a browser does not come there
        (replace(GOOD, hsts="max-age=5", asks_for_certificate=True), "A"),
        (with_leaf(key_kind="RSA", key_bits=2048), "A+"),
        (with_leaf(key_kind="RSA", key_bits=2047), "F"),
        (with_leaf(key_kind="EC", key_bits=224), "A+"),
        (with_leaf(key_kind="Ed25519", key_bits=0), "A+"),
        (with_leaf(not_before=AT), "A+"),
        (with_leaf(not_after=AT + SOON), "A+"),
        (with_leaf(not_after=AT + SOON - timedelta(seconds=1)), "B"),
        (with_leaf(not_after=AT), "B"),
        (with_leaf(not_after=AT - timedelta(seconds=1)), "F"),
    ],
)
def test_a_grade_changes_at_the_edge(report, letter):
    assert grade(report).letter == letter
