"""The acts on the portal's own seal that other officers must agree to: one more way to open it, and one less."""

from typing import Any
from uuid import UUID

from keys.models import Key, RootSeal
from keys.services import provider_seals, seals
from keys.states import SealStanding
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.approvals.registry import Act, operation
from keyvault_portal.approvals.services import POLICY_VERSION
from keyvault_portal.errors import NotFound


@operation(
    seals.REGISTER_PROVIDER, permission=Permission.SETTINGS_MANAGE, title="Seal the portal under a provider's key"
)
class RegisterProviderSeal:
    """Params: name, key_id, reason."""

    def build_act(self, params: dict[str, Any]) -> Act:
        key = _key(params)
        provider_seals.refuse_unsuitable(key)
        number = key.current.key_version if key.current else 0
        consequences = [
            f"Whoever may use {key} at {key.provider} can open this portal on every machine, without any custodian.",
            "The root follows every rotation of that key by itself.",
            _ways(),
        ]
        return _act(seals.REGISTER_PROVIDER, params, f"{key.pk} {number} {key.provider}", consequences)

    def perform(self, actor: Actor, params: dict[str, Any], request_id: UUID) -> dict[str, Any]:
        seal = seals.register_provider(
            actor=actor, name=params["name"], key=_key(params), reason=params["reason"], approval_id=request_id
        )
        return {"seal": str(seal.pk), "url": "/keys/seals/"}


@operation(seals.REGISTER_SHARES, permission=Permission.SETTINGS_MANAGE, title="Seal the portal for custodians")
class RegisterShares:
    """Params: name, threshold, count, reason."""

    def build_act(self, params: dict[str, Any]) -> Act:
        seals.refuse_second_set()
        consequences = [
            f"Any {params['threshold']} of {params['count']} shares open this portal, on the machine where they are given.",
            "Whoever asked makes the shares after agreement and sees all of them, once.",
            _ways(),
        ]
        return _act(seals.REGISTER_SHARES, params, "no shares", consequences)

    def perform(self, actor: Actor, params: dict[str, Any], request_id: UUID) -> dict[str, Any]:
        seal = seals.register_shares(actor=actor, **params, approval_id=request_id)
        return {"seal": str(seal.pk), "url": "/keys/seals/"}


@operation(seals.RETIRE, permission=Permission.SETTINGS_MANAGE, title="Retire a seal of the portal")
class RetireSeal:
    """Params: seal_id, reason."""

    def build_act(self, params: dict[str, Any]) -> Act:
        seal = seals.refuse_last(UUID(params["seal_id"]))
        left = seals.ways_in_use() - (seal.state == SealStanding.IN_USE.value)
        return _act(seals.RETIRE, params, f"{seal.kind} {seal.provider}".strip(), seals.when_retired(seal, left), seal)

    def perform(self, actor: Actor, params: dict[str, Any], request_id: UUID) -> dict[str, Any]:
        seal = seals.retire_seal(
            actor=actor, seal_id=UUID(params["seal_id"]), reason=params["reason"], approval_id=request_id
        )
        return {"seal": str(seal.pk), "url": "/keys/seals/"}


def _act(name: str, params: dict[str, Any], version: str, consequences: list[str], seal: RootSeal | None = None) -> Act:
    return Act(
        operation=name, params=params, target_type="seal", target_id=str(seal.pk) if seal else "",
        target_label=seal.name if seal else params["name"], target_version=version,
        ring_id=None, policy_version=POLICY_VERSION, consequences=consequences,
    )  # fmt: skip


def _ways() -> str:
    number = seals.ways_in_use()
    return f"{number} other way{'' if number == 1 else 's'} open{'s' if number == 1 else ''} the portal today."


def _key(params: dict[str, Any]) -> Key:
    key = Key.objects.select_related("ring", "current").filter(pk=params["key_id"]).first()
    if key is None:
        raise NotFound("There is no such key.")
    return key
