"""Providers by alias. Rows store the alias only: where the class lives is the program's business, not the data's."""

import threading

from django.conf import settings
from django.utils.module_loading import import_string

from keys.providers.base import Provider
from keyvault_portal.errors import ProviderUnavailable

BUILT_IN = {"local": {"class": "keys.providers.local.LocalProvider"}}

_instances: dict[str, Provider] = {}
_lock = threading.Lock()


def aliases() -> list[str]:
    """Every configured alias, sorted."""
    return sorted(_configured())


def _configured() -> dict[str, dict[str, object]]:
    return {**BUILT_IN, **getattr(settings, "KEY_PROVIDERS", {})}


def provider(alias: str) -> Provider:
    """The one instance behind `alias`; raises ProviderUnavailable for an alias that is not configured."""
    found = _instances.get(alias)
    if found is None:
        with _lock:
            found = _instances.get(alias) or _build(alias)
            _instances[alias] = found
    return found


def _build(alias: str) -> Provider:
    options = dict(_configured().get(alias, {}))
    path = options.pop("class", None)
    if path is None:
        raise ProviderUnavailable(
            f"No key provider is configured under the name {alias}.", hint="Add it to KEY_PROVIDERS."
        )
    built: Provider = import_string(str(path))(alias=alias, **options)
    return built


def forget() -> None:
    """Drop every instance, so that changed settings are read again."""
    with _lock:
        _instances.clear()
