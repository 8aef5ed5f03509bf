"""The stand-in of tests/provider_services with its keys in a file, so that they outlive the process that made them."""

import base64
import json
import os
import signal
import sys
from pathlib import Path
from typing import ClassVar
from uuid import UUID

from keys.crypto.secret import SecretBytes
from keys.providers import registry
from keys.providers.base import GeneratedKey, RemoteState, Setting
from tests.provider_services.stand_in import PLACES, Counterpart, Held, StandIn

PATH = "tests.faults.disk_provider.DiskStandIn"


class DiskStandIn(StandIn):
    """`place` is the file; with DIE_AFTER_MAKING in the environment the process is killed once a key is in it."""

    settings: ClassVar[tuple[Setting, ...]] = (Setting("place", "File"),)

    def __init__(self, alias: str, place: str, timeout: float = 5.0) -> None:
        self.file = Path(place)
        PLACES[place] = Counterpart()
        super().__init__(alias, place, timeout=timeout)
        for opaque, row in (json.loads(self.file.read_text()) if self.file.exists() else {}).items():
            material = SecretBytes(base64.b64decode(row["material"]))
            self.there.keys[opaque] = Held(row["algorithm"], material, None, row["tag"], RemoteState(row["state"]))

    def _keep(self, held: Held) -> GeneratedKey:
        made = super()._keep(held)
        rows = {
            opaque: {
                "algorithm": one.algorithm, "material": base64.b64encode(one.material.reveal()).decode(), "tag": one.tag, "state": one.state,
            }
            for opaque, one in self.there.keys.items()
        }  # fmt: skip
        self.file.write_text(json.dumps(rows))
        if "DIE_AFTER_MAKING" in os.environ:
            os.kill(os.getpid(), signal.SIGKILL)
        return made


def main(intent_id: str) -> None:
    """Do one intent, as a worker would."""
    import django

    django.setup()
    from keys.services.providers import work

    registry.KINDS["disk"] = registry.Kind("Disk", PATH)
    work.perform(UUID(intent_id))


if __name__ == "__main__":
    main(sys.argv[1])
