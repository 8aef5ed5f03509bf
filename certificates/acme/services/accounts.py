"""Accounts (RFC 8555, 7.3): opened with a key, bound to an external account where that is wanted, changed and closed."""

import re
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.utils import timezone

from certificates.acme import addresses, jose, limits
from certificates.acme.errors import AcmeError, malformed
from certificates.acme.jose import PublicKey
from certificates.acme.services import actors
from certificates.acme.services.serving import close_account
from certificates.acme.states import AccountState
from certificates.models import AcmeAccount, AcmeExternalKey, AcmeServer
from keys.services import sealing
from keyvault_portal.audit import services as audit

MAX_CONTACTS = 5
_MAIL = re.compile(r"mailto:[A-Za-z0-9.!#$&'*+/=^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,190}")


def find_account(server: AcmeServer, key: PublicKey) -> AcmeAccount | None:
    """The account that this key opened, whatever became of it."""
    return AcmeAccount.objects.filter(server=server, thumbprint=key.thumbprint).first()


def open_account(
    *, server: AcmeServer, key: PublicKey, payload: dict[str, Any], address: str | None
) -> tuple[AcmeAccount, bool]:
    """The account of `key`, and whether it was made now.

    Raises AcmeError: accountDoesNotExist, unauthorized (closed, or a binding that does not hold), externalAccountRequired,
    userActionRequired (terms), unsupportedContact, invalidContact, rateLimited.
    """
    if (found := find_account(server, key)) is not None:
        return _alive(found), False
    if payload.get("onlyReturnExisting") is True:
        raise AcmeError("accountDoesNotExist", "This key has no account here.")
    limits.take("account", address)
    actor = actors.stranger(server, address)
    ring_id = server.authority.ring_id
    with audit.atomic(actor=actor, action="acme.account.open", target=("acme_account", "", ""), ring_id=ring_id) as act:
        contact = _contact(payload.get("contact", []))
        agreed = payload.get("termsOfServiceAgreed") is True
        if server.terms_url and not agreed:
            raise AcmeError("userActionRequired", f"Agree to the terms of service first: {server.terms_url}")
        external = _bound(server, key, payload.get("externalAccountBinding"))
        account = AcmeAccount(
            server=server, jwk=dict(key.jwk), thumbprint=key.thumbprint, contact=contact, external_key=external,
            terms_agreed_at=timezone.now() if agreed else None, created_from=address,
        )  # fmt: skip
        try:
            with transaction.atomic():
                account.save(force_insert=True)
        except IntegrityError:  # the same request, sent twice at once
            return _alive(AcmeAccount.objects.get(server=server, thumbprint=key.thumbprint)), False
        act.record(
            {"contact": contact, "thumbprint": key.thumbprint, "external_key": str(external.pk) if external else None},
            target=("acme_account", account.pk, str(account)),
        )
    return account, True


def _alive(account: AcmeAccount) -> AcmeAccount:
    if account.state != AccountState.VALID.value:
        raise AcmeError("unauthorized", f"The account of this key is {account.state}.")
    return account


def _contact(values: object) -> list[str]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise malformed("contact is a list of addresses.")
    if len(values) > MAX_CONTACTS:
        raise AcmeError("invalidContact", f"At most {MAX_CONTACTS} contacts.")
    for value in values:
        if not value.startswith("mailto:"):
            raise AcmeError("unsupportedContact", "Only mailto: addresses are kept as contacts.")
        if not _MAIL.fullmatch(value):
            raise AcmeError("invalidContact", "A contact is one e-mail address.")
    return list(values)


