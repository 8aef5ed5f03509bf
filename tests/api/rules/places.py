"""Rules of providers, seals, moves, imports and exports."""

from typing import Any

from keyvault_portal.accounts.permissions import Permission as P
from tests.api.rules.rule import (
    API_KEY,
    API_ROTATION,
    MOVE,
    REASON,
    ROTATION,
    Body,
    Rule,
    acts,
    lists,
    makes,
    new_key,
    sees,
)
from tests.api.world import EVERYTHING, HERE, World


def _root_seal(world: World) -> dict[str, Any]:
    return {"name": "Far", "key": str(world.place.keys["root"].pk), "reason": "A test."}


def _adoption(world: World) -> dict[str, Any]:
    return {
        "ring": str(world.place.ring.pk), "name": "taken-in", "title": "Taken in", "kind": "kek", "parent": str(world.place.keys["root"].pk),
    }  # fmt: skip


def _provider(permission: P, body: Body | None = None) -> Rule:
    """Providers belong to no ring: who acts on one needs the right on everything."""
    return Rule((permission,), acts=(P.PROVIDER_MANAGE, EVERYTHING), body=body)


_FAR = {"title": "Far", "values": {"place": "there"}}
_FAR_FORM = {"title": "Far", "place": "there", "mode": "calm"}
_COMPONENTS = {
    "method": "components", "component_values": ["AABBCC", "DDEEFF"], "check_value": "010203", "reason": "A test.",
}  # fmt: skip
_COMPONENTS_FORM = _COMPONENTS | {"component_values": "AABBCC DDEEFF"}


