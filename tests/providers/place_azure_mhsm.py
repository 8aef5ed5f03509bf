"""Azure Managed HSM, played by the same fake as the vault: it has symmetric keys, and only keys in hardware."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.providers import place_azure_kv
from tests.providers.place import Place


@contextmanager
def running() -> Iterator[Place]:
    with place_azure_kv.running("azure_mhsm", managed_hsm=True) as place:
        yield place
