"""Rules of authorities, certificates, ACME, renewals and rollovers."""

from typing import Any

from keyvault_portal.accounts.permissions import Permission as P
from tests.api.rules.rule import (
    API_CA,
    CA,
    PUBLIC,
    REASON,
    Rule,
    acts,
    lists,
    makes,
    sees,
)
from tests.api.world import HERE, World


def _authority(world: World) -> dict[str, Any]:
    return {
        "ring": str(world.place.ring.pk), "name": "fresh-ca", "title": "Fresh CA", "key": str(world.objects["signing"].pk), "days": 300, "reason": "A test.",
    }  # fmt: skip


def _authority_form(world: World) -> dict[str, Any]:
    return _authority(world) | {"crl_hours": 168, "crl_partitions": 1}


def _import(world: World) -> dict[str, Any]:
    return _authority(world) | {"certificate": "none"}


def _import_form(world: World) -> dict[str, Any]:
    return _authority_form(world) | {"certificate": "none"}


def _csr(world: World) -> dict[str, Any]:
    return {"csr": world.objects["csr"], "profile": "server"}


def _upload(world: World) -> dict[str, Any]:
    return {"ring": str(world.place.ring.pk), "content": "bm90aGluZw=="}


def _many(world: World) -> dict[str, Any]:
    return {
        "by": "key",
        "value": world.objects["certificate"].spki_sha256,
        "ring": str(world.place.ring.pk),
        "reason": "superseded",
        "note": "A test.",
    }


def _key_form(world: World) -> dict[str, Any]:
    return {"key": str(world.objects["signing"].pk), "profile": "server", "names": "b.example.org"}


def _many_form(world: World) -> dict[str, Any]:
    return _many(world) | {"key": world.objects["certificate"].spki_sha256}


_NEW_KEY = {
    "profile": "server",
    "algorithm": "ECDSA-P256-SHA256",
    "form": "pkcs12",
    "password": "correct horse battery",
}
_KEY_FILE = {name: _NEW_KEY[name] for name in ("algorithm", "form", "password")}
_CROSS = {"certificate": "none", "days": 30, "reason": "A test."}
_REVOCATION = {"reason": "superseded"}
_ACME_FORM = {
    "profiles": ["server"], "challenges": ["dns-01"], "order_hours": 24, "http_port": 80, "tls_port": 443,
}  # fmt: skip


def _acme_server(world: World) -> dict[str, Any]:
    return {"authority": str(world.objects["authority"].pk), "profiles": ["server"]}


def _acme_key(world: World) -> dict[str, Any]:
    return {"authority": str(world.objects["authority"].pk), "label": "Web team"}


def _key_import(world: World) -> dict[str, Any]:
    return {
        "ring": str(world.place.ring.pk), "name": "old-ca", "title": "Old CA", "parent": str(world.place.keys["kek"].pk),
        "above": str(world.place.keys["kek"].pk), "private_key": "none",
    }  # fmt: skip


def _source(world: World) -> dict[str, Any]:
    return {
        "ring": str(world.place.ring.pk), "name": "fresh-source", "directory": "https://10.0.0.1/dir", "agree_to_terms": True,
    }  # fmt: skip


def _look(world: World) -> dict[str, Any]:
    return {"ring": str(world.place.ring.pk), "directory": "https://192.0.2.1/dir"}  # in no allowed network


def _dns_hook(world: World) -> dict[str, Any]:
    return {
        "ring": str(world.place.ring.pk), "name": "fresh-hook", "kind": "webhook", "address": "https://10.0.0.1/", "secret": "0123456789abcdef",
        "key_algorithm": "hmac-sha256", "wait_seconds": 0,
    }  # fmt: skip


def _obtain(world: World) -> dict[str, Any]:
    return {
        "source": str(world.objects["source"].pk), "key": str(world.objects["signing"].pk), "challenge": "http-01",
        "names": [{"kind": "dns", "value": "new.example.org"}],
    }  # fmt: skip


def _obtain_form(world: World) -> dict[str, Any]:
    return _obtain(world) | {"names": "new.example.org"}


def _rollover(world: World) -> dict[str, Any]:
    return {"old": str(world.objects["heir"].pk), "new": str(world.objects["authority"].pk), "reason": "A test."}


def _report(world: World) -> dict[str, Any]:
    return {"ring": str(world.place.ring.pk), "name": "till", "fingerprints": ["ab" * 32]}


_HOOK = {"kind": "webhook", "place": "https://10.0.0.1/", "secret": "0123456789abcdef"}
_STEP = {"to": "trust_both", "reason": "A test."}


