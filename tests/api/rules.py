"""Who may do what: one rule for every route and method of pages and API. A route that is missing here fails the tests."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ceremonies.script import FOLDER
from keys.dataplane.operations import OPERATIONS
from keyvault_portal.accounts.permissions import Permission as P
from tests.api.world import EVERYTHING, HERE, World, an_hour_ago

type Body = Callable[[World], Any] | dict[str, Any]


@dataclass(frozen=True)
class Rule:
    """In the order they are asked: `opens` (any of them, anywhere: else 403), `sees` on the object's place (else 404, or `unseen` where the body names it),
    `acts` on its place (else 403, or `hidden`), `decides` with this role on its ring (else 403).

    `public`: nobody has to sign in. `own`: served to whoever is signed in (`acts` then binds tokens only). `data`: a data-plane rule, where holding
    nothing on the ring looks like no such key. `body` has to be valid, so that only rights can refuse it.
    """

    opens: tuple[P, ...] = ()
    sees: tuple[P, str] | None = None
    acts: tuple[P, str] | None = None
    decides: str = ""
    body: Body | None = None
    hidden: int = 403
    unseen: int = 404
    public: bool = False
    own: bool = False
    data: bool = False


PUBLIC, OWN = Rule(public=True), Rule(own=True)
REASON = {"reason": "A test."}


def sees(permission: P, place: str = HERE, *, opens: P | tuple[P, ...] | None = None, **more: Any) -> Rule:
    opens = permission if opens is None else opens
    return Rule((opens,) if isinstance(opens, P) else opens, (permission, place), **more)


def lists(permission: P) -> Rule:
    return Rule((permission,))


def makes(permission: P, body: Body, place: str = HERE, hidden: int = 403) -> Rule:
    return Rule((permission,), acts=(permission, place), body=body, hidden=hidden)


def acts(
    permission: P, body: Body | None = None, *, view: P = P.KEY_VIEW, opens: P | None = None, place: str = HERE
) -> Rule:
    """On an object that `view` shows; the page opens for `opens`, by default for whoever may act somewhere."""
    return Rule((permission if opens is None else opens,), (view, HERE), (permission, place), body=body)


def _key(world: World) -> dict[str, Any]:
    return {
        "ring": str(world.place.ring.pk), "name": "fresh", "title": "Fresh", "kind": "dek", "algorithm": "AES-256-GCM",
        "parent": str(world.place.keys["kek"].pk),
    }  # fmt: skip


def _store(world: World) -> dict[str, Any]:
    return {
        "ring": str(world.place.ring.pk), "key": str(world.place.keys["data"].pk), "name": "shop", "title": "Shop",
        "dsn": "postgresql://nobody@192.0.2.1/shop", "table_name": "customers", "primary_key": "id", "columns": ["email"],
        "schema_name": "public", "format": "compact",
    }  # fmt: skip


def _store_form(world: World) -> dict[str, Any]:
    return _store(world) | {"columns": "email", "context_template": "{}"}


def _seal(world: World) -> dict[str, Any]:
    return {"key": str(world.place.keys["data"].pk)}


def _root_seal(world: World) -> dict[str, Any]:
    return {"name": "Far", "key": str(world.place.keys["root"].pk), "reason": "A test."}


def _approve(world: World) -> dict[str, Any]:
    return {"act_hash": world.objects["approval"].act_hash, "read": "on"}


def _role(world: World) -> dict[str, Any]:
    return {"person": str(world.objects["person"].pk), "role": "operator", "ring": str(world.place.ring.pk)}


def _compromise(world: World) -> dict[str, Any]:
    return {"reason_code": "key_compromise", "occurred_at": an_hour_ago(), "note": "A test."}


def _adoption(world: World) -> dict[str, Any]:
    return {
        "ring": str(world.place.ring.pk), "name": "taken-in", "title": "Taken in", "kind": "kek", "parent": str(world.place.keys["root"].pk),
    }  # fmt: skip


def _provider(permission: P, body: Body | None = None) -> Rule:
    """Providers belong to no ring: who acts on one needs the right on everything."""
    return Rule((permission,), acts=(P.PROVIDER_MANAGE, EVERYTHING), body=body)


_FAR = {"title": "Far", "values": {"place": "there"}}
_FAR_FORM = {"title": "Far", "place": "there", "mode": "calm"}
_PERSON = {"name": "Ann", "email": "ann@example.org", "kind": "person", "site": "", "reporting_line": ""}
_POLICY = {
    "cryptoperiod_days": 30, "rotate_roles": ["security_officer"], "rotate_threshold": 0, "destroy_threshold": 2,
    "destroy_roles": ["security_officer"], "grace_days": 40, "minimum_grace_days": 10, "use_share_due": 50,
}  # fmt: skip
_MOVE = {"target": "far", "reason": "A test."}
_RING = {"title": "Title", "description": ""}
_TLS_CONFIGURATION = {"server": "nginx", "profile": "modern"}
_TLS_SCAN = {"host": "192.0.2.1", "port": 443}  # in no allowed network
_TLS_MANIFEST = {"issuer": "ours", "name": "example-com", "names": ["example.com"]}
_COMPONENTS = {
    "method": "components", "component_values": ["AABBCC", "DDEEFF"], "check_value": "010203", "reason": "A test.",
}  # fmt: skip
_COMPONENTS_FORM = _COMPONENTS | {"component_values": "AABBCC DDEEFF"}
_ROTATION = {"view": P.ROTATION_VIEW}
_API_ROTATION = {"view": P.ROTATION_VIEW, "opens": P.ROTATION_VIEW}
_API_KEY = {"opens": P.KEY_VIEW}
_DECIDE = {"opens": (P.APPROVAL_DECIDE,), "sees": (P.APPROVAL_VIEW, HERE), "decides": "security_officer"}


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


def _target(world: World) -> dict[str, Any]:
    return {"ring": str(world.place.ring.pk), "host": "10.77.0.1"}


def _monitor(world: World) -> dict[str, Any]:
    return {
        "ring": str(world.place.ring.pk), "name": "Log", "url": "https://10.77.0.1/log/", "domains": ["example.org"],
        "public_key": world.objects["log_key"], "every_minutes": 60,
    }  # fmt: skip


def _key_form(world: World) -> dict[str, Any]:
    return {"key": str(world.objects["signing"].pk), "profile": "server", "names": "b.example.org"}


def _many_form(world: World) -> dict[str, Any]:
    return _many(world) | {"key": world.objects["certificate"].spki_sha256}


def _agent(world: World) -> dict[str, Any]:
    return {"ring": str(world.place.ring.pk), "host": "web-1", "found": [{"path": "/a.pem", "pem": ""}]}


_RANGE = {"value": "10.88.0.0/16", "reason": "A test."}
_LOG_LIST = {
    "content": {"version": "1", "log_list_timestamp": "2026-01-01T00:00:00Z", "operators": []}, "provenance": "A test.",
}  # fmt: skip
_ENDPOINT = {"view": P.TLS_VIEW}
_API_ENDPOINT = {"view": P.TLS_VIEW, "opens": P.TLS_VIEW}

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


_CA = {"view": P.CERTIFICATE_VIEW}
_API_CA = {"view": P.CERTIFICATE_VIEW, "opens": P.CERTIFICATE_VIEW}


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


def _plan(world: World) -> dict[str, Any]:
    return {
        "title": "Escrow", "script": "escrow:1", "purpose": "A test.", "key": str(world.place.keys["root"].pk), "place": "Oslo", "time_zone": "UTC",
        "starts_at": "2031-01-01T10:00:00Z", "threshold": 3, "share_count": 5,
    }  # fmt: skip


def _plan_form(world: World) -> dict[str, Any]:
    return _plan(world) | {"starts_at": "2031-01-01T10:00"}


_SEAT = {"role": "holder", "email": "newcomer@example.org", "name": "Newcomer"}
_CUSTODY = {"what": "moved", "bag": "B2", "place": "Vault"}
_CEREMONY: dict[str, Any] = {"view": P.CEREMONY_VIEW}
_API_CEREMONY: dict[str, Any] = {"view": P.CEREMONY_VIEW, "opens": P.CEREMONY_VIEW}
_SCRIPT = {"text": (FOLDER / "unseal.yaml").read_text().replace("name: unseal", "name: ours"), "reason": "A test."}
_SEEN = Rule(sees=(P.CEREMONY_VIEW, HERE))  # to whoever may see ceremonies there, and to those who have a seat

_PAGES: dict[str, Rule] = {
    "GET ceremonies:list": lists(P.CEREMONY_VIEW),
    "GET ceremonies:create": lists(P.CEREMONY_MANAGE),
    "POST ceremonies:create": makes(P.CEREMONY_MANAGE, _plan_form, hidden=422),
    "GET ceremonies:detail": sees(P.CEREMONY_VIEW),
    "POST ceremonies:person-add": acts(P.CEREMONY_MANAGE, _SEAT, **_CEREMONY),
    "POST ceremonies:person-remove": acts(P.CEREMONY_MANAGE, **_CEREMONY),
    "POST ceremonies:person-invite": acts(P.CEREMONY_MANAGE, **_CEREMONY),
    "GET ceremonies:subject": acts(P.CEREMONY_MANAGE, **_CEREMONY),
    "POST ceremonies:subject": acts(P.CEREMONY_MANAGE, **_CEREMONY),
    "POST ceremonies:people-invite": acts(P.CEREMONY_MANAGE, **_CEREMONY),
    "POST ceremonies:open": acts(P.CEREMONY_MANAGE, **_CEREMONY),
    "POST ceremonies:replan": acts(P.CEREMONY_MANAGE, **_CEREMONY),
    "GET ceremonies:call-off": sees(P.CEREMONY_VIEW, opens=P.CEREMONY_MANAGE),
    "POST ceremonies:call-off": acts(P.CEREMONY_MANAGE, REASON, **_CEREMONY),
    "GET ceremonies:calendar": _SEEN,
    "GET ceremonies:minutes": _SEEN,
    "GET ceremonies:room": _SEEN,
    "GET ceremonies:room-live": _SEEN,
    "POST ceremonies:room-share": Rule(sees=(P.CEREMONY_VIEW, HERE), decides="a share holder"),
    "POST ceremonies:room-sealed-share": Rule(sees=(P.CEREMONY_VIEW, HERE), decides="a share holder"),
    "POST ceremonies:room-act": Rule(sees=(P.CEREMONY_VIEW, HERE), decides="somebody with a seat"),
    "GET ceremonies:register": lists(P.CEREMONY_VIEW),
    "GET ceremonies:share-detail": sees(P.CEREMONY_VIEW),
    "POST ceremonies:share-detail": acts(P.CEREMONY_MANAGE, _CUSTODY, **_API_CEREMONY),
    "POST ceremonies:share-acknowledge": sees(P.CEREMONY_VIEW, decides="its custodian"),
    "GET ceremonies:share-accept-risk": sees(P.CEREMONY_VIEW, opens=P.CEREMONY_MANAGE),
    "POST ceremonies:share-accept-risk": acts(P.CEREMONY_MANAGE, REASON, **_CEREMONY),
    "GET ceremonies:package": acts(P.CEREMONY_MANAGE, **_API_CEREMONY),
    "GET ceremonies:script-list": lists(P.CEREMONY_VIEW),
    "GET ceremonies:script-detail": lists(P.CEREMONY_VIEW),
    "GET ceremonies:script-upload": lists(P.CEREMONY_MANAGE),
    "POST ceremonies:script-upload": makes(P.CEREMONY_MANAGE, _SCRIPT, EVERYTHING),
    "GET ceremonies:join": PUBLIC,
    "POST ceremonies:join": PUBLIC,
    "GET dashboard": lists(P.APPROVAL_VIEW),
    "GET settings": lists(P.SETTINGS_VIEW),
    "GET tls:configuration": lists(P.TLS_VIEW),
    "GET tls:scan": lists(P.TLS_SCAN),
    "POST tls:scan": Rule(
        (P.TLS_SCAN,), acts=(P.TLS_SCAN, EVERYTHING), body=_TLS_SCAN | {"server": "nginx", "hsts_seconds": 0}
    ),
    "GET tls:pins": lists(P.TLS_VIEW),
    "POST tls:pins": lists(P.TLS_VIEW),
    "GET tls:records": lists(P.TLS_VIEW),
    "GET tls:manifests": lists(P.TLS_VIEW),
    "GET keys:key-list": lists(P.KEY_VIEW),
    "GET keys:hierarchy": lists(P.KEY_VIEW),
    "GET keys:key-create": lists(P.KEY_CREATE),
    "POST keys:key-create": makes(P.KEY_CREATE, _key, hidden=422),
    "GET keys:key-detail": sees(P.KEY_VIEW),
    "GET keys:policy-edit": sees(P.KEY_VIEW, opens=P.KEY_EDIT),
    "POST keys:policy-edit": acts(P.KEY_EDIT, _POLICY),
    "GET keys:rotation-request": acts(P.KEY_ROTATE),
    "POST keys:rotation-request": acts(P.KEY_ROTATE, REASON),
    "GET keys:rotation-list": lists(P.ROTATION_VIEW),
    "GET keys:rotation-detail": sees(P.ROTATION_VIEW),
    "GET keys:rotation-cancel": sees(P.ROTATION_VIEW, opens=P.ROTATION_CONTROL),
    "POST keys:rotation-cancel": acts(P.ROTATION_CONTROL, REASON, **_ROTATION),
    "GET keys:rotation-decommission": sees(P.ROTATION_VIEW, opens=P.KEY_DESTROY),
    "POST keys:rotation-decommission": acts(P.KEY_DESTROY, REASON, **_ROTATION),
    "GET keys:rotation-keep": sees(P.ROTATION_VIEW, opens=P.KEY_DESTROY),
    "POST keys:rotation-keep": acts(P.KEY_DESTROY, REASON, **_ROTATION),
    "POST keys:rotation-pause": acts(P.ROTATION_CONTROL, **_ROTATION),
    "POST keys:rotation-resume": acts(P.ROTATION_CONTROL, **_ROTATION),
    "POST keys:rotation-retry": acts(P.ROTATION_CONTROL, **_ROTATION),
    "POST keys:rotation-throttle": acts(P.ROTATION_CONTROL, {"rate_limit": 10}, **_ROTATION),
    "POST keys:failed-item-decide": acts(P.KEY_DESTROY, REASON, view=P.ROTATION_VIEW, opens=P.ROTATION_CONTROL),
    "GET keys:move-request": acts(P.KEY_MOVE),
    "POST keys:move-request": acts(P.KEY_MOVE, _MOVE),
    "GET keys:move-list": lists(P.ROTATION_VIEW),
    "GET keys:move-detail": sees(P.ROTATION_VIEW),
    "GET keys:move-undo": sees(P.ROTATION_VIEW, opens=P.KEY_MOVE),
    "POST keys:move-undo": acts(P.KEY_MOVE, REASON, **_ROTATION),
    "GET keys:move-drop": sees(P.ROTATION_VIEW, opens=P.KEY_DESTROY),
    "POST keys:move-drop": acts(P.KEY_DESTROY, REASON, **_ROTATION),
    "GET keys:move-keep": sees(P.ROTATION_VIEW, opens=P.KEY_DESTROY),
    "POST keys:move-keep": acts(P.KEY_DESTROY, REASON, **_ROTATION),
    "POST keys:move-pause": acts(P.ROTATION_CONTROL, **_ROTATION),
    "POST keys:move-resume": acts(P.ROTATION_CONTROL, **_ROTATION),
    "POST keys:move-throttle": acts(P.ROTATION_CONTROL, {"rate_limit": 10}, **_ROTATION),
    "GET sealed": PUBLIC,
    "POST sealed": PUBLIC,
    "GET keys:seal-list": lists(P.SETTINGS_VIEW),
    "POST keys:seal-shares": makes(P.SETTINGS_MANAGE, {"name": "c", "threshold": 2, "count": 3, **REASON}, EVERYTHING),
    "GET keys:seal-make-shares": lists(P.SETTINGS_MANAGE),
    "POST keys:seal-make-shares": makes(P.SETTINGS_MANAGE, {}, EVERYTHING),
    "GET keys:seal-now": lists(P.SETTINGS_MANAGE),
    "POST keys:seal-now": makes(P.SETTINGS_MANAGE, REASON, EVERYTHING),
    "POST keys:seal-provider": makes(
        P.SETTINGS_MANAGE, {"provider-name": "p", "provider-key": "x", "provider-reason": "r"}, EVERYTHING
    ),
    "POST keys:seal-check": makes(P.SETTINGS_MANAGE, {}, EVERYTHING),
    "POST keys:seal-retire": makes(P.SETTINGS_MANAGE, {}, EVERYTHING),
    "GET keys:store-list": lists(P.STORE_VIEW),
    "GET keys:store-create": lists(P.STORE_MANAGE),
    "POST keys:store-create": makes(P.STORE_MANAGE, _store_form, hidden=422),
    "GET keys:store-seal": Rule((P.STORE_MANAGE,), acts=(P.STORE_MANAGE, EVERYTHING)),
    "POST keys:store-seal": makes(P.STORE_MANAGE, _seal, EVERYTHING),
    "GET keys:store-detail": sees(P.STORE_VIEW),
    "POST keys:store-census": sees(P.STORE_VIEW),
    "POST keys:store-check": acts(P.STORE_MANAGE, view=P.STORE_VIEW),
    "GET keys:store-deregister": acts(P.STORE_MANAGE, view=P.STORE_VIEW),
    "POST keys:store-deregister": acts(P.STORE_MANAGE, REASON, view=P.STORE_VIEW),
    "GET keys:census": lists(P.STORE_VIEW),
    "GET keys:places": lists(P.PROVIDER_VIEW),
    "GET keys:provider-list": lists(P.PROVIDER_VIEW),
    "GET keys:provider-kinds": _provider(P.PROVIDER_MANAGE),
    "GET keys:provider-create": _provider(P.PROVIDER_MANAGE),
    "POST keys:provider-create": _provider(P.PROVIDER_MANAGE, _FAR_FORM | {"alias": "near"}),
    "GET keys:provider-detail": lists(P.PROVIDER_VIEW),
    "GET keys:provider-edit": _provider(P.PROVIDER_MANAGE),
    "POST keys:provider-edit": _provider(P.PROVIDER_MANAGE, _FAR_FORM),
    "POST keys:provider-test": _provider(P.PROVIDER_MANAGE),
    "POST keys:provider-compare": _provider(P.PROVIDER_MANAGE),
    "GET keys:provider-disable": _provider(P.PROVIDER_MANAGE),
    "POST keys:provider-disable": _provider(P.PROVIDER_MANAGE, REASON),
    "GET keys:provider-enable": _provider(P.PROVIDER_MANAGE),
    "POST keys:provider-enable": _provider(P.PROVIDER_MANAGE, REASON),
    "GET keys:finding-ignore": _provider(P.PROVIDER_MANAGE),
    "POST keys:finding-ignore": _provider(P.PROVIDER_MANAGE, REASON),
    "POST keys:finding-mend": _provider(P.PROVIDER_MANAGE),
    "GET keys:finding-adopt": _provider(P.PROVIDER_MANAGE),
    "POST keys:finding-adopt": _provider(P.PROVIDER_MANAGE, _adoption),
    "POST keys:work-retry": acts(P.KEY_ROTATE),
    "GET keys:import-list": lists(P.KEY_VIEW),
    "GET keys:import-new": lists(P.KEY_IMPORT),
    "POST keys:import-new": makes(P.KEY_IMPORT, lambda world: _key(world) | _COMPONENTS_FORM, hidden=422),
    "GET keys:import-open": acts(P.KEY_IMPORT),
    "POST keys:import-open": acts(P.KEY_IMPORT, _COMPONENTS_FORM),
    "GET keys:import-detail": sees(P.KEY_VIEW),
    "POST keys:import-upload": acts(P.KEY_IMPORT),
    "GET keys:component-enter": acts(P.KEY_COMPONENT),
    "POST keys:component-enter": acts(P.KEY_COMPONENT, {"component": "00" * 32}),
    "GET keys:import-abort": acts(P.KEY_IMPORT),
    "POST keys:import-abort": acts(P.KEY_IMPORT, REASON),
    "GET keys:export-request": acts(P.KEY_EXPORT),
    "POST keys:export-request": acts(P.KEY_EXPORT, {"recipient": "P", "recipient_key": "x"} | REASON),
    "GET keys:export-detail": sees(P.KEY_VIEW),
    "POST keys:export-collect": acts(P.KEY_EXPORT),
    "POST keys:export-erase": acts(P.KEY_EXPORT),
    "GET keys:export-withdraw": acts(P.KEY_EDIT),
    "POST keys:export-withdraw": acts(P.KEY_EDIT, REASON),
    "GET accounts:person-list": lists(P.PERSON_VIEW),
    "GET accounts:person-invite": lists(P.PERSON_MANAGE),
    "POST accounts:person-invite": makes(P.PERSON_MANAGE, _PERSON, EVERYTHING),
    "GET accounts:person-detail": sees(P.PERSON_VIEW),
    "GET accounts:person-edit": sees(P.PERSON_VIEW, opens=P.PERSON_MANAGE),
    "POST accounts:person-edit": acts(P.PERSON_MANAGE, {"name": "Ann"}, view=P.PERSON_VIEW, place=EVERYTHING),
    "POST accounts:person-invite-again": acts(P.PERSON_MANAGE, view=P.PERSON_VIEW, place=EVERYTHING),
    "GET accounts:person-deactivate": sees(P.PERSON_VIEW, opens=P.PERSON_MANAGE),
    "POST accounts:person-deactivate": acts(P.PERSON_MANAGE, view=P.PERSON_VIEW, place=EVERYTHING),
    "GET accounts:person-reactivate": sees(P.PERSON_VIEW, opens=P.PERSON_MANAGE),
    "POST accounts:person-reactivate": acts(P.PERSON_MANAGE, view=P.PERSON_VIEW, place=EVERYTHING),
    "GET accounts:role-bind": sees(P.PERSON_VIEW, opens=P.PERSON_MANAGE),
    "POST accounts:role-bind": acts(P.PERSON_MANAGE, _role, view=P.PERSON_VIEW),
    "GET accounts:role-unbind": sees(P.PERSON_VIEW, opens=P.PERSON_MANAGE),
    "POST accounts:role-unbind": acts(P.PERSON_MANAGE, view=P.PERSON_VIEW),
    "GET accounts:ring-list": lists(P.KEY_VIEW),
    "GET accounts:ring-create": lists(P.RING_MANAGE),
    "POST accounts:ring-create": makes(P.RING_MANAGE, _RING | {"name": "new"}, EVERYTHING),
    "GET accounts:ring-detail": sees(P.KEY_VIEW),
    "GET accounts:ring-edit": sees(P.KEY_VIEW, opens=P.RING_MANAGE),
    "POST accounts:ring-edit": acts(P.RING_MANAGE, _RING),
    "GET accounts:token-list": OWN,
    "GET accounts:token-create": OWN,
    "POST accounts:token-create": OWN,
    "GET accounts:token-revoke": Rule(sees=(P.TOKEN_VIEW, HERE)),
    "POST accounts:token-revoke": Rule(sees=(P.TOKEN_VIEW, HERE), acts=(P.TOKEN_MANAGE, HERE)),
    "GET accounts:profile": OWN,
    "POST accounts:session-revoke-others": OWN,
    "POST accounts:session-revoke": Rule(sees=(P.PERSON_MANAGE, EVERYTHING)),
    "GET accounts:setup": PUBLIC,
    "POST accounts:setup": PUBLIC,
    "GET accounts:sign-in-link": PUBLIC,
    "POST accounts:sign-in-link": PUBLIC,
    "GET approvals:inbox": lists(P.APPROVAL_VIEW),
    "GET approvals:notices": OWN,
    "POST approvals:notices": OWN,
    "GET approvals:detail": sees(P.APPROVAL_VIEW, opens=(P.APPROVAL_VIEW, P.APPROVAL_DECIDE)),
    "GET approvals:statement": sees(P.APPROVAL_VIEW, opens=(P.APPROVAL_VIEW, P.APPROVAL_DECIDE)),
    "GET approvals:signing-keys": lists(P.APPROVAL_DECIDE),
    "POST approvals:signing-keys": lists(P.APPROVAL_DECIDE),
    "POST approvals:signing-key-remove": Rule(acts=(P.PERSON_MANAGE, EVERYTHING)),
    "POST approvals:approve": Rule(**_DECIDE, body=_approve),
    "POST approvals:reject": Rule(**_DECIDE, body={"reject-reason": "No."}),
    "POST approvals:withdraw": sees(P.APPROVAL_VIEW, decides="requester"),
    "GET approvals:break-glass": sees(P.APPROVAL_VIEW, opens=P.APPROVAL_BREAK_GLASS),
    "POST approvals:break-glass": acts(P.APPROVAL_BREAK_GLASS, REASON, view=P.APPROVAL_VIEW),
    "GET audit:event-list": lists(P.AUDIT_VIEW),
    "GET audit:event-news": lists(P.AUDIT_VIEW),
    "GET audit:event-detail": sees(P.AUDIT_VIEW),
    "GET audit:checkpoint-list": lists(P.AUDIT_VIEW),
    "GET audit:checkpoint-note": lists(P.AUDIT_VIEW),
    "GET audit:export": lists(P.AUDIT_EXPORT),
    "POST audit:export": Rule((P.AUDIT_EXPORT,), body={"format": "jsonl"}),
    "POST audit:evidence": Rule((P.AUDIT_EXPORT,), acts=(P.AUDIT_EXPORT, EVERYTHING)),
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
    "GET certificates:target-list": lists(P.TLS_VIEW),
    "GET certificates:target-create": lists(P.TLS_SCAN),
    "POST certificates:target-create": makes(P.TLS_SCAN, lambda world: _target(world) | {"port": 443}, hidden=422),
    "GET certificates:target-detail": sees(P.TLS_VIEW),
    "POST certificates:target-scan": acts(P.TLS_SCAN, **_ENDPOINT),
    "GET certificates:target-remove": acts(P.TLS_SCAN, **_ENDPOINT),
    "POST certificates:target-remove": acts(P.TLS_SCAN, **_ENDPOINT),
    "GET certificates:range-list": lists(P.TLS_VIEW),
    "POST certificates:range-list": Rule((P.TLS_VIEW,), acts=(P.SETTINGS_MANAGE, EVERYTHING), body=_RANGE),
    "POST certificates:range-withdraw": Rule((P.SETTINGS_MANAGE,), acts=(P.SETTINGS_MANAGE, EVERYTHING)),
    "GET certificates:transparency": lists(P.CERTIFICATE_VIEW),
    "GET certificates:log-list-upload": lists(P.SETTINGS_MANAGE),
    "POST certificates:log-list-upload": lists(P.SETTINGS_MANAGE),  # without its file the form refuses everybody alike
    "GET certificates:monitor-create": lists(P.TLS_SCAN),
    "POST certificates:monitor-create": makes(
        P.TLS_SCAN, lambda world: _monitor(world) | {"domains": "example.org"}, hidden=422
    ),
    "GET certificates:monitor-detail": sees(P.CERTIFICATE_VIEW),
    "POST certificates:monitor-read": acts(P.TLS_SCAN, **_CA),
    "GET certificates:monitor-remove": acts(P.TLS_SCAN, **_CA),
    "POST certificates:monitor-remove": acts(P.TLS_SCAN, **_CA),
    "GET certificates:certificate-detail": sees(P.CERTIFICATE_VIEW),
    "GET certificates:certificate-download": sees(P.CERTIFICATE_VIEW),
    "GET certificates:certificate-renew": acts(P.CERTIFICATE_ISSUE, **_CA),
    "POST certificates:certificate-renew": acts(P.CERTIFICATE_ISSUE, _csr, **_CA),
    "GET certificates:certificate-revoke": acts(P.CERTIFICATE_REVOKE, **_API_CA),
    "POST certificates:certificate-revoke": acts(P.CERTIFICATE_REVOKE, _REVOCATION, **_API_CA),
    "POST certificates:certificate-release": acts(P.CERTIFICATE_REVOKE, **_CA),
    "GET certificates:authority-list": lists(P.CERTIFICATE_VIEW),
    "GET certificates:authority-create": lists(P.AUTHORITY_MANAGE),
    "POST certificates:authority-create": makes(P.AUTHORITY_MANAGE, _authority_form, hidden=422),
    "GET certificates:authority-import": lists(P.AUTHORITY_MANAGE),
    "POST certificates:authority-import": makes(P.AUTHORITY_MANAGE, _import_form, hidden=422),
    "GET certificates:authority-detail": sees(P.CERTIFICATE_VIEW),
    "GET certificates:issue": acts(P.CERTIFICATE_ISSUE, **_CA),
    "POST certificates:issue": acts(P.CERTIFICATE_ISSUE, _csr, **_CA),
    "GET certificates:issue-key": acts(P.CERTIFICATE_ISSUE, **_CA),
    "POST certificates:issue-key": acts(P.CERTIFICATE_ISSUE, _NEW_KEY, **_CA),
    "GET certificates:issue-for-key": acts(P.CERTIFICATE_ISSUE, **_CA),
    "POST certificates:issue-for-key": acts(P.CERTIFICATE_ISSUE, _key_form, **_CA),
    "GET certificates:cross-sign": acts(P.AUTHORITY_MANAGE, **_CA),
    "POST certificates:cross-sign": acts(P.AUTHORITY_MANAGE, _CROSS, **_CA),
    "POST certificates:publish-crl": acts(P.AUTHORITY_MANAGE, **_CA),
    "GET certificates:authority-import-key": lists(P.AUTHORITY_MANAGE),
    "POST certificates:authority-import-key": makes(P.AUTHORITY_MANAGE, _key_import, hidden=422),
    "GET certificates:certificate-renew-key": acts(P.CERTIFICATE_ISSUE, **_CA),
    "POST certificates:certificate-renew-key": acts(P.CERTIFICATE_ISSUE, _KEY_FILE, **_CA),
    "GET certificates:source-list": lists(P.CERTIFICATE_VIEW),
    "GET certificates:source-create": lists(P.AUTHORITY_MANAGE),
    "POST certificates:source-create": makes(P.AUTHORITY_MANAGE, _source, hidden=422),
    "GET certificates:source-detail": sees(P.CERTIFICATE_VIEW),
    "POST certificates:source-retry": acts(P.AUTHORITY_MANAGE, **_CA),
    "GET certificates:source-retire": acts(P.AUTHORITY_MANAGE, **_CA),
    "POST certificates:source-retire": acts(P.AUTHORITY_MANAGE, REASON, **_CA),
    "GET certificates:dns-hook-create": lists(P.AUTHORITY_MANAGE),
    "POST certificates:dns-hook-create": makes(P.AUTHORITY_MANAGE, _dns_hook, hidden=422),
    "GET certificates:renewal-list": lists(P.CERTIFICATE_VIEW),
    "GET certificates:renewal-create": lists(P.CERTIFICATE_ISSUE),
    "POST certificates:renewal-create": makes(P.CERTIFICATE_ISSUE, _obtain_form, hidden=422),
    "GET certificates:renewal-detail": sees(P.CERTIFICATE_VIEW),
    "GET certificates:hook-create": acts(P.CERTIFICATE_ISSUE, **_CA),
    "POST certificates:hook-create": acts(P.CERTIFICATE_ISSUE, _HOOK, **_CA),
    "GET certificates:hook-remove": acts(P.CERTIFICATE_ISSUE, **_CA),
    "POST certificates:hook-remove": acts(P.CERTIFICATE_ISSUE, REASON, **_CA),
    "POST certificates:delivery-retry": acts(P.CERTIFICATE_ISSUE, **_CA),
    "GET certificates:rollover-list": lists(P.CERTIFICATE_VIEW),
    "GET certificates:rollover-create": lists(P.AUTHORITY_MANAGE),
    "POST certificates:rollover-create": makes(P.AUTHORITY_MANAGE, _rollover, hidden=422),
    "GET certificates:rollover-detail": sees(P.CERTIFICATE_VIEW),
    "GET certificates:rollover-bundle": sees(P.CERTIFICATE_VIEW),
    "GET certificates:rollover-step": acts(P.AUTHORITY_MANAGE, **_CA),
    "POST certificates:rollover-step": acts(P.AUTHORITY_MANAGE, REASON, **_CA),
    "GET certificates:party-list": lists(P.CERTIFICATE_VIEW),
    "GET certificates:party-remove": acts(P.AUTHORITY_MANAGE, **_CA),
    "POST certificates:party-remove": acts(P.AUTHORITY_MANAGE, REASON, **_CA),
    "GET acme:order-list": lists(P.CERTIFICATE_VIEW),
    "GET acme:order-detail": sees(P.CERTIFICATE_VIEW),
    "GET acme:account-list": lists(P.CERTIFICATE_VIEW),
    "GET acme:account-revoke": acts(P.AUTHORITY_MANAGE, **_CA),
    "POST acme:account-revoke": acts(P.AUTHORITY_MANAGE, REASON, **_CA),
    "GET acme:server-detail": sees(P.CERTIFICATE_VIEW),
    "GET acme:server-rules": acts(P.AUTHORITY_MANAGE, **_CA),
    "POST acme:server-rules": acts(P.AUTHORITY_MANAGE, _ACME_FORM, **_CA),
    "GET acme:external-key-create": acts(P.AUTHORITY_MANAGE, **_CA),
    "POST acme:external-key-create": acts(P.AUTHORITY_MANAGE, {"label": "Web team"}, **_CA),
    "GET acme:external-key-revoke": acts(P.AUTHORITY_MANAGE, **_CA),
    "POST acme:external-key-revoke": acts(P.AUTHORITY_MANAGE, REASON, **_CA),
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
    "GET pki-crl": PUBLIC,
    "GET pki-crl-delta": PUBLIC,
    "GET pki-crl-partition": PUBLIC,
    "POST pki-ocsp": PUBLIC,
    "GET pki-ocsp-get": PUBLIC,
    "GET jwks": PUBLIC,
    "GET jwks-key": PUBLIC,
    "GET healthz": PUBLIC,
}

for _name, _permission, _body in (
    ("suspend", P.KEY_DISABLE, REASON), ("resume", P.KEY_DISABLE, REASON), ("activate", P.KEY_ROTATE, REASON),
    ("compromise", P.KEY_COMPROMISE, _compromise), ("delete", P.KEY_DESTROY, REASON), ("delete-confirm", P.KEY_DESTROY, REASON), ("keep", P.KEY_DESTROY, REASON),
):  # fmt: skip
    _PAGES[f"GET keys:version-{_name}"] = acts(_permission)
    _PAGES[f"POST keys:version-{_name}"] = acts(_permission, _body)

for _name in ("retire", "resume", "revoke"):
    _PAGES[f"GET certificates:authority-{_name}"] = acts(P.AUTHORITY_MANAGE, **_CA)
    _PAGES[f"POST certificates:authority-{_name}"] = acts(P.AUTHORITY_MANAGE, REASON, **_CA)

for _name in ("now", "stop", "resume"):
    _PAGES[f"GET certificates:renewal-{_name}"] = acts(P.CERTIFICATE_ISSUE, **_CA)
    _PAGES[f"POST certificates:renewal-{_name}"] = acts(P.CERTIFICATE_ISSUE, REASON, **_CA)
for _name in ("stop", "start"):
    _PAGES[f"GET acme:server-{_name}"] = acts(P.AUTHORITY_MANAGE, **_CA)
    _PAGES[f"POST acme:server-{_name}"] = acts(P.AUTHORITY_MANAGE, REASON, **_CA)

_API: dict[str, Rule] = {
    "GET api-acme-server-list": lists(P.CERTIFICATE_VIEW),
    "POST api-acme-server-list": Rule(
        (P.CERTIFICATE_VIEW,), (P.CERTIFICATE_VIEW, HERE), (P.AUTHORITY_MANAGE, HERE), body=_acme_server, unseen=422
    ),
    "GET api-acme-server-detail": sees(P.CERTIFICATE_VIEW),
    "PATCH api-acme-server-detail": acts(P.AUTHORITY_MANAGE, {"days": 30}, **_API_CA),
    "POST api-acme-server-switch": acts(P.AUTHORITY_MANAGE, {"enabled": False} | REASON, **_API_CA),
    "GET api-acme-external-key-list": lists(P.CERTIFICATE_VIEW),
    "POST api-acme-external-key-list": Rule(
        (P.CERTIFICATE_VIEW,), (P.CERTIFICATE_VIEW, HERE), (P.AUTHORITY_MANAGE, HERE), body=_acme_key, unseen=422
    ),
    "GET api-acme-external-key-detail": sees(P.CERTIFICATE_VIEW),
    "POST api-acme-external-key-revoke": acts(P.AUTHORITY_MANAGE, REASON, **_API_CA),
    "GET api-acme-account-list": lists(P.CERTIFICATE_VIEW),
    "GET api-acme-account-detail": sees(P.CERTIFICATE_VIEW),
    "POST api-acme-account-revoke": acts(P.AUTHORITY_MANAGE, REASON, **_API_CA),
    "GET api-acme-order-list": lists(P.CERTIFICATE_VIEW),
    "GET api-acme-order-detail": sees(P.CERTIFICATE_VIEW),
    "GET api-authority-list": lists(P.CERTIFICATE_VIEW),
    "POST api-authority-list": Rule(
        (P.CERTIFICATE_VIEW,), acts=(P.AUTHORITY_MANAGE, HERE), body=_authority, hidden=422
    ),
    "GET api-authority-detail": sees(P.CERTIFICATE_VIEW),
    "POST api-authority-import": Rule((P.CERTIFICATE_VIEW,), acts=(P.AUTHORITY_MANAGE, HERE), body=_import, hidden=422),
    "POST api-authority-cross-sign": acts(
        P.AUTHORITY_MANAGE, lambda world: _CROSS | {"certificate": world.objects["ca_pem"]}, **_API_CA
    ),
    "POST api-authority-retire": acts(P.AUTHORITY_MANAGE, REASON, **_API_CA),
    "POST api-authority-resume": acts(P.AUTHORITY_MANAGE, REASON, **_API_CA),
    "POST api-authority-revoke": acts(P.AUTHORITY_MANAGE, REASON, **_API_CA),
    "POST api-authority-crl": acts(P.AUTHORITY_MANAGE, **_API_CA),
    "POST api-authority-issue": acts(P.CERTIFICATE_ISSUE, _csr, **_API_CA),
    "POST api-authority-issue-key": acts(
        P.CERTIFICATE_ISSUE, _NEW_KEY | {"names": [{"kind": "dns", "value": "b.example.org"}]}, **_API_CA
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
    "POST api-certificate-renew-key": acts(P.CERTIFICATE_ISSUE, _KEY_FILE, **_API_CA),
    "GET api-acme-source-list": lists(P.CERTIFICATE_VIEW),
    "POST api-acme-source-list": Rule((P.CERTIFICATE_VIEW,), acts=(P.AUTHORITY_MANAGE, HERE), body=_source, hidden=422),
    "POST api-acme-source-look": Rule((P.CERTIFICATE_VIEW,), acts=(P.AUTHORITY_MANAGE, HERE), body=_look, hidden=422),
    "GET api-acme-source-detail": sees(P.CERTIFICATE_VIEW),
    "POST api-acme-source-retry": acts(P.AUTHORITY_MANAGE, **_API_CA),
    "POST api-acme-source-retire": acts(P.AUTHORITY_MANAGE, REASON, **_API_CA),
    "GET api-dns-hook-list": lists(P.CERTIFICATE_VIEW),
    "POST api-dns-hook-list": Rule((P.CERTIFICATE_VIEW,), acts=(P.AUTHORITY_MANAGE, HERE), body=_dns_hook, hidden=422),
    "GET api-dns-hook-detail": sees(P.CERTIFICATE_VIEW),
    "GET api-renewal-list": lists(P.CERTIFICATE_VIEW),
    "POST api-renewal-list": Rule((P.CERTIFICATE_VIEW,), (P.KEY_VIEW, HERE), (P.CERTIFICATE_ISSUE, HERE), body=_obtain),
    "GET api-renewal-detail": sees(P.CERTIFICATE_VIEW),
    "POST api-renewal-renew": acts(P.CERTIFICATE_ISSUE, REASON, **_API_CA),
    "POST api-renewal-stop": acts(P.CERTIFICATE_ISSUE, REASON, **_API_CA),
    "POST api-renewal-resume": acts(P.CERTIFICATE_ISSUE, REASON, **_API_CA),
    "GET api-renewal-orders": sees(P.CERTIFICATE_VIEW),
    "POST api-renewal-deploy-hooks": acts(P.CERTIFICATE_ISSUE, _HOOK, **_API_CA),
    "GET api-deploy-hook-list": lists(P.CERTIFICATE_VIEW),
    "GET api-deploy-hook-detail": sees(P.CERTIFICATE_VIEW),
    "POST api-deploy-hook-remove": acts(P.CERTIFICATE_ISSUE, REASON, **_API_CA),
    "GET api-delivery-list": lists(P.CERTIFICATE_VIEW),
    "GET api-delivery-detail": sees(P.CERTIFICATE_VIEW),
    "POST api-delivery-retry": acts(P.CERTIFICATE_ISSUE, **_API_CA),
    "GET api-rollover-list": lists(P.CERTIFICATE_VIEW),
    "POST api-rollover-list": Rule(
        (P.CERTIFICATE_VIEW,), (P.CERTIFICATE_VIEW, HERE), (P.AUTHORITY_MANAGE, HERE), body=_rollover
    ),
    "GET api-rollover-detail": sees(P.CERTIFICATE_VIEW),
    "POST api-rollover-step": acts(P.AUTHORITY_MANAGE, _STEP, **_API_CA),
    "GET api-rollover-gate": sees(P.CERTIFICATE_VIEW),
    "GET api-rollover-bundle": sees(P.CERTIFICATE_VIEW),
    "GET api-relying-party-list": lists(P.CERTIFICATE_VIEW),
    "POST api-relying-party-list": makes(P.TRUST_REPORT, _report, hidden=422),
    "GET api-relying-party-detail": sees(P.CERTIFICATE_VIEW),
    "POST api-relying-party-remove": acts(P.AUTHORITY_MANAGE, REASON, **_API_CA),
    "GET api-certificate-list": lists(P.CERTIFICATE_VIEW),
    "GET api-certificate-detail": sees(P.CERTIFICATE_VIEW),
    "GET api-certificate-chain": sees(P.CERTIFICATE_VIEW),
    "POST api-certificate-renew": acts(P.CERTIFICATE_ISSUE, lambda world: {"csr": world.objects["csr"]}, **_API_CA),
    "POST api-certificate-revoke": acts(P.CERTIFICATE_REVOKE, _REVOCATION, **_API_CA),
    "POST api-certificate-release": acts(P.CERTIFICATE_REVOKE, **_API_CA),
    "POST api-certificate-revoke-many": Rule((P.CERTIFICATE_VIEW,), acts=(P.CERTIFICATE_REVOKE, HERE), body=_many),
    "POST api-certificate-upload": Rule(
        (P.CERTIFICATE_VIEW,), acts=(P.CERTIFICATE_UPLOAD, HERE), body=_upload, hidden=422
    ),
    "GET api-certificate-places": sees(P.CERTIFICATE_VIEW),
    "GET api-certificate-transparency": sees(P.CERTIFICATE_VIEW),
    "POST api-certificate-report-list": Rule(
        (P.CERTIFICATE_REPORT,), acts=(P.CERTIFICATE_REPORT, HERE), body=_agent, hidden=422
    ),
    "GET api-scan-range-list": lists(P.TLS_VIEW),
    "POST api-scan-range-list": Rule((P.TLS_VIEW,), acts=(P.SETTINGS_MANAGE, EVERYTHING), body=_RANGE),
    "GET api-scan-range-detail": lists(P.TLS_VIEW),
    "DELETE api-scan-range-detail": Rule((P.TLS_VIEW,), acts=(P.SETTINGS_MANAGE, EVERYTHING)),
    "GET api-scan-target-list": lists(P.TLS_VIEW),
    "POST api-scan-target-list": Rule((P.TLS_VIEW,), acts=(P.TLS_SCAN, HERE), body=_target, hidden=422),
    "GET api-scan-target-detail": sees(P.TLS_VIEW),
    "DELETE api-scan-target-detail": acts(P.TLS_SCAN, **_API_ENDPOINT),
    "POST api-scan-target-scan": acts(P.TLS_SCAN, **_API_ENDPOINT),
    "GET api-scan-target-scans": sees(P.TLS_VIEW),
    "GET api-log-list-list": lists(P.CERTIFICATE_VIEW),
    "POST api-log-list-list": Rule((P.CERTIFICATE_VIEW,), acts=(P.SETTINGS_MANAGE, EVERYTHING), body=_LOG_LIST),
    "GET api-log-list-detail": lists(P.CERTIFICATE_VIEW),
    "GET api-log-monitor-list": lists(P.CERTIFICATE_VIEW),
    "POST api-log-monitor-list": Rule((P.CERTIFICATE_VIEW,), acts=(P.TLS_SCAN, HERE), body=_monitor, hidden=422),
    "GET api-log-monitor-detail": sees(P.CERTIFICATE_VIEW),
    "DELETE api-log-monitor-detail": acts(P.TLS_SCAN, **_API_CA),
    "POST api-log-monitor-read": acts(P.TLS_SCAN, **_API_CA),
    "GET api-log-monitor-findings": sees(P.CERTIFICATE_VIEW),
    "GET api-ceremony-list": lists(P.CEREMONY_VIEW),
    "POST api-ceremony-list": Rule((P.CEREMONY_VIEW,), acts=(P.CEREMONY_MANAGE, HERE), body=_plan, hidden=422),
    "GET api-ceremony-detail": sees(P.CEREMONY_VIEW),
    "POST api-ceremony-people": acts(P.CEREMONY_MANAGE, _SEAT, **_API_CEREMONY),
    "POST api-ceremony-open": acts(P.CEREMONY_MANAGE, **_API_CEREMONY),
    "POST api-ceremony-call-off": acts(P.CEREMONY_MANAGE, REASON, **_API_CEREMONY),
    "GET api-share-set-list": lists(P.CEREMONY_VIEW),
    "GET api-share-set-detail": sees(P.CEREMONY_VIEW),
    "GET api-schema": PUBLIC,
    "GET api-docs": PUBLIC,
    "GET api-dashboard": lists(P.APPROVAL_VIEW),
    "GET api-settings": lists(P.SETTINGS_VIEW),
    "GET api-key-list": lists(P.KEY_VIEW),
    "POST api-key-list": Rule((P.KEY_VIEW,), acts=(P.KEY_CREATE, HERE), body=_key, hidden=422),
    "GET api-key-detail": sees(P.KEY_VIEW),
    "PATCH api-key-detail": acts(P.KEY_EDIT, {"title": "New"}, **_API_KEY),
    "GET api-key-budget": sees(P.KEY_VIEW),
    "GET api-key-policy": sees(P.KEY_VIEW),
    "PATCH api-key-policy": acts(P.KEY_EDIT, {"grace_days": 60}, **_API_KEY),
    "GET api-key-versions": sees(P.KEY_VIEW),
    "GET api-key-version": sees(P.KEY_VIEW),
    "GET api-key-dry-run": acts(P.KEY_ROTATE, **_API_KEY),
    "POST api-key-rotate": acts(P.KEY_ROTATE, REASON, **_API_KEY),
    "POST api-key-suspend": acts(P.KEY_DISABLE, REASON, **_API_KEY),
    "POST api-key-resume": acts(P.KEY_DISABLE, REASON, **_API_KEY),
    "POST api-key-activate": acts(P.KEY_ROTATE, REASON, **_API_KEY),
    "POST api-key-compromise": acts(P.KEY_COMPROMISE, _compromise, **_API_KEY),
    "POST api-key-schedule-deletion": acts(P.KEY_DESTROY, REASON, **_API_KEY),
    "POST api-key-cancel-deletion": acts(P.KEY_DESTROY, REASON, **_API_KEY),
    "POST api-key-confirm-deletion": acts(P.KEY_DESTROY, REASON, **_API_KEY),
    "GET api-key-move-offers": acts(P.KEY_MOVE, **_API_KEY),
    "GET api-key-move-dry-run": acts(P.KEY_MOVE, **_API_KEY),
    "POST api-key-move": acts(P.KEY_MOVE, _MOVE, **_API_KEY),
    "GET api-move-list": lists(P.ROTATION_VIEW),
    "GET api-move-detail": sees(P.ROTATION_VIEW),
    "POST api-move-pause": acts(P.ROTATION_CONTROL, **_API_ROTATION),
    "POST api-move-resume": acts(P.ROTATION_CONTROL, **_API_ROTATION),
    "POST api-move-throttle": acts(P.ROTATION_CONTROL, {"rate_limit": 10}, **_API_ROTATION),
    "POST api-move-undo": acts(P.KEY_MOVE, REASON, **_API_ROTATION),
    "POST api-move-drop": acts(P.KEY_DESTROY, REASON, **_API_ROTATION),
    "POST api-move-keep": acts(P.KEY_DESTROY, REASON, **_API_ROTATION),
    "GET api-rotation-list": lists(P.ROTATION_VIEW),
    "GET api-rotation-detail": sees(P.ROTATION_VIEW),
    "GET api-rotation-consequences": sees(P.ROTATION_VIEW),
    "GET api-rotation-failed-items": sees(P.ROTATION_VIEW),
    "POST api-rotation-pause": acts(P.ROTATION_CONTROL, **_API_ROTATION),
    "POST api-rotation-resume": acts(P.ROTATION_CONTROL, **_API_ROTATION),
    "POST api-rotation-retry-failed": acts(P.ROTATION_CONTROL, **_API_ROTATION),
    "POST api-rotation-cancel": acts(P.ROTATION_CONTROL, REASON, **_API_ROTATION),
    "POST api-rotation-throttle": acts(P.ROTATION_CONTROL, {"rate_limit": 10}, **_API_ROTATION),
    "POST api-rotation-decommission": acts(P.KEY_DESTROY, REASON, **_API_ROTATION),
    "POST api-rotation-cancel-decommission": acts(P.KEY_DESTROY, REASON, **_API_ROTATION),
    "POST api-rotation-give-up": acts(P.KEY_DESTROY, REASON, **_API_ROTATION),
    "GET api-store-list": lists(P.STORE_VIEW),
    "POST api-store-list": Rule((P.STORE_VIEW,), acts=(P.STORE_MANAGE, HERE), body=_store, hidden=422),
    "POST api-store-test": Rule((P.STORE_VIEW,), acts=(P.STORE_MANAGE, HERE), body=_store, hidden=422),
    "POST api-store-seal": Rule(
        (P.STORE_VIEW,), (P.KEY_VIEW, HERE), (P.STORE_MANAGE, EVERYTHING), body=_seal, unseen=422
    ),
    "GET api-store-detail": sees(P.STORE_VIEW),
    "POST api-store-check": acts(P.STORE_MANAGE, view=P.STORE_VIEW, opens=P.STORE_VIEW),
    "POST api-store-count": sees(P.STORE_VIEW),
    "POST api-store-deregister": acts(P.STORE_MANAGE, REASON, view=P.STORE_VIEW, opens=P.STORE_VIEW),
    "GET api-census-list": lists(P.STORE_VIEW),
    "GET api-seal-list": lists(P.SETTINGS_VIEW),
    "POST api-seal-list": Rule((P.SETTINGS_VIEW,), acts=(P.SETTINGS_MANAGE, EVERYTHING), body=_root_seal),
    "GET api-seal-detail": lists(P.SETTINGS_VIEW),
    "GET api-seal-keyholders": lists(P.SETTINGS_VIEW),
    "POST api-seal-check": Rule((P.SETTINGS_VIEW,), acts=(P.SETTINGS_MANAGE, EVERYTHING)),
    "POST api-seal-retire": Rule((P.SETTINGS_VIEW,), acts=(P.SETTINGS_MANAGE, EVERYTHING)),
    "GET api-provider-list": lists(P.PROVIDER_VIEW),
    "POST api-provider-list": _provider(P.PROVIDER_VIEW, _FAR | {"kind": "stand_in", "alias": "near"}),
    "GET api-provider-kinds": lists(P.PROVIDER_VIEW),
    "GET api-provider-detail": lists(P.PROVIDER_VIEW),
    "PUT api-provider-detail": _provider(P.PROVIDER_VIEW, _FAR),
    "GET api-provider-health": lists(P.PROVIDER_VIEW),
    "POST api-provider-test": _provider(P.PROVIDER_VIEW),
    "POST api-provider-disable": _provider(P.PROVIDER_VIEW, REASON),
    "POST api-provider-enable": _provider(P.PROVIDER_VIEW, REASON),
    "POST api-provider-compare": _provider(P.PROVIDER_VIEW),
    "GET api-provider-differences": lists(P.PROVIDER_VIEW),
    "POST api-provider-ignore": _provider(P.PROVIDER_VIEW, REASON),
    "POST api-provider-mend": _provider(P.PROVIDER_VIEW),
    "POST api-provider-adopt": _provider(P.PROVIDER_VIEW, _adoption),
    "GET api-provider-work-list": lists(P.KEY_VIEW),
    "GET api-provider-work-detail": sees(P.KEY_VIEW),
    "POST api-key-export": acts(P.KEY_EXPORT, {"recipient": "P", "recipient_key": "x"} | REASON, **_API_KEY),
    "POST api-key-withdraw-exportability": acts(P.KEY_EDIT, REASON, **_API_KEY),
    "GET api-import-list": lists(P.KEY_VIEW),
    "POST api-import-list": Rule(
        (P.KEY_VIEW,), acts=(P.KEY_IMPORT, HERE), body=lambda world: _key(world) | _COMPONENTS, hidden=422
    ),
    "GET api-import-detail": sees(P.KEY_VIEW),
    "POST api-import-upload": acts(
        P.KEY_IMPORT, {"nonce": "n", "wrapped": "eA==", "check_value": "AABBCC"}, **_API_KEY
    ),
    "POST api-import-components": acts(P.KEY_COMPONENT, {"number": 1, "component": "00" * 32}, **_API_KEY),
    "POST api-import-abort": acts(P.KEY_IMPORT, REASON, **_API_KEY),
    "GET api-export-list": lists(P.KEY_VIEW),
    "GET api-export-detail": sees(P.KEY_VIEW),
    "POST api-export-collect": acts(P.KEY_EXPORT, **_API_KEY),
    "POST api-export-erase": acts(P.KEY_EXPORT, **_API_KEY),
    "POST api-provider-work-retry": acts(P.KEY_ROTATE, **_API_KEY),
    "GET api-approval-list": lists(P.APPROVAL_VIEW),
    "GET api-approval-detail": sees(P.APPROVAL_VIEW),
    "POST api-approval-approve": Rule(**_DECIDE, body=lambda world: {"act_hash": world.objects["approval"].act_hash}),
    "POST api-approval-reject": Rule(**_DECIDE, body=REASON),
    "POST api-approval-withdraw": sees(P.APPROVAL_VIEW, decides="requester"),
    "POST api-approval-break-glass": acts(P.APPROVAL_BREAK_GLASS, REASON, view=P.APPROVAL_VIEW),
    "GET api-notice-list": OWN,
    "POST api-notice-read": OWN,
    "GET api-person-list": lists(P.PERSON_VIEW),
    "POST api-person-list": makes(P.PERSON_MANAGE, _PERSON, EVERYTHING),
    "GET api-person-detail": sees(P.PERSON_VIEW),
    "PATCH api-person-detail": acts(P.PERSON_MANAGE, {"name": "A"}, view=P.PERSON_VIEW, place=EVERYTHING),
    "POST api-person-invite": acts(P.PERSON_MANAGE, view=P.PERSON_VIEW, place=EVERYTHING),
    "POST api-person-deactivate": acts(P.PERSON_MANAGE, view=P.PERSON_VIEW, place=EVERYTHING),
    "POST api-person-reactivate": acts(P.PERSON_MANAGE, view=P.PERSON_VIEW, place=EVERYTHING),
    "GET api-ring-list": lists(P.KEY_VIEW),
    "POST api-ring-list": makes(P.RING_MANAGE, _RING | {"name": "new"}, EVERYTHING),
    "GET api-ring-detail": sees(P.KEY_VIEW),
    "PATCH api-ring-detail": acts(P.RING_MANAGE, _RING),
    "GET api-role-binding-list": lists(P.PERSON_VIEW),
    "POST api-role-binding-list": makes(P.PERSON_MANAGE, _role, hidden=422),
    "GET api-role-binding-detail": sees(P.PERSON_VIEW),
    "DELETE api-role-binding-detail": acts(P.PERSON_MANAGE, view=P.PERSON_VIEW),
    "GET api-token-list": OWN,
    "POST api-token-list": OWN,
    "GET api-token-detail": Rule(sees=(P.TOKEN_VIEW, HERE)),
    "POST api-token-revoke": Rule(sees=(P.TOKEN_VIEW, HERE), acts=(P.TOKEN_MANAGE, HERE)),
    "GET api-session-list": OWN,
    "GET api-session-detail": Rule(sees=(P.PERSON_MANAGE, EVERYTHING)),
    "DELETE api-session-detail": Rule(sees=(P.PERSON_MANAGE, EVERYTHING)),
    "POST api-session-end-others": Rule(own=True, acts=(P.PERSON_MANAGE, EVERYTHING)),
    "GET api-me-list": OWN,
    "POST api-tls-configuration": Rule((P.TLS_VIEW,), body=_TLS_CONFIGURATION),
    "POST api-tls-scan": Rule((P.TLS_SCAN,), acts=(P.TLS_SCAN, EVERYTHING), body=_TLS_SCAN),
    "POST api-tls-pins": Rule((P.TLS_VIEW,), body={"domain": "example.com", "chain": "none", "backups": ["none"]}),
    "POST api-tls-records": Rule((P.TLS_VIEW,), body={"domain": "example.com", "issuers": ["letsencrypt.org"]}),
    "POST api-tls-manifests": Rule((P.TLS_VIEW,), body=_TLS_MANIFEST),
    "GET api-audit-event-list": lists(P.AUDIT_VIEW),
    "GET api-audit-event-detail": sees(P.AUDIT_VIEW),
    "GET api-audit-event-proof": sees(P.AUDIT_VIEW),
    "GET api-checkpoint-list": lists(P.AUDIT_VIEW),
    "GET api-checkpoint-detail": lists(P.AUDIT_VIEW),
    "GET api-checkpoint-consistency": Rule((P.AUDIT_VIEW,), acts=(P.AUDIT_VIEW, EVERYTHING)),
    "POST api-audit-export-list": Rule((P.AUDIT_EXPORT,), body={"format": "csv"}),
    "POST api-audit-export-evidence": Rule((P.AUDIT_EXPORT,), acts=(P.AUDIT_EXPORT, EVERYTHING)),
}

RULES = _PAGES | _API | {
    "POST data-" + path.replace("/", "-"): Rule(acts=(operation.permission, HERE), data=True, body={"items": [{}]})
    for path, operation in OPERATIONS.items()
}  # fmt: skip
