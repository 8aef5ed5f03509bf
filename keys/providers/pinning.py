"""HTTP connections that go to the very address the host rule has checked, whatever the name means a moment later."""

from typing import Any

from urllib3 import PoolManager

from keys.hosts import HostRule


def pin(manager: PoolManager, rule: HostRule) -> None:
    """Make every new connection of the manager resolve its host through the rule; TLS still checks the name."""
    pools: dict[str, Any] = manager.pool_classes_by_scheme
    manager.pool_classes_by_scheme = {
        scheme: type(pool.__name__, (pool,), {"ConnectionCls": _pinned(pool.ConnectionCls, rule)})
        for scheme, pool in pools.items()
    }


def _pinned(connection: Any, rule: HostRule) -> Any:
    class Pinned(connection):  # type: ignore[misc]
        def _new_conn(self) -> Any:
            name: str = self._dns_host  # type: ignore[has-type]
            self._dns_host = rule.resolve(name, self.port)
            try:
                return super()._new_conn()
            finally:
                self._dns_host = name

    return Pinned