def _bound(server: AcmeServer, key: PublicKey, binding: object) -> AcmeExternalKey | None:
    """The external key that vouches for this account, locked and marked as used (RFC 8555, 7.3.4)."""
    if binding is None:
        if server.external_account_required:
            raise AcmeError("externalAccountRequired", "This server wants a key from its officers (EAB).")
        return None
    if not isinstance(binding, dict):
        raise malformed("externalAccountBinding is a flattened JWS.")
    jws = jose.parse(binding)
    if jws.header.get("alg") not in jose.MAC_ALGORITHMS:
        raise AcmeError("badSignatureAlgorithm", "A binding is signed with HS256, HS384 or HS512.", algorithms=[*jose.MAC_ALGORITHMS])  # fmt: skip
    if "nonce" in jws.header or jws.header.get("url") != addresses.of(server, "new-account"):
        raise malformed("The binding is for another address, or holds a nonce.")
    row = _external_key(server, jws.header.get("kid"))
    if row is not None and row.shown_state == "active":
        with sealing.open_value(row.secret) as secret:
            right = jose.verify_mac(jws, secret.reveal())
        if right and jose.public_key(jws.json()).thumbprint == key.thumbprint:
            row.used_at = timezone.now()
            row.save(update_fields=["used_at"])
            return row
    raise AcmeError("unauthorized", "The external account binding does not hold: ask an officer for a new key.")


def _external_key(server: AcmeServer, kid: object) -> AcmeExternalKey | None:
    try:
        key_id = UUID(str(kid))
    except ValueError:
        return None
    rows = AcmeExternalKey.objects.select_for_update(of=("self",)).select_related("secret")
    return rows.filter(server=server, pk=key_id).first()


def update_account(*, account: AcmeAccount, payload: dict[str, Any], address: str | None) -> AcmeAccount:
    """Change the contacts, or close the account (RFC 8555, 7.3.2 and 7.3.6); whatever else is sent is ignored."""
    if "contact" not in payload and payload.get("status") is None:
        return account
    limits.take("change", account.pk)
    actor = actors.of_account(account, address)
    ring_id, target = account.server.authority.ring_id, ("acme_account", account.pk, str(account))
    with audit.atomic(actor=actor, action="acme.account.change", target=target, ring_id=ring_id) as act:
        locked = _locked(account)
        if "contact" in payload:
            locked.contact = _contact(payload["contact"])
            locked.save(update_fields=["contact"])
            act.record({"contact": locked.contact})
        if (status := payload.get("status")) is not None:
            if status != AccountState.DEACTIVATED.value:
                raise malformed("An account can only be deactivated.")
            close_account(locked, AccountState.DEACTIVATED)
            act.record({"state": locked.state})
    return locked


def change_key(*, account: AcmeAccount, inner: jose.Jws, address: str | None) -> AcmeAccount:
    """Put another key in place of the account's (RFC 8555, 7.3.5): both sign, each for the other.

    Raises AcmeError; a key that has an account already is a conflict whose `location` is that account.
    """
    limits.take("change", account.pk)
    new = jose.public_key(inner.header.get("jwk"))
    jose.verify(inner, new)
    if set(inner.header) & {"nonce", "kid"} or inner.header.get("url") != addresses.of(account.server, "key-change"):
        raise malformed("The inner request names its new key and this address, and holds no nonce.")
    said = inner.json()
    if said.get("account") != addresses.of_account(account):
        raise malformed("The inner request is about another account.")
    if jose.public_key(said.get("oldKey")).thumbprint != account.thumbprint:
        raise malformed("The old key is not the one of this account.")
    actor, ring_id = actors.of_account(account, address), account.server.authority.ring_id
    target = ("acme_account", account.pk, str(account))
    with audit.atomic(actor=actor, action="acme.account.change_key", target=target, ring_id=ring_id) as act:
        locked = _locked(account)
        if (taken := find_account(account.server, new)) is not None:
            raise AcmeError("malformed", "The new key has an account already.", status=409, location=addresses.of_account(taken))  # fmt: skip
        if locked.thumbprint != account.thumbprint:
            raise AcmeError("unauthorized", "The key of this account was changed meanwhile.")
        act.record({"from": locked.thumbprint, "to": new.thumbprint})
        locked.jwk, locked.thumbprint = dict(new.jwk), new.thumbprint
        locked.save(update_fields=["jwk", "thumbprint"])
    return locked


def _locked(account: AcmeAccount) -> AcmeAccount:
    rows = AcmeAccount.objects.select_for_update(of=("self",)).select_related("server__authority")
    return _alive(rows.get(pk=account.pk))
