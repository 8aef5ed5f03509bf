"""Google Cloud KMS, played by a contract fake on loopback; Google's own client drives it."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from cryptography.hazmat.primitives.asymmetric import rsa

from keys.providers.gcp_kms import GcpKmsProvider
from tests.ports import reserved_port
from tests.providers.fakes.gcp import FakeCloudKms, serving
from tests.providers.fakes.listening import silent_port
from tests.providers.place import Place

RING = {"project": "shop", "location": "europe-west6", "key_ring": "portal"}


@contextmanager
def running() -> Iterator[Place]:
    fake = FakeCloudKms()
    impostor = fake.account(rsa.generate_private_key(public_exponent=65537, key_size=2048))
    with ExitStack() as stack:
        address = stack.enter_context(serving(fake))

        def make(**changed: object) -> GcpKmsProvider:
            usual = {**RING, "endpoint": address, "credentials": fake.account(), "hosts": ("127.0.0.1",), "timeout": 60}
            return GcpKmsProvider("gcp", **{**usual, **changed})  # type: ignore[arg-type]

        def slow() -> dict[str, object]:
            return {"endpoint": f"http://127.0.0.1:{stack.enter_context(silent_port())}"}

        yield Place(
            "gcp_kms",
            make(),
            make,
            bad_credentials={"credentials": impostor},
            dead_address={"endpoint": f"http://127.0.0.1:{reserved_port()}"},
            slow_address=slow,
            delete_behind_our_back=partial(_forget, fake),
            change_metadata=partial(change_metadata, fake),
            secrets=[impostor, impostor[200:260]],
        )


def _forget(fake: FakeCloudKms, opaque: str) -> None:
    del fake.keys[opaque.partition("/cryptoKeyVersions/")[0]]


def change_metadata(fake: FakeCloudKms, opaque: str) -> None:
    """A stranger may decrypt, a label more, and the portal's mark is gone."""
    key = fake.keys[opaque.partition("/cryptoKeyVersions/")[0]]
    key.bindings = [
        *key.bindings,
        {"role": "roles/cloudkms.cryptoKeyDecrypter", "members": ["user:stranger@example.org"]},
    ]
    key.body["labels"] = {"team": "web-shop"}
