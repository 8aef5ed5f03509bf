"""The resources of the protocol as JSON (RFC 8555, 7.1)."""

from datetime import UTC, datetime
from typing import Any

from certificates.acme import addresses
from certificates.acme.states import AuthorizationState, ChallengeState, OrderState
from certificates.models import AcmeAccount, AcmeAuthorization, AcmeChallenge, AcmeOrder, AcmeServer
from certificates.names import read as named
from certificates.profiles import PROFILES


def moment(value: datetime) -> str:
    """RFC 3339 in UTC, whole seconds."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def identifier(name: str) -> dict[str, str]:
    """A name as the protocol writes it (RFC 8555, 9.7.7; RFC 8738, 3)."""
    kind, value = named(name)
    return {"type": kind, "value": value}


def directory(server: AcmeServer) -> dict[str, Any]:
    meta: dict[str, Any] = {
        "externalAccountRequired": server.external_account_required,
        "profiles": {name: PROFILES[name].title for name in server.profiles},
    }
    if server.caa_identities:
        meta["caaIdentities"] = server.caa_identities
    if server.terms_url:
        meta["termsOfService"] = server.terms_url
    return {
        "newNonce": addresses.of(server, "new-nonce"), "newAccount": addresses.of(server, "new-account"),
        "newOrder": addresses.of(server, "new-order"), "revokeCert": addresses.of(server, "revoke-cert"),
        "keyChange": addresses.of(server, "key-change"), "renewalInfo": addresses.of(server, "renewal-info"), "meta": meta,
    }  # fmt: skip


def account(row: AcmeAccount) -> dict[str, Any]:
    found: dict[str, Any] = {
        "status": row.state, "contact": row.contact, "orders": addresses.of_account(row) + "/orders",
    }  # fmt: skip
    if row.terms_agreed_at:
        found["termsOfServiceAgreed"] = True
    return found


def order(row: AcmeOrder) -> dict[str, Any]:
    found: dict[str, Any] = {
        "status": row.state, "expires": moment(row.expires_at), "profile": row.profile,
        "identifiers": [identifier(name) for name in row.names],
        "authorizations": [
            addresses.of_authorization(row.server, item) for item in row.authorizations.order_by("name", "wildcard")
        ],
        "finalize": addresses.of_order(row) + "/finalize",
    }  # fmt: skip
    if row.error:
        found["error"] = row.error
    if row.state == OrderState.VALID.value:
        found["certificate"] = addresses.of(row.server, f"certificate/{row.certificate_id}")
    return found


def authorization(server: AcmeServer, row: AcmeAuthorization) -> dict[str, Any]:
    state = row.shown_state
    items = list(row.challenges.order_by("kind"))
    if state != AuthorizationState.PENDING.value:  # then only what led there (RFC 8555, 7.1.4)
        items = [item for item in items if item.state != ChallengeState.PENDING.value]
    found: dict[str, Any] = {
        "status": state, "expires": moment(row.expires_at), "identifier": identifier(row.name),
        "challenges": [challenge(server, item) for item in items],
    }  # fmt: skip
    if row.wildcard:
        found["wildcard"] = True
    return found


def challenge(server: AcmeServer, row: AcmeChallenge) -> dict[str, Any]:
    found: dict[str, Any] = {
        "type": row.kind, "url": addresses.of_challenge(server, row), "status": row.state, "token": row.token,
    }  # fmt: skip
    if row.validated_at:
        found["validated"] = moment(row.validated_at)
    if row.error:
        found["error"] = row.error
    return found
