"""Every page there is: who opens it and with which arguments. A new page without an entry fails test_pages."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver, reverse


@dataclass(frozen=True)
class Entry:
    """`who` opens it ("" is nobody); `args` are keys into the facts of the portal, joined by dots, or given as they are."""

    who: str = "ada"
    args: tuple[Any, ...] = ()
    query: str = ""
    status: int = 200


_KEY, _VERSION = ("keys.invoices",), ("keys.invoices", 1)
_PERSON, _RING = ("people.dana.id",), ("rings.shop",)

PAGES: dict[str, Entry] = {
    "dashboard": Entry(),
    "settings": Entry(),
    "account_login": Entry(""),
    "account_logout": Entry(),
    "account_inactive": Entry(""),
    "account_signup": Entry(""),
    "account_change_password": Entry(),
    "account_reset_password": Entry(""),
    "account_reset_password_done": Entry(""),
    "account_reset_password_from_key": Entry("", ("0", "0-0")),
    "account_reset_password_from_key_done": Entry(""),
    "account_reauthenticate": Entry(),
    "mfa_index": Entry(),
    "mfa_reauthenticate": Entry(),
    "mfa_activate_totp": Entry("emil"),
    "mfa_deactivate_totp": Entry(),
    "mfa_view_recovery_codes": Entry(),
    "mfa_generate_recovery_codes": Entry(),
    "mfa_list_webauthn": Entry(),
    "mfa_add_webauthn": Entry(),
    "accounts:sign-in-link": Entry("", ("people.emil.link_part",)),
    "accounts:person-list": Entry(),
    "accounts:person-invite": Entry(),
    "accounts:person-detail": Entry(args=_PERSON),
    "accounts:person-edit": Entry(args=_PERSON),
    "accounts:person-deactivate": Entry(args=_PERSON),
    "accounts:person-reactivate": Entry(args=("inactive",)),
    "accounts:role-bind": Entry(args=_PERSON),
    "accounts:role-unbind": Entry(args=("binding",)),
    "accounts:ring-list": Entry(),
    "accounts:ring-create": Entry(),
    "accounts:ring-detail": Entry(args=_RING),
    "accounts:ring-edit": Entry(args=_RING),
    "accounts:token-list": Entry(),
    "accounts:token-create": Entry(),
    "accounts:token-revoke": Entry(args=("token",)),
    "accounts:profile": Entry(),
    "approvals:inbox": Entry("chen"),
    "approvals:notices": Entry("boris"),
    "approvals:detail": Entry("chen", ("approvals.half",)),
    "approvals:signing-keys": Entry("chen"),
    "approvals:break-glass": Entry("chen", ("approvals.half",)),
    "audit:event-list": Entry("fay", query="?target_type=approval"),
    "audit:export": Entry("fay"),
    "audit:checkpoint-list": Entry("fay"),
    "audit:event-detail": Entry("fay", (12,)),
    "keys:advisor": Entry(),
    "keys:advisor-scopes": Entry(query="?against=network"),
    "keys:advisor-algorithms": Entry("fay"),
    "keys:advisor-findings": Entry(),
    "keys:key-list": Entry(),
    "keys:hierarchy": Entry(),
    "keys:key-create": Entry(),
    "keys:key-detail": Entry(args=("keys.orders-kek",)),
    "keys:policy-edit": Entry(args=_KEY),
    "keys:rotation-request": Entry(args=("keys.customer-pii",)),
    "keys:version-suspend": Entry(args=_VERSION),
    "keys:version-resume": Entry(args=("keys.shipping", 1)),
    "keys:version-activate": Entry(args=_VERSION),
    "keys:version-compromise": Entry(args=_VERSION),
    "keys:version-delete": Entry(args=("keys.newsletter", 1)),
    "keys:version-delete-confirm": Entry(args=("keys.loyalty", 1)),
    "keys:version-keep": Entry(args=("keys.loyalty", 1)),
    "keys:rotation-list": Entry(),
    "keys:rotation-detail": Entry("dana", ("rotations.moving",)),
    "keys:rotation-cancel": Entry(args=("rotations.moving",)),
    "keys:rotation-decommission": Entry(args=("rotations.moved",)),
    "keys:rotation-keep": Entry(args=("rotations.ending",)),
    "keys:failed-items-give-up": Entry(args=("rotations.moving",)),
    "keys:move-request": Entry(args=("keys.customers-kek",)),
    "keys:move-list": Entry(),
    "keys:move-detail": Entry("dana", ("moves.waiting",)),
    "keys:move-undo": Entry(args=("moves.waiting",)),
    "keys:move-drop": Entry(args=("moves.moved",)),
    "keys:move-keep": Entry(args=("moves.moved",)),
    "keys:places": Entry(),
    "keys:provider-list": Entry(),
    "keys:provider-kinds": Entry(),
    "keys:provider-create": Entry(args=("aws_kms",)),
    "keys:provider-detail": Entry(args=("provider",)),
    "keys:provider-edit": Entry(args=("provider",)),
    "keys:provider-disable": Entry(args=("provider",)),
    "keys:provider-enable": Entry(args=("provider",)),
    "keys:finding-ignore": Entry(args=("provider", "finding")),
    "keys:finding-adopt": Entry(args=("provider", "finding")),
    "keys:finding-accept": Entry(args=("provider", "drift")),
    "keys:import-list": Entry(),
    "keys:import-new": Entry(),
    "keys:import-open": Entry(args=_KEY),
    "keys:import-detail": Entry(args=("import",)),
    "keys:component-enter": Entry("boris", ("components", 2)),
    "keys:import-abort": Entry(args=("components",)),
    "keys:export-request": Entry(args=("loose",)),
    "keys:export-detail": Entry(args=("export",)),
    "keys:export-withdraw": Entry(args=("loose",)),
    "sealed": Entry(),  # what it says while the portal is not sealed
    "keys:seal-list": Entry(),
    "keys:seal-make-shares": Entry(args=("shares",)),
    "keys:seal-retire": Entry(args=("shares",)),
    "keys:seal-now": Entry(),
    "keys:store-list": Entry(),
    "keys:store-create": Entry(),
    "keys:store-seal": Entry(),
    "keys:store-detail": Entry(args=("stores.shop-orders",)),
    "keys:store-deregister": Entry(args=("stores.shop-orders",)),
    "keys:census": Entry("fay"),
    "certificates:certificate-list": Entry(),
    "certificates:expiry": Entry(),
    "certificates:upload": Entry(),
    "certificates:revoke-many": Entry(),
    "certificates:target-list": Entry("fay"),
    "certificates:target-create": Entry(),
    "certificates:target-detail": Entry(args=("endpoint",)),
    "certificates:target-remove": Entry(args=("endpoint",)),
    "certificates:range-list": Entry(),
    "certificates:transparency": Entry(),
    "certificates:log-list-upload": Entry(),
    "certificates:monitor-create": Entry(),
    "certificates:monitor-detail": Entry(args=("log",)),
    "certificates:monitor-remove": Entry(args=("log",)),
    "certificates:certificate-detail": Entry(args=("certificates.www",)),
    "certificates:certificate-renew": Entry(args=("certificates.www",)),
    "certificates:certificate-revoke": Entry(args=("certificates.www",)),
    "certificates:authority-list": Entry("fay"),
    "certificates:authority-create": Entry(),
    "certificates:authority-import": Entry(),
    "certificates:authority-detail": Entry(args=("authorities.servers",)),
    "certificates:issue": Entry(args=("authorities.servers",)),
    "certificates:issue-key": Entry(args=("authorities.servers",)),
    "certificates:issue-for-key": Entry(args=("authorities.servers",)),
    "certificates:cross-sign": Entry(args=("authorities.root",)),
    "certificates:authority-import-key": Entry(),
    "certificates:certificate-renew-key": Entry(args=("certificates.www",)),
    "certificates:source-list": Entry("fay"),
    "certificates:source-create": Entry(),
    "certificates:source-detail": Entry(args=("renewal.source",)),
    "certificates:source-retire": Entry(args=("renewal.source",)),
    "certificates:dns-hook-create": Entry(),
    "certificates:renewal-list": Entry("fay"),
    "certificates:renewal-create": Entry(),
    "certificates:renewal-detail": Entry(args=("renewal.managed",)),
    "certificates:renewal-now": Entry(args=("renewal.managed",)),
    "certificates:renewal-stop": Entry(args=("renewal.managed",)),
    "certificates:renewal-resume": Entry(args=("renewal.managed",)),
    "certificates:hook-create": Entry(args=("renewal.managed",)),
    "certificates:hook-remove": Entry(args=("renewal.hook",)),
    "certificates:rollover-list": Entry("fay"),
    "certificates:rollover-create": Entry(),
    "certificates:rollover-detail": Entry(args=("rollover.id",)),
    "certificates:rollover-step": Entry(args=("rollover.id", "issue_b")),
    "certificates:party-list": Entry("fay"),
    "certificates:party-remove": Entry(args=("rollover.party",)),
    "certificates:authority-retire": Entry(args=("authorities.servers",)),
    # It is at work: there is nothing to resume.
    "certificates:authority-resume": Entry(args=("authorities.servers",), status=409),
    "certificates:authority-revoke": Entry(args=("authorities.servers",)),
    "acme:order-list": Entry(),
    "acme:order-detail": Entry("fay", ("acme.failed",)),
    "acme:account-list": Entry(),
    "acme:account-revoke": Entry(args=("acme.account",)),
    "acme:server-detail": Entry(args=("authorities.servers",)),
    "acme:server-rules": Entry(args=("authorities.servers",)),
    "acme:server-stop": Entry(args=("authorities.servers",)),
    "acme:server-start": Entry(args=("authorities.servers",)),
    "acme:external-key-create": Entry(args=("authorities.servers",)),
    "acme:external-key-revoke": Entry(args=("acme.key",)),
    "ceremonies:list": Entry(),
    "ceremonies:create": Entry(),
    "ceremonies:detail": Entry(args=("ceremonies.planned",)),
    "ceremonies:subject": Entry(args=("ceremonies.founding",)),
    "ceremonies:share-accept-risk": Entry(args=("ceremonies.share",)),
    "ceremonies:call-off": Entry(args=("ceremonies.planned",)),
    "ceremonies:room": Entry(args=("ceremonies.open",)),
    "ceremonies:room-share": Entry("boris", ("ceremonies.dealt",)),
    "ceremonies:register": Entry(),
    "ceremonies:seal-share": Entry(),
    "ceremonies:package-print": Entry(args=("ceremonies.set",)),
    "ceremonies:share-detail": Entry("boris", ("ceremonies.share",)),
    "ceremonies:script-list": Entry("fay"),
    "ceremonies:script-detail": Entry("fay", ("escrow:1",)),
    "ceremonies:script-upload": Entry(),
    "ceremonies:join": Entry("", ("ceremonies.link",)),
    "tls:configuration": Entry("fay"),
    "tls:scan": Entry(),
    "tls:pins": Entry("fay"),
    "tls:records": Entry("fay"),
    "tls:manifests": Entry("fay"),
}

# The same page in another state, looked at as well.
MORE: dict[str, tuple[str, Entry]] = {
    "approvals asked by me": ("approvals:inbox", Entry(query="?tab=asked")),
    "all approvals": ("approvals:inbox", Entry(query="?tab=all")),
    "an executed approval": ("approvals:detail", Entry("fay", ("approvals.executed",))),
    "a rejected approval": ("approvals:detail", Entry("boris", ("approvals.rejected",))),
    "a key with a suspended version": ("keys:key-detail", Entry(args=("keys.shipping",))),
    "a key with a deletion": ("keys:key-detail", Entry(args=("keys.loyalty",))),
    "a token signing key": ("keys:key-detail", Entry(args=("keys.api-tokens",))),
    "a key that was given out": ("keys:key-detail", Entry(args=("loose",))),
    "an import by components": ("keys:import-detail", Entry("boris", ("components",))),
    "a key that cannot be exported": ("keys:export-request", Entry(args=_KEY)),
    "keys filtered to none": ("keys:key-list", Entry(query="?q=nothing-of-that-name")),
    "a move whose old version can be dropped": ("keys:move-detail", Entry(args=("moves.moved",))),
    "a key that moves": ("keys:key-detail", Entry(args=("keys.refunds",))),
    "a rotation that ends": ("keys:rotation-detail", Entry(args=("rotations.ending",))),
    "a rotation to decommission": ("keys:rotation-detail", Entry(args=("rotations.moved",))),
    "second factors before there is one": ("mfa_index", Entry("emil")),
    "dashboard of an auditor": ("dashboard", Entry("fay")),
    "a revoked certificate": ("certificates:certificate-detail", Entry(args=("certificates.revoked",))),
    "all of a key's certificates": (
        "certificates:revoke-many",
        Entry(query="?by=key&key=0000000000000000000000000000000000000000000000000000000000000000"),
    ),
    "a certificate with promises of logs": ("certificates:certificate-detail", Entry(args=("logged",))),
    "a certificate that its CA did not revoke": ("certificates:certificate-detail", Entry(args=("renewal.asked",))),
    "a renewal that fails": ("certificates:renewal-detail", Entry(args=("renewal.failing",))),
    "a source that was refused": ("certificates:source-detail", Entry(args=("renewal.refused",))),
    "certificates that end soon": ("certificates:certificate-list", Entry(query="?ends=30&sort=ends")),
    "an order that was finished": ("acme:order-detail", Entry(args=("acme.done",))),
    "an authority that serves no ACME": ("acme:server-detail", Entry("fay", ("authorities.root",))),
    "a ceremony that was held": ("ceremonies:detail", Entry(args=("ceremonies.held",))),
    "a room being watched": ("ceremonies:room", Entry("boris", ("ceremonies.open",))),
    "a configuration for mutual TLS": (
        "tls:configuration",
        Entry(
            "fay",
            query="?server=envoy&profile=modern&names=example.com&backend=127.0.0.1:8080&port=443&hsts_seconds=0&client_authorities=/etc/ca.pem&client_depth=2",
        ),
    ),
    "a configuration that cannot be written": (
        "tls:configuration",
        Entry(
            "fay",
            query="?server=envoy&profile=modern&names=example.com;&backend=nowhere&port=443&hsts_seconds=0&client_depth=2",
        ),
    ),
    "refused": ("accounts:person-invite", Entry("fay", status=403)),
    "no such page": ("keys:key-detail", Entry(args=("00000000-0000-0000-0000-000000000000",), status=404)),
}

# Not pages of their own, and why.
NOT_PAGES: dict[str, str] = {
    "healthz": "JSON for monitors",
    "certificates:certificate-download": "a PEM file",
    "certificates:rollover-bundle": "a PEM file",
    "pki-ca": "DER for relying parties",
    "pki-chain": "a PEM file",
    "pki-crls": "a PEM file",
    "pki-crl": "DER for relying parties",
    "pki-crl-delta": "DER for relying parties",
    "pki-crl-partition": "DER for relying parties",
    "pki-ocsp-get": "DER for relying parties",
    "acme-directory": "JSON for ACME clients",
    "acme-new-nonce": "for ACME clients",
    "acme-renewal-info": "JSON for ACME clients",
    "ceremonies:room-live": "a fragment of the room",
    "ceremonies:calendar": "a calendar file",
    "ceremonies:minutes": "a PDF",
    "ceremonies:package": "a zip file",
    "ceremonies:offline-tool": "a file",
    "approvals:statement": "the bytes that are signed offline",
    "jwks": "JSON for verifiers",
    "jwks-key": "JSON for verifiers",
    "audit:event-news": "a fragment of the record's page",
    "audit:checkpoint-note": "a text file",
    "mfa_download_recovery_codes": "a text file",
    "mfa_authenticate": "the second step of a sign-in; tested in test_entrance",
    "mfa_reauthenticate_webauthn": "the passkey's own step; tested in test_entrance",
    "mfa_remove_webauthn": "needs a passkey; tested in test_entrance",
    "mfa_edit_webauthn": "needs a passkey; tested in test_entrance",
    "mfa_login_webauthn": "JSON for the sign-in page's script",
    "account_set_password": "only for people without one; tested in test_entrance",
    "account_email": "leads to My account",
    "account_email_verification_sent": "leads to My account",
    "account_confirm_email": "leads to My account",
    "account_confirm_login_code": "the portal sends no codes by mail",
    "accounts:setup": "only before the first officer; tested in test_entrance",
    "usersessions_list": "leads to My account",
}


def get_pages() -> Iterator[str]:
    """The names of all URLs outside the APIs that answer GET."""
    yield from _walk(get_resolver(), "")


def _walk(resolver: URLResolver, namespace: str) -> Iterator[str]:
    for entry in resolver.url_patterns:
        if isinstance(entry, URLPattern):
            view = getattr(entry.callback, "view_class", None)
            if entry.name and (view is None or hasattr(view, "get")):
                yield namespace + entry.name
        elif not str(entry.pattern).startswith(("api/", "v1/")):
            yield from _walk(entry, f"{namespace}{entry.namespace}:" if entry.namespace else namespace)


def path_of(name: str, entry: Entry, facts: dict[str, Any]) -> str:
    """The path of a page in a portal that has these facts."""
    return reverse(name, args=[_lookup(argument, facts) for argument in entry.args]) + entry.query


def _lookup(argument: Any, facts: dict[str, Any]) -> Any:
    found: Any = facts
    for part in str(argument).split("."):
        if not isinstance(found, dict) or part not in found:
            return argument
        found = found[part]
    return found
