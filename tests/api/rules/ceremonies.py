"""Rules of ceremonies, their rooms and the custody register."""

from typing import Any

from ceremonies.script import FOLDER
from keyvault_portal.accounts.permissions import Permission as P
from tests.api.rules.rule import (
    PUBLIC,
    REASON,
    Rule,
    acts,
    lists,
    makes,
    sees,
)
from tests.api.world import EVERYTHING, HERE, World


def _plan(world: World) -> dict[str, Any]:
    return {
        "title": "Escrow", "script": "escrow:1", "purpose": "A test.", "key": str(world.place.keys["root"].pk), "place": "Oslo", "time_zone": "UTC",
        "starts_at": "2031-01-01T10:00:00Z", "threshold": 3, "share_count": 5,
    }  # fmt: skip


def _plan_form(world: World) -> dict[str, Any]:
    return _plan(world) | {"starts_at": "2031-01-01T10:00"}


_SEAT = {"role": "holder", "email": "newcomer@example.org", "name": "Newcomer"}
_CUSTODY = {"what": "moved", "bag": "B2", "place": "Vault"}
_SEAL_SHARE = {"number": 1, "custodian": "Hana"}
_CEREMONY: dict[str, Any] = {"view": P.CEREMONY_VIEW}
_API_CEREMONY: dict[str, Any] = {"view": P.CEREMONY_VIEW, "opens": P.CEREMONY_VIEW}
_SCRIPT = {"text": (FOLDER / "unseal.yaml").read_text().replace("name: unseal", "name: ours"), "reason": "A test."}
_SEEN = Rule(sees=(P.CEREMONY_VIEW, HERE))  # to whoever may see ceremonies there, and to those who have a seat


RULES: dict[str, Rule] = {
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
    "GET ceremonies:room-share": Rule(sees=(P.CEREMONY_VIEW, HERE), decides="a share holder"),
    "POST ceremonies:room-share": Rule(sees=(P.CEREMONY_VIEW, HERE), decides="a share holder"),
    "POST ceremonies:room-sealed-share": Rule(sees=(P.CEREMONY_VIEW, HERE), decides="a share holder"),
    "POST ceremonies:room-act": Rule(sees=(P.CEREMONY_VIEW, HERE), decides="somebody with a seat"),
    "GET ceremonies:register": lists(P.CEREMONY_VIEW),
    "GET ceremonies:offline-tool": PUBLIC,
    "GET ceremonies:seal-share": Rule((P.CEREMONY_MANAGE,), acts=(P.CEREMONY_MANAGE, EVERYTHING)),
    "POST ceremonies:seal-share": makes(P.CEREMONY_MANAGE, _SEAL_SHARE, EVERYTHING),
    "GET ceremonies:share-detail": sees(P.CEREMONY_VIEW),
    "POST ceremonies:share-detail": acts(P.CEREMONY_MANAGE, _CUSTODY, **_API_CEREMONY),
    "POST ceremonies:share-acknowledge": sees(P.CEREMONY_VIEW, decides="its custodian"),
    "GET ceremonies:share-accept-risk": sees(P.CEREMONY_VIEW, opens=P.CEREMONY_MANAGE),
    "POST ceremonies:share-accept-risk": acts(P.CEREMONY_MANAGE, REASON, **_CEREMONY),
    "GET ceremonies:package": acts(P.CEREMONY_MANAGE, **_API_CEREMONY),
    "GET ceremonies:package-print": acts(P.CEREMONY_MANAGE, **_API_CEREMONY),
    "GET ceremonies:script-list": lists(P.CEREMONY_VIEW),
    "GET ceremonies:script-detail": lists(P.CEREMONY_VIEW),
    "GET ceremonies:script-upload": lists(P.CEREMONY_MANAGE),
    "POST ceremonies:script-upload": makes(P.CEREMONY_MANAGE, _SCRIPT, EVERYTHING),
    "GET ceremonies:join": PUBLIC,
    "POST ceremonies:join": PUBLIC,
    "GET api-ceremony-list": lists(P.CEREMONY_VIEW),
    "POST api-ceremony-list": Rule((P.CEREMONY_VIEW,), acts=(P.CEREMONY_MANAGE, HERE), body=_plan, hidden=422),
    "GET api-ceremony-detail": sees(P.CEREMONY_VIEW),
    "POST api-ceremony-people": acts(P.CEREMONY_MANAGE, _SEAT, **_API_CEREMONY),
    "POST api-ceremony-open": acts(P.CEREMONY_MANAGE, **_API_CEREMONY),
    "POST api-ceremony-call-off": acts(P.CEREMONY_MANAGE, REASON, **_API_CEREMONY),
    "DELETE api-ceremony-people-remove": acts(P.CEREMONY_MANAGE, **_API_CEREMONY),
    "POST api-ceremony-people-invite": acts(P.CEREMONY_MANAGE, **_API_CEREMONY),
    "POST api-ceremony-invite": acts(P.CEREMONY_MANAGE, **_API_CEREMONY),
    "POST api-ceremony-subject": acts(P.CEREMONY_MANAGE, {"values": {}}, **_API_CEREMONY),
    "POST api-ceremony-replan": acts(P.CEREMONY_MANAGE, **_API_CEREMONY),
    "GET api-ceremony-minutes": sees(P.CEREMONY_VIEW),
    "GET api-ceremony-calendar": sees(P.CEREMONY_VIEW),
    "GET api-ceremony-room": sees(P.CEREMONY_VIEW),
    "POST api-ceremony-room": sees(P.CEREMONY_VIEW, body={"act": "sign"}, decides="somebody with a seat"),
    "GET api-ceremony-script-list": lists(P.CEREMONY_VIEW),
    "GET api-ceremony-script-detail": lists(P.CEREMONY_VIEW),
    "POST api-ceremony-script-list": makes(P.CEREMONY_MANAGE, _SCRIPT, EVERYTHING),
    "GET api-share-list": lists(P.CEREMONY_VIEW),
    "GET api-share-detail": sees(P.CEREMONY_VIEW),
    "POST api-share-note": acts(P.CEREMONY_MANAGE, _CUSTODY, **_API_CEREMONY),
    "POST api-share-accept-risk": acts(P.CEREMONY_MANAGE, REASON, **_API_CEREMONY),
    "GET api-share-set-due": lists(P.CEREMONY_VIEW),
    "GET api-share-set-package": acts(P.CEREMONY_MANAGE, **_API_CEREMONY),
    "POST api-share-set-seal-custodians": Rule(
        (P.CEREMONY_VIEW,), acts=(P.CEREMONY_MANAGE, EVERYTHING), body=_SEAL_SHARE
    ),
    "GET api-share-set-list": lists(P.CEREMONY_VIEW),
    "GET api-share-set-detail": sees(P.CEREMONY_VIEW),
}