RULES: dict[str, Rule] = {
    "GET certificates:certificate-list": lists(P.CERTIFICATE_VIEW),
    "GET certificates:expiry": lists(P.CERTIFICATE_VIEW),
    "GET certificates:upload": lists(P.CERTIFICATE_UPLOAD),
    "POST certificates:upload": Rule(
        (P.CERTIFICATE_UPLOAD,), acts=(P.CERTIFICATE_UPLOAD, HERE), body=_upload, hidden=422
    ),
    "GET certificates:revoke-many": lists(P.CERTIFICATE_REVOKE),
    "POST certificates:revoke-many": Rule(
        (P.CERTIFICATE_REVOKE,), acts=(P.CERTIFICATE_REVOKE, HERE), body=_many_form, hidden=422
    ),
    "GET certificates:certificate-detail": sees(P.CERTIFICATE_VIEW),
    "GET certificates:certificate-download": sees(P.CERTIFICATE_VIEW),
    "GET certificates:certificate-renew": acts(P.CERTIFICATE_ISSUE, **CA),
    "POST certificates:certificate-renew": acts(P.CERTIFICATE_ISSUE, _csr, **CA),
    "GET certificates:certificate-revoke": acts(P.CERTIFICATE_REVOKE, **API_CA),
    "POST certificates:certificate-revoke": acts(P.CERTIFICATE_REVOKE, _REVOCATION, **API_CA),
    "POST certificates:certificate-release": acts(P.CERTIFICATE_REVOKE, **CA),
    "GET certificates:authority-list": lists(P.CERTIFICATE_VIEW),
    "GET certificates:authority-create": lists(P.AUTHORITY_MANAGE),
    "POST certificates:authority-create": makes(P.AUTHORITY_MANAGE, _authority_form, hidden=422),
    "GET certificates:authority-import": lists(P.AUTHORITY_MANAGE),
    "POST certificates:authority-import": makes(P.AUTHORITY_MANAGE, _import_form, hidden=422),
    "GET certificates:authority-detail": sees(P.CERTIFICATE_VIEW),
    "GET certificates:issue": acts(P.CERTIFICATE_ISSUE, **CA),
    "POST certificates:issue": acts(P.CERTIFICATE_ISSUE, _csr, **CA),
    "GET certificates:issue-key": acts(P.CERTIFICATE_ISSUE, **CA),
    "POST certificates:issue-key": acts(P.CERTIFICATE_ISSUE, _NEW_KEY, **CA),
    "GET certificates:issue-for-key": acts(P.CERTIFICATE_ISSUE, **CA),
    "POST certificates:issue-for-key": acts(P.CERTIFICATE_ISSUE, _key_form, **CA),
    "GET certificates:cross-sign": acts(P.AUTHORITY_MANAGE, **CA),
    "POST certificates:cross-sign": acts(P.AUTHORITY_MANAGE, _CROSS, **CA),
    "POST certificates:publish-crl": acts(P.AUTHORITY_MANAGE, **CA),
    "GET certificates:authority-import-key": lists(P.AUTHORITY_MANAGE),
    "POST certificates:authority-import-key": makes(P.AUTHORITY_MANAGE, _key_import, hidden=422),
    "GET certificates:certificate-renew-key": acts(P.CERTIFICATE_ISSUE, **CA),
    "POST certificates:certificate-renew-key": acts(P.CERTIFICATE_ISSUE, _KEY_FILE, **CA),
    "GET certificates:source-list": lists(P.CERTIFICATE_VIEW),
    "GET certificates:source-create": lists(P.AUTHORITY_MANAGE),
    "POST certificates:source-create": makes(P.AUTHORITY_MANAGE, _source, hidden=422),
    "GET certificates:source-detail": sees(P.CERTIFICATE_VIEW),
    "POST certificates:source-retry": acts(P.AUTHORITY_MANAGE, **CA),
    "GET certificates:source-retire": acts(P.AUTHORITY_MANAGE, **CA),
    "POST certificates:source-retire": acts(P.AUTHORITY_MANAGE, REASON, **CA),
    "GET certificates:dns-hook-create": lists(P.AUTHORITY_MANAGE),
    "POST certificates:dns-hook-create": makes(P.AUTHORITY_MANAGE, _dns_hook, hidden=422),
    "GET certificates:renewal-list": lists(P.CERTIFICATE_VIEW),
    "GET certificates:renewal-create": lists(P.CERTIFICATE_ISSUE),
    "POST certificates:renewal-create": makes(P.CERTIFICATE_ISSUE, _obtain_form, hidden=422),
    "GET certificates:renewal-detail": sees(P.CERTIFICATE_VIEW),
    "GET certificates:hook-create": acts(P.CERTIFICATE_ISSUE, **CA),
    "POST certificates:hook-create": acts(P.CERTIFICATE_ISSUE, _HOOK, **CA),
    "GET certificates:hook-remove": acts(P.CERTIFICATE_ISSUE, **CA),
    "POST certificates:hook-remove": acts(P.CERTIFICATE_ISSUE, REASON, **CA),
    "POST certificates:delivery-retry": acts(P.CERTIFICATE_ISSUE, **CA),
    "GET certificates:rollover-list": lists(P.CERTIFICATE_VIEW),
    "GET certificates:rollover-create": lists(P.AUTHORITY_MANAGE),
    "POST certificates:rollover-create": makes(P.AUTHORITY_MANAGE, _rollover, hidden=422),
    "GET certificates:rollover-detail": sees(P.CERTIFICATE_VIEW),
    "GET certificates:rollover-bundle": sees(P.CERTIFICATE_VIEW),
    "GET certificates:rollover-step": acts(P.AUTHORITY_MANAGE, **CA),
    "POST certificates:rollover-step": acts(P.AUTHORITY_MANAGE, REASON, **CA),
    "GET certificates:party-list": lists(P.CERTIFICATE_VIEW),
    "GET certificates:party-remove": acts(P.AUTHORITY_MANAGE, **CA),
    "POST certificates:party-remove": acts(P.AUTHORITY_MANAGE, REASON, **CA),
    "GET acme:order-list": lists(P.CERTIFICATE_VIEW),
    "GET acme:order-detail": sees(P.CERTIFICATE_VIEW),
    "GET acme:account-list": lists(P.CERTIFICATE_VIEW),
    "GET acme:account-revoke": acts(P.AUTHORITY_MANAGE, **CA),
    "POST acme:account-revoke": acts(P.AUTHORITY_MANAGE, REASON, **CA),
    "GET acme:server-detail": sees(P.CERTIFICATE_VIEW),
    "GET acme:server-rules": acts(P.AUTHORITY_MANAGE, **CA),
    "POST acme:server-rules": acts(P.AUTHORITY_MANAGE, _ACME_FORM, **CA),
    "GET acme:external-key-create": acts(P.AUTHORITY_MANAGE, **CA),
    "POST acme:external-key-create": acts(P.AUTHORITY_MANAGE, {"label": "Web team"}, **CA),
    "GET acme:external-key-revoke": acts(P.AUTHORITY_MANAGE, **CA),
    "POST acme:external-key-revoke": acts(P.AUTHORITY_MANAGE, REASON, **CA),
    # The protocol: clients sign their requests by themselves, and nobody is signed in.
    "GET acme-directory": PUBLIC,
    "GET acme-new-nonce": PUBLIC,
    "POST acme-new-account": PUBLIC,
    "POST acme-new-order": PUBLIC,
    "POST acme-revoke-cert": PUBLIC,
    "POST acme-key-change": PUBLIC,
    "POST acme-account": PUBLIC,
    "POST acme-account-orders": PUBLIC,
    "POST acme-order": PUBLIC,
    "POST acme-finalize": PUBLIC,
    "POST acme-authorization": PUBLIC,
    "POST acme-challenge": PUBLIC,
    "POST acme-certificate": PUBLIC,
    "POST acme-certificate-alternate": PUBLIC,
    "GET acme-renewal-info": PUBLIC,
    "GET pki-ca": PUBLIC,
    "GET pki-chain": PUBLIC,
    "GET pki-crls": PUBLIC,
    "GET pki-crl": PUBLIC,
    "GET pki-crl-delta": PUBLIC,
    "GET pki-crl-partition": PUBLIC,
    "POST pki-ocsp": PUBLIC,
    "GET pki-ocsp-get": PUBLIC,
    "GET api-acme-server-list": lists(P.CERTIFICATE_VIEW),
    "POST api-acme-server-list": Rule(
        (P.CERTIFICATE_VIEW,), (P.CERTIFICATE_VIEW, HERE), (P.AUTHORITY_MANAGE, HERE), body=_acme_server, unseen=422
    ),
    "GET api-acme-server-detail": sees(P.CERTIFICATE_VIEW),
    "PATCH api-acme-server-detail": acts(P.AUTHORITY_MANAGE, {"days": 30}, **API_CA),
    "POST api-acme-server-switch": acts(P.AUTHORITY_MANAGE, {"enabled": False} | REASON, **API_CA),
    "GET api-acme-external-key-list": lists(P.CERTIFICATE_VIEW),
    "POST api-acme-external-key-list": Rule(
        (P.CERTIFICATE_VIEW,), (P.CERTIFICATE_VIEW, HERE), (P.AUTHORITY_MANAGE, HERE), body=_acme_key, unseen=422
    ),
    "GET api-acme-external-key-detail": sees(P.CERTIFICATE_VIEW),
    "POST api-acme-external-key-revoke": acts(P.AUTHORITY_MANAGE, REASON, **API_CA),
    "GET api-acme-account-list": lists(P.CERTIFICATE_VIEW),
    "GET api-acme-account-detail": sees(P.CERTIFICATE_VIEW),
    "POST api-acme-account-revoke": acts(P.AUTHORITY_MANAGE, REASON, **API_CA),
    "GET api-acme-order-list": lists(P.CERTIFICATE_VIEW),
    "GET api-acme-order-detail": sees(P.CERTIFICATE_VIEW),
    "GET api-authority-list": lists(P.CERTIFICATE_VIEW),
    "POST api-authority-list": Rule(
        (P.CERTIFICATE_VIEW,), acts=(P.AUTHORITY_MANAGE, HERE), body=_authority, hidden=422
    ),
    "GET api-authority-detail": sees(P.CERTIFICATE_VIEW),
    "POST api-authority-import": Rule((P.CERTIFICATE_VIEW,), acts=(P.AUTHORITY_MANAGE, HERE), body=_import, hidden=422),
    "POST api-authority-cross-sign": acts(
        P.AUTHORITY_MANAGE, lambda world: _CROSS | {"certificate": world.objects["ca_pem"]}, **API_CA
    ),
    "POST api-authority-retire": acts(P.AUTHORITY_MANAGE, REASON, **API_CA),
    "POST api-authority-resume": acts(P.AUTHORITY_MANAGE, REASON, **API_CA),
    "POST api-authority-revoke": acts(P.AUTHORITY_MANAGE, REASON, **API_CA),
    "POST api-authority-crl": acts(P.AUTHORITY_MANAGE, **API_CA),
    "POST api-authority-issue": acts(P.CERTIFICATE_ISSUE, _csr, **API_CA),
    "POST api-authority-issue-key": acts(
        P.CERTIFICATE_ISSUE, _NEW_KEY | {"names": [{"kind": "dns", "value": "b.example.org"}]}, **API_CA
    ),
    "POST api-authority-issue-for-key": Rule(
        (P.CERTIFICATE_VIEW,),
        (P.CERTIFICATE_VIEW, HERE),
        (P.CERTIFICATE_ISSUE, HERE),
        body=lambda world: {
            "key": str(world.objects["signing"].pk),
            "profile": "server",
            "names": [{"kind": "dns", "value": "b.example.org"}],
        },
    ),
    "POST api-authority-import-key": Rule(
        (P.CERTIFICATE_VIEW,), acts=(P.AUTHORITY_MANAGE, HERE), body=_key_import, hidden=422
    ),
    "POST api-certificate-renew-key": acts(P.CERTIFICATE_ISSUE, _KEY_FILE, **API_CA),
    "GET api-acme-source-list": lists(P.CERTIFICATE_VIEW),
    "POST api-acme-source-list": Rule((P.CERTIFICATE_VIEW,), acts=(P.AUTHORITY_MANAGE, HERE), body=_source, hidden=422),
    "POST api-acme-source-look": Rule((P.CERTIFICATE_VIEW,), acts=(P.AUTHORITY_MANAGE, HERE), body=_look, hidden=422),
    "GET api-acme-source-detail": sees(P.CERTIFICATE_VIEW),
    "POST api-acme-source-retry": acts(P.AUTHORITY_MANAGE, **API_CA),
    "POST api-acme-source-retire": acts(P.AUTHORITY_MANAGE, REASON, **API_CA),
    "GET api-dns-hook-list": lists(P.CERTIFICATE_VIEW),
    "POST api-dns-hook-list": Rule((P.CERTIFICATE_VIEW,), acts=(P.AUTHORITY_MANAGE, HERE), body=_dns_hook, hidden=422),
    "GET api-dns-hook-detail": sees(P.CERTIFICATE_VIEW),
    "GET api-renewal-list": lists(P.CERTIFICATE_VIEW),
    "POST api-renewal-list": Rule((P.CERTIFICATE_VIEW,), (P.KEY_VIEW, HERE), (P.CERTIFICATE_ISSUE, HERE), body=_obtain),
    "GET api-renewal-detail": sees(P.CERTIFICATE_VIEW),
    "POST api-renewal-renew": acts(P.CERTIFICATE_ISSUE, REASON, **API_CA),
    "POST api-renewal-stop": acts(P.CERTIFICATE_ISSUE, REASON, **API_CA),
    "POST api-renewal-resume": acts(P.CERTIFICATE_ISSUE, REASON, **API_CA),
    "GET api-renewal-orders": sees(P.CERTIFICATE_VIEW),
    "POST api-renewal-deploy-hooks": acts(P.CERTIFICATE_ISSUE, _HOOK, **API_CA),
    "GET api-deploy-hook-list": lists(P.CERTIFICATE_VIEW),
    "GET api-deploy-hook-detail": sees(P.CERTIFICATE_VIEW),
    "POST api-deploy-hook-remove": acts(P.CERTIFICATE_ISSUE, REASON, **API_CA),
    "GET api-delivery-list": lists(P.CERTIFICATE_VIEW),
    "GET api-delivery-detail": sees(P.CERTIFICATE_VIEW),
    "POST api-delivery-retry": acts(P.CERTIFICATE_ISSUE, **API_CA),
    "GET api-rollover-list": lists(P.CERTIFICATE_VIEW),
    "POST api-rollover-list": Rule(
        (P.CERTIFICATE_VIEW,), (P.CERTIFICATE_VIEW, HERE), (P.AUTHORITY_MANAGE, HERE), body=_rollover
    ),
    "GET api-rollover-detail": sees(P.CERTIFICATE_VIEW),
    "POST api-rollover-step": acts(P.AUTHORITY_MANAGE, _STEP, **API_CA),
    "GET api-rollover-gate": sees(P.CERTIFICATE_VIEW),
    "GET api-rollover-bundle": sees(P.CERTIFICATE_VIEW),
    "GET api-relying-party-list": lists(P.CERTIFICATE_VIEW),
    "POST api-relying-party-list": makes(P.TRUST_REPORT, _report, hidden=422),
    "GET api-relying-party-detail": sees(P.CERTIFICATE_VIEW),
    "POST api-relying-party-remove": acts(P.AUTHORITY_MANAGE, REASON, **API_CA),
    "GET api-certificate-list": lists(P.CERTIFICATE_VIEW),
    "GET api-certificate-detail": sees(P.CERTIFICATE_VIEW),
    "GET api-certificate-chain": sees(P.CERTIFICATE_VIEW),
    "POST api-certificate-renew": acts(P.CERTIFICATE_ISSUE, lambda world: {"csr": world.objects["csr"]}, **API_CA),
    "POST api-certificate-revoke": acts(P.CERTIFICATE_REVOKE, _REVOCATION, **API_CA),
    "POST api-certificate-release": acts(P.CERTIFICATE_REVOKE, **API_CA),
    "POST api-certificate-revoke-many": Rule((P.CERTIFICATE_VIEW,), acts=(P.CERTIFICATE_REVOKE, HERE), body=_many),
    "POST api-certificate-upload": Rule(
        (P.CERTIFICATE_VIEW,), acts=(P.CERTIFICATE_UPLOAD, HERE), body=_upload, hidden=422
    ),
    "GET api-certificate-places": sees(P.CERTIFICATE_VIEW),
    "GET api-certificate-transparency": sees(P.CERTIFICATE_VIEW),
}

for _name in ("retire", "resume", "revoke"):
    RULES[f"GET certificates:authority-{_name}"] = acts(P.AUTHORITY_MANAGE, **CA)
    RULES[f"POST certificates:authority-{_name}"] = acts(P.AUTHORITY_MANAGE, REASON, **CA)

for _name in ("now", "stop", "resume"):
    RULES[f"GET certificates:renewal-{_name}"] = acts(P.CERTIFICATE_ISSUE, **CA)
    RULES[f"POST certificates:renewal-{_name}"] = acts(P.CERTIFICATE_ISSUE, REASON, **CA)

for _name in ("stop", "start"):
    RULES[f"GET acme:server-{_name}"] = acts(P.AUTHORITY_MANAGE, **CA)
    RULES[f"POST acme:server-{_name}"] = acts(P.AUTHORITY_MANAGE, REASON, **CA)
