"""Places whose counterparts play only in the tests' tree: contract fakes, driven by the vendors' own libraries, and pykmip-server.

What runs inside a fake is Python, so its calls a second say nothing of the service; the share of the library's speed,
measured against the same fake, says what the portal adds.
"""

import importlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from os import urandom
from pathlib import Path
from typing import Any

from keys.benchmarks import missing
from keys.benchmarks.pairs import AAD, Pair, bound_cipher, new_handle
from keyvault_portal.measure import Measurement

SIGNATURE = "ECDSA-P256-SHA256"
FAKE, SERVER = "contract fake", "pykmip-server"


@contextmanager
def _running(place: str, title: str, package: str) -> Iterator[Any]:
    """The place of the tests, or the line that says what is missing here."""
    try:
        module = importlib.import_module(f"tests.providers.place_{place}")
    except ImportError as error:
        needs = package if (error.name or "").startswith("tests") else f"{error.name} of tests/requirements.lock"
        yield missing(title, needs, "a checkout with its tests has it")
        return
    with module.running() as there:
        yield there


@contextmanager
def gcp(folder: Path) -> Iterator[Pair | Measurement]:
    """Cloud KMS, encryption."""
    title = f"Google Cloud KMS ({FAKE})"
    with _running("gcp_kms", title, "the tests' fake of Cloud KMS") as there:
        if isinstance(there, Measurement):
            yield there
            return
        handle = new_handle(there.provider)
        client = there.provider._connection._opened()  # Google's own, without the portal around it
        request = {"name": handle.opaque, "additional_authenticated_data": AAD}

        def raw(message: bytes) -> object:
            return client.encrypt(request=request | {"plaintext": message}, retry=None)

        yield Pair(title, bound_cipher(there.provider, handle), raw)


@contextmanager
def azure_vault(folder: Path) -> Iterator[Pair | Measurement]:
    """A standard vault, signing: it has no symmetric keys."""
    from azure.keyvault.keys.crypto import SignatureAlgorithm

    title = f"Azure Key Vault, signing ({FAKE})"
    with _running("azure_kv", title, "the tests' fake of a vault") as there:
        if isinstance(there, Measurement):
            yield there
            return
        handle = new_handle(there.provider, SIGNATURE)
        client, digest = _azure_client(there, handle.opaque), urandom(32)
        yield Pair(title, there.provider.signer(handle).sign, lambda _: client.sign(SignatureAlgorithm.es256, digest))


@contextmanager
def azure_hsm(folder: Path) -> Iterator[Pair | Measurement]:
    """A Managed HSM, encryption."""
    from azure.keyvault.keys.crypto import EncryptionAlgorithm

    title = f"Azure Managed HSM ({FAKE})"
    with _running("azure_mhsm", title, "the tests' fake of a vault") as there:
        if isinstance(there, Measurement):
            yield there
            return
        handle = new_handle(there.provider)
        client = _azure_client(there, handle.opaque)

        def raw(message: bytes) -> object:
            return client.encrypt(EncryptionAlgorithm.a256_gcm, message, additional_authenticated_data=AAD)

        yield Pair(title, bound_cipher(there.provider, handle), raw)


def _azure_client(there: Any, opaque: str) -> Any:
    """Microsoft's own client of one key version."""
    name, version = there.provider._connection.named(opaque)
    return there.provider._connection.crypto(name, version)


@contextmanager
def kmip(folder: Path) -> Iterator[Pair | Measurement]:
    """KMIP 1.4 over TLS with certificates on both sides, on one open connection."""
    title = f"KMIP ({SERVER})"
    with _running("kmip", title, "the tests' pykmip-server") as there, ExitStack() as stack:
        if isinstance(there, Measurement):
            yield there
            return
        from keys.providers.kmip import messages

        handle = new_handle(there.provider)
        client = stack.enter_context(there.make()._server.one())

        def raw(message: bytes) -> object:
            return messages.encrypt(client, handle.opaque, message, urandom(12), AAD)

        yield Pair(title, bound_cipher(there.provider, handle), raw)


PLACES: tuple[Callable[[Path], Any], ...] = (gcp, azure_vault, azure_hsm, kmip)
