"""REST: authorities and certificates; each action is one service."""

from certificates.api.authorities import AuthorityViewSet
from certificates.api.certificates import CertificateViewSet

router_entries = [
    ("authorities", AuthorityViewSet, "authority"),
    ("certificates", CertificateViewSet, "certificate"),
]
