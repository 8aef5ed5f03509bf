"""The keys of authorities and responders at work: signatures by the keys service, wherever the key lives."""

from functools import partial
from uuid import UUID

from django.conf import settings
from django.db.models import QuerySet

from certificates.issuance import Places
from certificates.models import Authority
from certificates.signing import Signer
from keys.models import Key, KeyVersion
from keys.providers.registry import LOCAL
from keys.services import operations
from keyvault_portal.accounts.actors import system_actor
from keyvault_portal.accounts.permissions import Permission

SYSTEM = system_actor("certification authority", Permission.KEY_SIGN)
_path = "/pki/{name}/{what}"


def signer(version: KeyVersion) -> Signer:
    """What signs with exactly this version; calls raise ProviderUnavailable, WrongState, Sealed as `operations.sign` does."""
    return partial(_sign, version.key_id, version.key_version)


def _sign(key_id: UUID, number: int, message: bytes) -> bytes:
    return operations.sign_bare(SYSTEM, key_id, message, number)


def signs_here(version: KeyVersion) -> bool:
    """Whether the portal keeps this key, so that its signatures are made in this very process."""
    return version.provider == LOCAL


def public_key_of(version: KeyVersion) -> bytes:
    """The SubjectPublicKeyInfo of a version; empty while its provider has not made it."""
    return bytes(version.public_key) if version.public_key is not None else b""


def url(authority: Authority, what: str) -> str:
    """The public address of one thing of an authority: ca.cer, crl, crl/delta, crl/3, ocsp."""
    return settings.PKI_ORIGIN + _path.format(name=authority.name, what=what)


def purpose_of(key_id: UUID) -> str:
    """Whether a key belongs to an authority: its own, or its responder's."""
    found = Authority.objects.filter(key_id=key_id).first()
    if found is not None:
        return f"the key of the authority {found.name}"
    found = Authority.objects.filter(responder_key_id=key_id).first()
    return f"the key of the OCSP responder of {found.name}" if found is not None else ""


def of_no_authority(keys: QuerySet[Key]) -> QuerySet[Key]:
    """Those keys that are neither an authority's nor its responder's."""
    responders = Authority.objects.exclude(responder_key=None).values("responder_key")
    return keys.exclude(pk__in=Authority.objects.values("key")).exclude(pk__in=responders)


def places_of(authority: Authority | None, serial: int = 0) -> Places:
    """Where relying parties look: what stands in the certificates that `authority` issues; a root's own names nothing."""
    if authority is None:
        return Places()
    partitioned = authority.crl_partitions > 1
    return Places(
        issuer=url(authority, "ca.cer"),
        crl=url(authority, f"crl/{serial % authority.crl_partitions}" if partitioned else "crl"),
        delta=url(authority, "crl/delta") if authority.delta_crls and not partitioned else "",
        ocsp=url(authority, "ocsp"),
    )
