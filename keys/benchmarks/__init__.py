"""What `./manage.py benchmark` can measure. Every job runs its raw limit and its peers in the same run, interleaved."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from keyvault_portal.measure import Measurement

type Tell = Callable[[str], None]  # what the job does now, for the person who waits
type Run = Callable[[int, int, Tell], list[Measurement]]  # size, rounds


@dataclass(frozen=True, slots=True)
class Job:
    """A benchmark by name; its module is imported only when it runs, because peers are heavy."""

    title: str
    size: int  # default; `of` says of what
    of: str
    module: str
    function: str = "run"

    def run(self, size: int | None, rounds: int, tell: Tell) -> list[Measurement]:
        function: Run = getattr(import_module(self.module), self.function)
        return function(size or self.size, rounds, tell)


JOBS = {
    "envelope": Job("Envelope library, in process", 20_000, "messages of 1 KiB", "keys.benchmarks.envelope"),
    "data-plane": Job("Data plane over HTTP", 300, "batches of 100", "keys.benchmarks.dataplane"),
    "lists": Job("Lists at any depth", 100_000, "keys", "keys.benchmarks.lists"),
    "re-encryption": Job("Re-encryption of a table", 200_000, "rows of 1 KiB", "keys.benchmarks.reencryption"),
    "provider-budget": Job(
        "Budget of provider calls",
        50_000,
        "rows of 1 KiB",
        "keys.benchmarks.reencryption",
        "provider_budget",
    ),
    "providers": Job("Calls to key providers", 300, "messages of 1 KiB", "keys.benchmarks.places"),
    "audit-append": Job("Audit: append", 20_000, "events", "keys.benchmarks.record", "append"),
    "audit-verify": Job("Audit: verify", 1_000_000, "events", "keys.benchmarks.record", "verify"),
    "audit-export": Job("Audit: export", 1_000_000, "events", "keys.benchmarks.record", "export"),
}


def missing(name: str, package: str, reason: str = "") -> Measurement:
    """The line that stands for a peer that cannot be measured here."""
    return Measurement(name, None, "", note=f"not installed: {package}" + (f" ({reason})" if reason else ""))
