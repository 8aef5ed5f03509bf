"""REST: authorities, certificates and where they are met; each action is one service."""

from certificates.api.authorities import AuthorityViewSet
from certificates.api.certificates import CertificateViewSet
from certificates.api.scans import CertificateReportViewSet, ScanRangeViewSet, ScanTargetViewSet
from certificates.api.transparency import LogListViewSet, LogMonitorViewSet

router_entries = [
    ("authorities", AuthorityViewSet, "authority"),
    ("certificates", CertificateViewSet, "certificate"),
    ("certificate-reports", CertificateReportViewSet, "certificate-report"),
    ("scan-ranges", ScanRangeViewSet, "scan-range"),
    ("scan-targets", ScanTargetViewSet, "scan-target"),
    ("log-lists", LogListViewSet, "log-list"),
    ("log-monitors", LogMonitorViewSet, "log-monitor"),
]
