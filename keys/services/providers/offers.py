"""A provider's own wrapping key, asked for before there is a version, kept as plain data, and given back if nobody uses it."""

from base64 import b64decode, b64encode
from datetime import datetime
from typing import Any
from uuid import uuid4

from keys.providers import registry
from keys.providers.base import DirectImporter, ImportOffer, KeyHandle, OperationUnsupported
from keys.services.providers.calls import call


def ask(alias: str, algorithm: str) -> tuple[ImportOffer, dict[str, Any]]:
    """An offer and its plain form, in which `intent` is the tag it was asked under: the later intent's id.

    Called outside any transaction. Raises OperationUnsupported, ProviderUnavailable and its kinds.
    """
    keeper = registry.provider(alias)
    if not isinstance(keeper, DirectImporter):
        raise OperationUnsupported(
            f"The provider {alias} hands out no wrapping key.", hint="Choose another way: a worker then wraps for it."
        )
    tag = str(uuid4())
    found = call(alias, "offer_import", lambda: keeper.offer_import(algorithm, tag=tag))
    plain = {
        "method": str(found.method), "opaque": found.opaque, "token": b64encode(found.token).decode(), "intent": tag,
        "public_key": b64encode(found.public_key).decode(),
        "expires_at": found.expires_at.isoformat() if found.expires_at else "",
    }  # fmt: skip
    return found, plain


def read(plain: dict[str, Any]) -> ImportOffer:
    """The offer as its provider gave it."""
    over = datetime.fromisoformat(plain["expires_at"]) if plain["expires_at"] else None
    return ImportOffer(
        b64decode(plain["public_key"]), plain["method"], plain["opaque"], b64decode(plain["token"]), over
    )


def give_back(alias: str, algorithm: str, plain: dict[str, Any]) -> None:
    """Let the provider destroy the key that waits for nothing any more; raises as its lifecycle does."""
    from keys.services.providers.effects import reap

    if plain.get("opaque"):
        keeper = registry.provider(alias)
        call(alias, "reap", lambda: reap(keeper, KeyHandle(algorithm, plain["opaque"])))
