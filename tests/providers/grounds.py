"""Real places under whose keys the root is sealed, as both this process and a keyholder's reach them: no secret is typed in."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from keys.models import Key, KeyProvider
from keys.provider_tasks import provider_work
from keys.providers import registry
from keys.services.providers import registration
from tests.faults.proxy import Proxy
from tests.provider_services.conftest import intent_of
from tests.providers.place import Places

KINDS = ("vault_transit", "pkcs11", "aws_kms")


@dataclass
class Ground:
    """How one place is registered, what a process needs to reach it, and how it is taken away and given back."""

    kind: str
    values: dict[str, str]
    take_away: Callable[[], None]
    give_back: Callable[[], None]
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def alias(self) -> str:
        return self.kind.replace("_", "-")

    def register(self, organisation: Any) -> KeyProvider:
        return registration.register_provider(
            actor=organisation.actor("ada"), kind=self.kind, alias=self.alias, title=self.kind, values=self.values
        )

    def master(self, organisation: Any, name: str = "") -> Key:
        """A master key that lives there, made and in use."""
        key: Key = organisation.key(name or f"{self.alias}-root", "master", provider=self.alias)
        provider_work(str(intent_of(key).pk))
        key.refresh_from_db()
        assert key.current is not None, intent_of(key).last_error
        return key


@contextmanager
def standing(kind: str, places: Places, folder: Path, settings: Any, monkeypatch: Any) -> Iterator[Ground]:
    """One place of a kind in `KINDS`, for one test."""
    ground = {"vault_transit": _transit, "pkcs11": _token, "aws_kms": _aws}[kind](places, folder, settings)
    for name, value in ground.environment.items():
        monkeypatch.setenv(name, value)
    registry.forget()
    try:
        yield ground
    finally:
        ground.give_back()
        registry.forget()


def _proxied(address: str) -> tuple[Proxy, str]:
    parts = urlsplit(address)
    proxy = Proxy((str(parts.hostname), int(parts.port or 0)))
    return proxy, f"http://127.0.0.1:{proxy.port}"


def _switch(proxy: Proxy) -> tuple[Callable[[], None], Callable[[], None]]:
    cut = [False]

    def take_away() -> None:
        proxy.cut()
        cut[0] = True

    def give_back() -> None:
        if cut[0]:
            proxy.mend()
        cut[0] = False

    return take_away, give_back


def _transit(places: Places, folder: Path, settings: Any) -> Ground:
    place = places["vault_transit"]
    proxy, address = _proxied(place.provider._connection.address)  # type: ignore[attr-defined]
    token = folder / "token"
    token.write_text(place.secrets[0])
    return Ground("vault_transit", {"address": address, "token_file": str(token)}, *_switch(proxy))


def _aws(places: Places, folder: Path, settings: Any) -> Ground:
    connection = places["aws_kms"].provider._connection  # type: ignore[attr-defined]
    proxy, address = _proxied(connection.primary.endpoint)
    ambient = {
        "AWS_ACCESS_KEY_ID": connection.credentials["aws_access_key_id"],
        "AWS_SECRET_ACCESS_KEY": connection.credentials["aws_secret_access_key"],
    }
    return Ground("aws_kms", {"region": connection.primary.region, "endpoint": address}, *_switch(proxy), ambient)


def _token(places: Places, folder: Path, settings: Any) -> Ground:
    from tests.providers.place_pkcs11 import MODULE, TOKEN

    _ = places["pkcs11"]
    conf = Path(os.environ["SOFTHSM2_CONF"])
    tokens, elsewhere = conf.parent / "tokens", conf.parent / "drawer"
    settings.PKCS11_MODULES = [MODULE]
    values = {"module": MODULE, "token": TOKEN, "pin_source": f"file:{conf.parent / 'pin'}"}

    def take_away() -> None:
        tokens.rename(elsewhere)
        tokens.mkdir()

    def give_back() -> None:
        if elsewhere.exists():
            tokens.rmdir()
            elsewhere.rename(tokens)

    return Ground("pkcs11", values, take_away, give_back, {"PKCS11_MODULES": MODULE, "SOFTHSM2_CONF": str(conf)})
