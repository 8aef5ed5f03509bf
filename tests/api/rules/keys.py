"""Rules of keys, versions, rotations, data stores and the data plane."""

from typing import Any

from keys.dataplane.operations import OPERATIONS
from keyvault_portal.accounts.permissions import Permission as P
from tests.api.rules.rule import (
    API_KEY,
    API_ROTATION,
    MOVE,
    PUBLIC,
    REASON,
    ROTATION,
    Rule,
    acts,
    lists,
    makes,
    new_key,
    sees,
)
from tests.api.world import EVERYTHING, HERE, World, an_hour_ago


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


def _compromise(world: World) -> dict[str, Any]:
    return {"reason_code": "key_compromise", "occurred_at": an_hour_ago(), "note": "A test."}


_POLICY = {
    "cryptoperiod_days": 30, "rotate_roles": ["security_officer"], "rotate_threshold": 0, "destroy_threshold": 2,
    "destroy_roles": ["security_officer"], "grace_days": 40, "minimum_grace_days": 10, "use_share_due": 50,
}  # fmt: skip


RULES: dict[str, Rule] = {
    "GET keys:advisor": lists(P.KEY_VIEW),
    "GET keys:advisor-scopes": lists(P.KEY_VIEW),
    "GET keys:advisor-algorithms": lists(P.KEY_VIEW),
    "GET keys:advisor-findings": lists(P.KEY_VIEW),
    "GET keys:key-list": lists(P.KEY_VIEW),
    "GET keys:hierarchy": lists(P.KEY_VIEW),
    "GET keys:key-create": lists(P.KEY_CREATE),
    "POST keys:key-create": makes(P.KEY_CREATE, new_key, hidden=422),
    "GET keys:key-detail": sees(P.KEY_VIEW),
    "GET keys:policy-edit": sees(P.KEY_VIEW, opens=P.KEY_EDIT),
    "POST keys:policy-edit": acts(P.KEY_EDIT, _POLICY),
    "GET keys:rotation-request": acts(P.KEY_ROTATE),
    "POST keys:rotation-request": acts(P.KEY_ROTATE, REASON),
    "GET keys:rotation-list": lists(P.ROTATION_VIEW),
    "GET keys:rotation-detail": sees(P.ROTATION_VIEW),
    "GET keys:rotation-cancel": sees(P.ROTATION_VIEW, opens=P.ROTATION_CONTROL),
    "POST keys:rotation-cancel": acts(P.ROTATION_CONTROL, REASON, **ROTATION),
    "GET keys:rotation-decommission": sees(P.ROTATION_VIEW, opens=P.KEY_DESTROY),
    "POST keys:rotation-decommission": acts(P.KEY_DESTROY, REASON, **ROTATION),
    "GET keys:rotation-keep": sees(P.ROTATION_VIEW, opens=P.KEY_DESTROY),
    "POST keys:rotation-keep": acts(P.KEY_DESTROY, REASON, **ROTATION),
    "POST keys:rotation-pause": acts(P.ROTATION_CONTROL, **ROTATION),
    "POST keys:rotation-resume": acts(P.ROTATION_CONTROL, **ROTATION),
    "POST keys:rotation-retry": acts(P.ROTATION_CONTROL, **ROTATION),
    "POST keys:rotation-throttle": acts(P.ROTATION_CONTROL, {"rate_limit": 10}, **ROTATION),
    "POST keys:failed-item-decide": acts(P.KEY_DESTROY, REASON, **ROTATION),
    "GET keys:failed-items-give-up": sees(P.ROTATION_VIEW, opens=P.KEY_DESTROY),
    "POST keys:failed-items-give-up": acts(P.KEY_DESTROY, REASON | {"items": 1}, **ROTATION),
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
    "GET jwks": PUBLIC,
    "GET jwks-key": PUBLIC,
    "GET api-key-list": lists(P.KEY_VIEW),
    "POST api-key-list": Rule((P.KEY_VIEW,), acts=(P.KEY_CREATE, HERE), body=new_key, hidden=422),
    "GET api-key-detail": sees(P.KEY_VIEW),
    "PATCH api-key-detail": acts(P.KEY_EDIT, {"title": "New"}, **API_KEY),
    "GET api-key-budget": sees(P.KEY_VIEW),
    "GET api-key-policy": sees(P.KEY_VIEW),
    "PATCH api-key-policy": acts(P.KEY_EDIT, {"grace_days": 60}, **API_KEY),
    "GET api-key-versions": sees(P.KEY_VIEW),
    "GET api-key-version": sees(P.KEY_VIEW),
    "GET api-key-dry-run": acts(P.KEY_ROTATE, **API_KEY),
    "POST api-key-rotate": acts(P.KEY_ROTATE, REASON, **API_KEY),
    "POST api-key-suspend": acts(P.KEY_DISABLE, REASON, **API_KEY),
    "POST api-key-resume": acts(P.KEY_DISABLE, REASON, **API_KEY),
    "POST api-key-activate": acts(P.KEY_ROTATE, REASON, **API_KEY),
    "POST api-key-compromise": acts(P.KEY_COMPROMISE, _compromise, **API_KEY),
    "POST api-key-schedule-deletion": acts(P.KEY_DESTROY, REASON, **API_KEY),
    "POST api-key-cancel-deletion": acts(P.KEY_DESTROY, REASON, **API_KEY),
    "POST api-key-confirm-deletion": acts(P.KEY_DESTROY, REASON, **API_KEY),
    "GET api-key-move-offers": acts(P.KEY_MOVE, **API_KEY),
    "GET api-key-move-dry-run": acts(P.KEY_MOVE, **API_KEY),
    "POST api-key-move": acts(P.KEY_MOVE, MOVE, **API_KEY),
    "GET api-rotation-list": lists(P.ROTATION_VIEW),
    "GET api-rotation-detail": sees(P.ROTATION_VIEW),
    "GET api-rotation-consequences": sees(P.ROTATION_VIEW),
    "GET api-rotation-failed-items": sees(P.ROTATION_VIEW),
    "POST api-rotation-pause": acts(P.ROTATION_CONTROL, **API_ROTATION),
    "POST api-rotation-resume": acts(P.ROTATION_CONTROL, **API_ROTATION),
    "POST api-rotation-retry-failed": acts(P.ROTATION_CONTROL, **API_ROTATION),
    "POST api-rotation-cancel": acts(P.ROTATION_CONTROL, REASON, **API_ROTATION),
    "POST api-rotation-throttle": acts(P.ROTATION_CONTROL, {"rate_limit": 10}, **API_ROTATION),
    "POST api-rotation-decommission": acts(P.KEY_DESTROY, REASON, **API_ROTATION),
    "POST api-rotation-cancel-decommission": acts(P.KEY_DESTROY, REASON, **API_ROTATION),
    "POST api-rotation-give-up-open": acts(P.KEY_DESTROY, REASON | {"items": 1}, **API_ROTATION),
    "POST api-rotation-give-up": acts(P.KEY_DESTROY, REASON, **API_ROTATION),
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
    "GET api-advisor-tree": lists(P.KEY_VIEW),
    "GET api-advisor-scopes": lists(P.KEY_VIEW),
    "GET api-advisor-algorithms": lists(P.KEY_VIEW),
    "GET api-advisor-findings": lists(P.KEY_VIEW),
    "POST api-key-export": acts(P.KEY_EXPORT, {"recipient": "P", "recipient_key": "x"} | REASON, **API_KEY),
    "POST api-key-withdraw-exportability": acts(P.KEY_EDIT, REASON, **API_KEY),
}

for _name, _permission, _body in (
    ("suspend", P.KEY_DISABLE, REASON), ("resume", P.KEY_DISABLE, REASON), ("activate", P.KEY_ROTATE, REASON),
    ("compromise", P.KEY_COMPROMISE, _compromise), ("delete", P.KEY_DESTROY, REASON), ("delete-confirm", P.KEY_DESTROY, REASON), ("keep", P.KEY_DESTROY, REASON),
):  # fmt: skip
    RULES[f"GET keys:version-{_name}"] = acts(_permission)
    RULES[f"POST keys:version-{_name}"] = acts(_permission, _body)

RULES |= {
    "POST data-" + path.replace("/", "-"): Rule(acts=(operation.permission, HERE), data=True, body={"items": [{}]})
    for path, operation in OPERATIONS.items()
}  # fmt: skip
