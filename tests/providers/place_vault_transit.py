"""A real OpenBao server in dev mode, with a token that may do what the guide names and nothing else."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from keys.hosts import HostRule
from keys.providers.vault_transit import VaultTransitProvider
from tests.providers import bao
from tests.providers.place import Place, guide_block
from tests.providers.troubled import answering

LOOPBACK = HostRule(("127.0.0.0/8",))
POLICY = guide_block("hcl")


@contextmanager
def running() -> Iterator[Place]:
    with (
        tempfile.TemporaryDirectory(prefix="bao-") as folder,
        bao.dev_server(Path(folder)) as address,
        answering(silent=True) as silent,
    ):
        bao.call(address, "put", "sys/policies/acl/portal", {"policy": POLICY})
        token = bao.call(address, "post", "auth/token/create", {"policies": ["portal"], "ttl": "1h"})["auth"][
            "client_token"
        ]
        defaults: dict[str, Any] = {"address": address, "token": token, "rule": LOOPBACK, "timeout": 60}

        def make(**changed: Any) -> VaultTransitProvider:
            return VaultTransitProvider("vault_transit", **{**defaults, **changed})

        def delete(opaque: str) -> None:
            name = opaque.rpartition(":v")[0]
            bao.call(address, "post", f"transit/keys/{name}/config", {"deletion_allowed": True})
            bao.call(address, "delete", f"transit/keys/{name}")

        def change(opaque: str) -> None:
            config = {"deletion_allowed": True, "min_encryption_version": 1}
            bao.call(address, "post", f"transit/keys/{opaque.rpartition(':v')[0]}/config", config)

        yield Place(
            kind="vault_transit",
            provider=make(),
            make=make,
            bad_credentials={"token": "s.wrong-and-secret-all-the-same"},
            dead_address={"address": "http://127.0.0.1:1"},
            slow_address=partial(dict, address=silent.address),
            delete_behind_our_back=delete,
            change_metadata=change,
            secrets=[token],
        )
