"""What each profile accepts: one table that the generators, the scanner and the comparison read."""

from dataclasses import dataclass
from enum import StrEnum

from certificates.tls.suites import AEAD_SUITES, HYBRID, VERSIONS


class ServerKind(StrEnum):
    """The servers a configuration is written for."""

    NGINX = "nginx"
    ENVOY = "envoy"
    HAPROXY = "haproxy"

    @property
    def label(self) -> str:
        return {"nginx": "nginx", "envoy": "Envoy", "haproxy": "HAProxy"}[self.value]


class ProfileName(StrEnum):
    MODERN = "modern"
    INTERMEDIATE = "intermediate"
    SEED = "seed"


_AES256, _CHACHA, _AES128 = "AES256-GCM-SHA384", "CHACHA20-POLY1305", "AES128-GCM-SHA256"


def _ecdhe(*endings: str) -> tuple[str, ...]:
    return tuple(f"ECDHE-{auth}-{ending}" for ending in endings for auth in ("ECDSA", "RSA"))


@dataclass(frozen=True, slots=True)
class Profile:
    """Versions, TLS 1.2 suites (OpenSSL's names, best first) and groups; empty `suites13` leaves the server's own."""

    name: ProfileName
    title: str
    versions: tuple[str, ...]
    ciphers: tuple[str, ...]
    suites13: tuple[str, ...]
    groups: tuple[str, ...]
    hybrid: bool

    @property
    def minimum(self) -> str:
        return min(self.versions, key=VERSIONS.__getitem__)


PROFILES = {
    ProfileName.MODERN: Profile(
        ProfileName.MODERN, "Modern: TLS 1.3 only, for clients of the last years", ("TLSv1.3",), (), AEAD_SUITES,
        ("X25519", "P-256", "P-384"), hybrid=True,
    ),
    ProfileName.INTERMEDIATE: Profile(
        ProfileName.INTERMEDIATE, "Intermediate: TLS 1.2 and 1.3, for general use", ("TLSv1.2", "TLSv1.3"),
        _ecdhe(_AES128, _AES256, _CHACHA), AEAD_SUITES, ("X25519", "P-256", "P-384"), hybrid=True,
    ),
    ProfileName.SEED: Profile(
        ProfileName.SEED, "Reference: the hardened settings of the reference document", ("TLSv1.2", "TLSv1.3"),
        _ecdhe(_AES256, _CHACHA, _AES128), (), ("X25519", "P-384", "P-256"), hybrid=False,
    ),
}  # fmt: skip

# The reference document writes shorter lists for Envoy than for nginx.
_ENVOY_SEED = Profile(
    ProfileName.SEED, PROFILES[ProfileName.SEED].title, ("TLSv1.2", "TLSv1.3"),
    ("ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305"), (),
    ("X25519", "P-256"), hybrid=False,
)  # fmt: skip


def profile_of(name: ProfileName, server: ServerKind) -> Profile:
    """The profile as it is written for one server."""
    if name is ProfileName.SEED and server is ServerKind.ENVOY:
        return _ENVOY_SEED
    return PROFILES[name]


def groups_of(profile: Profile, *, post_quantum: bool) -> tuple[str, ...]:
    """The key exchange groups in order, with the hybrid one first where it is wanted."""
    return (HYBRID, *profile.groups) if post_quantum else profile.groups
