"""Both servers together: start what is down, stop what this object started."""

import shutil
from collections.abc import Callable
from pathlib import Path

from keyvault_portal.embedded.config import EmbeddedError, ensure_config, ensure_further_database
from keyvault_portal.embedded.postgresql import PostgreSQL
from keyvault_portal.embedded.valkey import Valkey

NEEDED = 300 * 2**20  # bytes free before anything is started


class Services:
    """Starts both servers and stops exactly what it started.

    `durable=False` is for tests. `started(name, pid)` is told of each process at once, so that it can be written down.
    """

    def __init__(self, root: Path, *, durable: bool = True, started: Callable[[str, int], None] | None = None) -> None:
        self.root = root
        self.config = ensure_config(root)
        self.postgresql = PostgreSQL(root, self.config, durable=durable, started=started)
        self.valkey = Valkey(root, self.config, started=started)

    def start(self) -> None:
        """Bring both servers up; raises EmbeddedError with the reason in one sentence."""
        if shutil.disk_usage(self.root).free < NEEDED:
            raise EmbeddedError(
                f"The disk is nearly full: fewer than 300 MB are free for {self.root}; free some space and start again."
            )
        try:
            self.valkey.start()
            self.postgresql.start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop what this object started."""
        self.valkey.stop()
        self.postgresql.stop()

    def ensure_database(self, name: str, owner: str) -> str:
        """The address of a further database, made with a role of its own unless it exists; PostgreSQL must be up."""
        config = ensure_further_database(self.root, name)
        self.postgresql.ensure_database(name, owner, config.databases[name])
        return config.further_url(name, owner)
