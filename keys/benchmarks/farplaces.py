"""Places whose counterparts play only in the tests' tree: contract fakes, driven by the vendors' own libraries, and pykmip-server.

What runs inside a fake is Python, so its calls a second say nothing of the service; the share of the library's speed,
measured against the same fake, says what the portal adds.
"""

import importlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from os import urandom
from pathlib import Path
from typing import Any

from keys.benchmarks import missing
from keys.benchmarks.pairs import AAD, Pair, bound_cipher, new_handle
from keyvault_portal.measure import Measurement

SIGNATURE = "ECDSA-P256-SHA256"
FAKE, SERVER = "contract fake", "pykmip-server"


type Place = Callable[[Path], AbstractContextManager[Pair | Measurement]]


def _place(name: str, title: str, package: str) -> Callable[[Callable[[str, Any, ExitStack], Pair]], Place]:
    """A place of the tests while it runs, or the line that says what is missing here."""

    def of(pair: Callable[[str, Any, ExitStack], Pair]) -> Place:
        @contextmanager
        def opened(folder: Path) -> Iterator[Pair | Measurement]:
            try:
                module = importlib.import_module(f"tests.providers.place_{name}")
            except ImportError as error:
                needs = (
                    package if (error.name or "").startswith("tests") else f"{error.name} of tests/requirements.lock"
                )
                yield missing(title, needs, "a checkout with its tests has it")
                return
            with module.running() as there, ExitStack() as stack:
                yield pair(title, there, stack)

        return opened

    return of


@_place("gcp_kms", f"Google Cloud KMS ({FAKE})", "the tests' fake of Cloud KMS")
def gcp(title: str, there: Any, stack: ExitStack) -> Pair:
    """Cloud KMS, encryption."""
    handle = new_handle(there.provider)
    client = there.provider._connection._opened()  # Google's own, without the portal around it
    request = {"name": handle.opaque, "additional_authenticated_data": AAD}

    def raw(message: bytes) -> object:
        return client.encrypt(request=request | {"plaintext": message}, retry=None)

    return Pair(title, bound_cipher(there.provider, handle), raw)


@_place("azure_kv", f"Azure Key Vault, signing ({FAKE})", "the tests' fake of a vault")
def azure_vault(title: str, there: Any, stack: ExitStack) -> Pair:
    """A standard vault, signing: it has no symmetric keys."""
    from azure.keyvault.keys.crypto import SignatureAlgorithm

    handle = new_handle(there.provider, SIGNATURE)
    client, digest = _azure_client(there, handle.opaque), urandom(32)
    return Pair(title, there.provider.signer(handle).sign, lambda _: client.sign(SignatureAlgorithm.es256, digest))


@_place("azure_mhsm", f"Azure Managed HSM ({FAKE})", "the tests' fake of a vault")
def azure_hsm(title: str, there: Any, stack: ExitStack) -> Pair:
    """A Managed HSM, encryption."""
    from azure.keyvault.keys.crypto import EncryptionAlgorithm

    handle = new_handle(there.provider)
    client = _azure_client(there, handle.opaque)

    def raw(message: bytes) -> object:
        return client.encrypt(EncryptionAlgorithm.a256_gcm, message, additional_authenticated_data=AAD)

    return Pair(title, bound_cipher(there.provider, handle), raw)


def _azure_client(there: Any, opaque: str) -> Any:
    """Microsoft's own client of one key version."""
    name, version = there.provider._connection.named(opaque)
    return there.provider._connection.crypto(name, version)


@_place("kmip", f"KMIP ({SERVER})", "the tests' pykmip-server")
def kmip(title: str, there: Any, stack: ExitStack) -> Pair:
    """KMIP 1.4 over TLS with certificates on both sides, on one open connection."""
    from keys.providers.kmip import messages

    handle = new_handle(there.provider)
    client = stack.enter_context(there.make()._server.one())

    def raw(message: bytes) -> object:
        return messages.encrypt(client, handle.opaque, message, urandom(12), AAD)

    return Pair(title, bound_cipher(there.provider, handle), raw)


PLACES: tuple[Place, ...] = (gcp, azure_vault, azure_hsm, kmip)
