"""The same pinning for `requests`; apart, so that who needs no `requests` does not load it."""

from typing import Any

from requests.adapters import HTTPAdapter

from keys.hosts import HostRule
from keys.providers.pinning import pin


class PinnedAdapter(HTTPAdapter):
    """Connects only where `rule` allows it, and to the very address that was checked."""

    def __init__(self, rule: HostRule, **options: Any) -> None:
        self._rule = rule
        super().__init__(**options)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        pin(self.poolmanager, self._rule)
