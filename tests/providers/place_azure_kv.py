"""Azure Key Vault of the standard tier, played by a contract fake over HTTPS; Microsoft's own client drives it."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from keys.providers.azure_kv import AzureKeyVaultProvider
from tests.ports import reserved_port
from tests.providers.fakes.azure import CLIENT, TENANT, FakeVault, serving
from tests.providers.fakes.listening import silent_port
from tests.providers.place import Place


@contextmanager
def running(kind: str = "azure_kv", *, managed_hsm: bool = False) -> Iterator[Place]:
    fake = FakeVault(managed_hsm=managed_hsm)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="keyvault-test-azure-")))
        address, ca_file = stack.enter_context(serving(fake, folder))
        usual: dict[str, object] = {
            "vault_url": address, "managed_hsm": "yes" if managed_hsm else "no", "credential": "client_secret",
            "tenant_id": TENANT, "client_id": CLIENT, "client_secret": fake.client_secret,
            "hosts": ("127.0.0.1",), "ca_file": str(ca_file), "authority": address, "verify_challenge": False, "timeout": 60,
        }  # fmt: skip

        def make(**changed: object) -> AzureKeyVaultProvider:
            return AzureKeyVaultProvider("azure", **{**usual, **changed})  # type: ignore[arg-type]

        def slow() -> dict[str, object]:
            return {"vault_url": f"https://127.0.0.1:{stack.enter_context(silent_port())}"}

        yield Place(
            kind,
            make(),
            make,
            bad_credentials={"client_secret": "a-secret-that-was-revoked"},
            dead_address={"vault_url": f"https://127.0.0.1:{reserved_port()}"},
            slow_address=slow,
            delete_behind_our_back=partial(_forget, fake),
            change_metadata=partial(change_metadata, fake),
            secrets=[fake.client_secret, "a-secret-that-was-revoked"],
        )


def _forget(fake: FakeVault, opaque: str) -> None:
    del fake.keys[opaque.split("/")[-2]]


def change_metadata(fake: FakeVault, opaque: str) -> None:
    """One more operation allowed, a tag more, and the portal's mark is gone."""
    name, version = opaque.split("/")[-2:]
    found = fake.keys[name][version]
    found.operations, found.tags = [*found.operations, "import"], {"managed-by": "keyvault-portal", "team": "web shop"}
