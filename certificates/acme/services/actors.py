"""Who acts when an ACME client asks: an account with rights on the ring of its authority, or somebody with a key only."""

from certificates.acme.services.issuers import rings_of
from certificates.models import AcmeAccount, AcmeServer
from keyvault_portal.accounts.actors import Actor, Grant
from keyvault_portal.accounts.permissions import Permission

KIND = "acme"
_RIGHTS = frozenset({Permission.CERTIFICATE_ISSUE, Permission.CERTIFICATE_REVOKE})


def of_account(account: AcmeAccount, address: str | None = None) -> Actor:
    """The account; what it may have issued or revoked is decided by its orders and authorizations."""
    authority = account.server.authority
    label = f"ACME account {account.pk} of {authority.name}"
    return Actor(
        None, KIND, label, tuple(Grant(_RIGHTS, ring_id) for ring_id in rings_of(account.server)), address=address
    )


def stranger(server: AcmeServer, address: str | None) -> Actor:
    """A client without an account yet."""
    return Actor(None, KIND, f"ACME client of {server.authority.name}", address=address)


def key_holder(server: AcmeServer, serial: str, address: str | None) -> Actor:
    """Whoever signs with the private key of a certificate."""
    revoke = frozenset({Permission.CERTIFICATE_REVOKE})
    rights = tuple(Grant(revoke, ring_id) for ring_id in rings_of(server))
    return Actor(None, KIND, f"holder of the key of certificate {serial}", rights, address=address)