RULES: dict[str, Rule] = {
    "GET keys:move-request": acts(P.KEY_MOVE),
    "POST keys:move-request": acts(P.KEY_MOVE, MOVE),
    "GET keys:move-list": lists(P.ROTATION_VIEW),
    "GET keys:move-detail": sees(P.ROTATION_VIEW),
    "GET keys:move-undo": sees(P.ROTATION_VIEW, opens=P.KEY_MOVE),
    "POST keys:move-undo": acts(P.KEY_MOVE, REASON, **ROTATION),
    "GET keys:move-drop": sees(P.ROTATION_VIEW, opens=P.KEY_DESTROY),
    "POST keys:move-drop": acts(P.KEY_DESTROY, REASON, **ROTATION),
    "GET keys:move-keep": sees(P.ROTATION_VIEW, opens=P.KEY_DESTROY),
    "POST keys:move-keep": acts(P.KEY_DESTROY, REASON, **ROTATION),
    "POST keys:move-pause": acts(P.ROTATION_CONTROL, **ROTATION),
    "POST keys:move-resume": acts(P.ROTATION_CONTROL, **ROTATION),
    "POST keys:move-throttle": acts(P.ROTATION_CONTROL, {"rate_limit": 10}, **ROTATION),
    "GET keys:seal-list": lists(P.SETTINGS_VIEW),
    "POST keys:seal-shares": makes(P.SETTINGS_MANAGE, {"name": "c", "threshold": 2, "count": 3, **REASON}, EVERYTHING),
    "GET keys:seal-make-shares": lists(P.SETTINGS_MANAGE),
    "POST keys:seal-make-shares": makes(
        P.SETTINGS_MANAGE, {"key": "CQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}, EVERYTHING
    ),
    "GET keys:seal-now": lists(P.SETTINGS_MANAGE),
    "POST keys:seal-now": makes(P.SETTINGS_MANAGE, REASON, EVERYTHING),
    "POST keys:seal-provider": makes(
        P.SETTINGS_MANAGE, {"provider-name": "p", "provider-key": "x", "provider-reason": "r"}, EVERYTHING
    ),
    "POST keys:seal-check": makes(P.SETTINGS_MANAGE, {}, EVERYTHING),
    "GET keys:seal-retire": Rule((P.SETTINGS_MANAGE,), acts=(P.SETTINGS_MANAGE, EVERYTHING)),
    "POST keys:seal-retire": makes(P.SETTINGS_MANAGE, REASON, EVERYTHING),
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
    "GET keys:finding-accept": _provider(P.PROVIDER_MANAGE),
    "POST keys:finding-accept": _provider(P.PROVIDER_MANAGE, REASON),
    "POST keys:finding-mend": _provider(P.PROVIDER_MANAGE),
    "GET keys:finding-adopt": _provider(P.PROVIDER_MANAGE),
    "POST keys:finding-adopt": _provider(P.PROVIDER_MANAGE, _adoption),
    "POST keys:work-retry": acts(P.KEY_ROTATE),
    "GET keys:import-list": lists(P.KEY_VIEW),
    "GET keys:import-new": lists(P.KEY_IMPORT),
    "POST keys:import-new": makes(P.KEY_IMPORT, lambda world: new_key(world) | _COMPONENTS_FORM, hidden=422),
    "GET keys:import-open": acts(P.KEY_IMPORT),
    "POST keys:import-open": acts(P.KEY_IMPORT, _COMPONENTS_FORM),
    "GET keys:import-detail": sees(P.KEY_VIEW),
    "POST keys:import-upload": acts(P.KEY_IMPORT),
    "GET keys:component-enter": acts(P.KEY_COMPONENT),
    "POST keys:component-enter": acts(P.KEY_COMPONENT, {"sealed": "eA=="}),
    "GET keys:import-abort": acts(P.KEY_IMPORT),
    "POST keys:import-abort": acts(P.KEY_IMPORT, REASON),
    "GET keys:export-request": acts(P.KEY_EXPORT),
    "POST keys:export-request": acts(P.KEY_EXPORT, {"recipient": "P", "recipient_key": "x"} | REASON),
    "GET keys:export-detail": sees(P.KEY_VIEW),
    "POST keys:export-collect": acts(P.KEY_EXPORT),
    "POST keys:export-erase": acts(P.KEY_EXPORT),
    "GET keys:export-withdraw": acts(P.KEY_EDIT),
    "POST keys:export-withdraw": acts(P.KEY_EDIT, REASON),
    "GET api-move-list": lists(P.ROTATION_VIEW),
    "GET api-move-detail": sees(P.ROTATION_VIEW),
    "POST api-move-pause": acts(P.ROTATION_CONTROL, **API_ROTATION),
    "POST api-move-resume": acts(P.ROTATION_CONTROL, **API_ROTATION),
    "POST api-move-throttle": acts(P.ROTATION_CONTROL, {"rate_limit": 10}, **API_ROTATION),
    "POST api-move-undo": acts(P.KEY_MOVE, REASON, **API_ROTATION),
    "POST api-move-drop": acts(P.KEY_DESTROY, REASON, **API_ROTATION),
    "POST api-move-keep": acts(P.KEY_DESTROY, REASON, **API_ROTATION),
    "GET api-seal-list": lists(P.SETTINGS_VIEW),
    "POST api-seal-list": Rule((P.SETTINGS_VIEW,), acts=(P.SETTINGS_MANAGE, EVERYTHING), body=_root_seal),
    "GET api-seal-detail": lists(P.SETTINGS_VIEW),
    "GET api-seal-keyholders": lists(P.SETTINGS_VIEW),
    "POST api-seal-now": Rule((P.SETTINGS_VIEW,), acts=(P.SETTINGS_MANAGE, EVERYTHING), body=REASON),
    "POST api-seal-check": Rule((P.SETTINGS_VIEW,), acts=(P.SETTINGS_MANAGE, EVERYTHING)),
    "POST api-seal-retire": Rule((P.SETTINGS_VIEW,), acts=(P.SETTINGS_MANAGE, EVERYTHING), body=REASON),
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
    "POST api-provider-accept": _provider(P.PROVIDER_VIEW, REASON | {"seen": "0" * 64}),
    "POST api-provider-mend": _provider(P.PROVIDER_VIEW),
    "POST api-provider-adopt": _provider(P.PROVIDER_VIEW, _adoption),
    "GET api-provider-work-list": lists(P.KEY_VIEW),
    "GET api-provider-work-detail": sees(P.KEY_VIEW),
    "GET api-import-list": lists(P.KEY_VIEW),
    "POST api-import-list": Rule(
        (P.KEY_VIEW,), acts=(P.KEY_IMPORT, HERE), body=lambda world: new_key(world) | _COMPONENTS, hidden=422
    ),
    "GET api-import-detail": sees(P.KEY_VIEW),
    "POST api-import-upload": acts(P.KEY_IMPORT, {"nonce": "n", "wrapped": "eA==", "check_value": "AABBCC"}, **API_KEY),
    "POST api-import-components": acts(P.KEY_COMPONENT, {"number": 1, "sealed": "eA=="}, **API_KEY),
    "POST api-import-abort": acts(P.KEY_IMPORT, REASON, **API_KEY),
    "GET api-export-list": lists(P.KEY_VIEW),
    "GET api-export-detail": sees(P.KEY_VIEW),
    "POST api-export-collect": acts(P.KEY_EXPORT, **API_KEY),
    "POST api-export-erase": acts(P.KEY_EXPORT, **API_KEY),
    "POST api-provider-work-retry": acts(P.KEY_ROTATE, **API_KEY),
}
