"""Authorities as issuing meets them: what follows from a row is worked out once for each state of that row."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from certificates.csr import refused
from certificates.issuance import Issuer, Places
from certificates.models import Authority
from certificates.names import NameRules
from certificates.services import rows
from certificates.services.reading import issuer_of
from certificates.services.signers import places_of
from certificates.states import COMPROMISES, AuthorityState
from keys.services.cache import BoundedCache
from keyvault_portal.arrays import TEXT, pack
from keyvault_portal.arrays import UUID as UUIDS
from keyvault_portal.audit.services import Guard
from keyvault_portal.errors import NotFound, WrongState


@dataclass(frozen=True, slots=True)
class Office:
    """An authority with what follows from its row, and the version of that row."""

    version: str
    authority: Authority
    issuer: Issuer
    rules: NameRules
    places: Places | None  # None: they differ by certificate


_offices: BoundedCache[UUID, Office] = BoundedCache(max_entries=100, max_age=60.0)

type LookedUp = tuple[str, bool] | None
"""The version of an authority's row, and whether a key was ever revoked as compromised (BR 6.1.1.3)."""

# In the words of the index of such keys, so that the server looks nowhere else however it plans.
_COMPROMISED = f"""EXISTS (
SELECT FROM certificates_certificate WHERE spki_sha256 = ANY({{}}::text[]) AND reason IN ({str(COMPROMISES)[1:-1]})
)"""
LOOK_UP = f"SELECT xmin::text, {_COMPROMISED.format('%b')} FROM certificates_authority WHERE id = %b"  # noqa: S608
_AS_SEEN = """{} = (
SELECT count(*) FROM certificates_authority AS now JOIN unnest({}::uuid[], {}::text[]) AS seen (id, version)
ON now.id = seen.id AND now.xmin::text = seen.version
)"""


def known(authority_id: UUID) -> Office | None:
    """What this process has seen last of an authority, if that is not long ago; it may have changed since."""
    return _offices.get(authority_id)


def look_up(authority_id: UUID, key_digests: Sequence[str]) -> LookedUp:
    """All that an order has to ask the database, in one round trip; None when there is no such authority."""
    return rows.run(LOOK_UP, [pack(key_digests, TEXT), authority_id]).fetchone()


def open_office(authority_id: UUID, looked_up: LookedUp) -> Office:
    """The authority as it is now, if it issues.

    It is read whole only when its row has changed, which PostgreSQL's xmin says. What hangs on it (key, version,
    certificate) never changes in what issuing reads of it. Raises NotFound, WrongState.
    """
    if looked_up is None:
        raise NotFound("There is no such authority.")
    version, _ = looked_up
    office = _offices.get(authority_id)
    if office is None or office.version != version:
        related = Authority.objects.select_related("ring", "key", "key_version__key", "certificate")
        authority = related.get(pk=authority_id)
        places = places_of(authority) if authority.crl_partitions == 1 else None
        office = Office(version, authority, issuer_of(authority), authority.name_rules, places)
        _offices.put(authority_id, office)
    check_state(office.authority)
    return office


def check_state(authority: Authority) -> None:
    """Raise WrongState unless the authority issues."""
    if authority.state != AuthorityState.ACTIVE.value:
        raise WrongState(f"{authority} is {authority.state}: it issues nothing.", state=authority.state)


def refuse_compromised(looked_up: LookedUp) -> None:
    """Raise ValidationFailed for a key that was once revoked as compromised."""
    if looked_up is not None and looked_up[1]:
        raise refused("csr", "A certificate with this key was revoked as compromised; make a new key.")


def unchanged(offices: Sequence[Office], key_digests: Sequence[str]) -> Guard:
    """Holds while the authorities are as they were seen, and none of the keys was ever revoked as compromised."""
    seen = {(office.authority.pk.bytes, office.version) for office in offices}  # two of one row cannot both hold
    ids, versions = zip(*seen, strict=True)
    return Guard(
        f"{_AS_SEEN} AND NOT {_COMPROMISED}",
        (len(seen), pack(ids, UUIDS), pack(versions, TEXT), pack(key_digests, TEXT)),
    )
