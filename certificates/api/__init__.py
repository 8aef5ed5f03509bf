"""REST: authorities and certificates; each action is one service."""

from typing import Any

from rest_framework.viewsets import GenericViewSet

from certificates.api.authorities import AuthorityViewSet
from certificates.api.certificates import CertificateViewSet
from certificates.renewal.api import router_entries as renewal_entries
from certificates.rollover.api import router_entries as rollover_entries

router_entries: list[tuple[str, type[GenericViewSet[Any]], str]] = [
    ("authorities", AuthorityViewSet, "authority"),
    ("certificates", CertificateViewSet, "certificate"),
    *renewal_entries,
    *rollover_entries,
]
