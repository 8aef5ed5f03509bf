"""Fake vaults of the wanted kinds, each with a provider in front of it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from keys.providers.azure_kv import AzureKeyVaultProvider
from keys.providers.base import KeyHandle
from tests.providers.fakes.azure import CLIENT, TENANT, FakeVault, serving
from tests.providers.test_contract import handle_of

type Build = Callable[..., tuple[FakeVault, AzureKeyVaultProvider]]
EC = "ECDSA-P256-SHA256"


@contextmanager
def vaults(folder: Path) -> Iterator[Build]:
    """Yields what makes them; keyword arguments change the provider's settings."""
    with ExitStack() as stack:

        def make(*, purge_protected: bool = False, **changed: object) -> tuple[FakeVault, AzureKeyVaultProvider]:
            fake = FakeVault(managed_hsm=changed.get("managed_hsm") == "yes", purge_protected=purge_protected)
            address, ca_file = stack.enter_context(serving(fake, folder))
            usual: dict[str, object] = {
                "vault_url": address, "credential": "client_secret", "tenant_id": TENANT, "client_id": CLIENT,
                "client_secret": fake.client_secret, "hosts": ("127.0.0.1",), "ca_file": str(ca_file),
                "authority": address, "verify_challenge": False, "timeout": 60,
            }  # fmt: skip
            return fake, AzureKeyVaultProvider("azure", **{**usual, **changed})  # type: ignore[arg-type]

        yield make


def new(azure: AzureKeyVaultProvider, algorithm: str) -> KeyHandle:
    return handle_of(algorithm, azure.generate(algorithm))
