"""Where the registry finds what is registered: the table of providers, their secrets opened only to build an instance."""

from collections.abc import Mapping

import orjson

from keys.models import KeyProvider
from keys.providers.registry import Configuration
from keys.services import sealing


class Registered:
    """A `keys.providers.registry.Source` over the table of providers."""

    def aliases(self) -> list[str]:
        return list(KeyProvider.objects.filter(state=KeyProvider.State.ENABLED).values_list("alias", flat=True))

    def configuration(self, alias: str) -> Configuration | None:
        row = KeyProvider.objects.select_related("sealed_settings").filter(alias=alias).first()
        if row is None:
            return None
        enabled = row.state == KeyProvider.State.ENABLED
        return Configuration(row.kind, (row.pk, row.revision), enabled, lambda: settings_of(row))


def settings_of(row: KeyProvider) -> Mapping[str, object]:
    """Every setting of a provider, the sealed ones opened; raises DecryptRefused, WrongState for their key, Sealed."""
    if row.sealed_settings is None:
        return dict(row.settings)
    return {**row.settings, **orjson.loads(sealing.open_value(row.sealed_settings).reveal())}
