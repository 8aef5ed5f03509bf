"""REST: authorities, certificates and where they are met; each action is one service."""

from typing import Any

from rest_framework.viewsets import GenericViewSet

from certificates.api.authorities import AuthorityViewSet
from certificates.api.certificates import CertificateViewSet
from certificates.api.scans import CertificateReportViewSet, ScanRangeViewSet, ScanTargetViewSet
from certificates.api.transparency import LogListViewSet, LogMonitorViewSet
from certificates.renewal.api import router_entries as renewal_entries
from certificates.rollover.api import router_entries as rollover_entries

router_entries: list[tuple[str, type[GenericViewSet[Any]], str]] = [
    ("authorities", AuthorityViewSet, "authority"),
    ("certificates", CertificateViewSet, "certificate"),
    ("certificate-reports", CertificateReportViewSet, "certificate-report"),
    ("scan-ranges", ScanRangeViewSet, "scan-range"),
    ("scan-targets", ScanTargetViewSet, "scan-target"),
    ("log-lists", LogListViewSet, "log-list"),
    ("log-monitors", LogMonitorViewSet, "log-monitor"),
    *renewal_entries,
    *rollover_entries,
]
