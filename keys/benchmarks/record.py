"""The audit record's own benchmarks, each over a record that is thrown away afterwards."""

from keys.benchmarks import Tell
from keys.benchmarks.scratch import scratch
from keyvault_portal.audit import benchmarks
from keyvault_portal.measure import Measurement


def append(size: int, rounds: int, tell: Tell) -> list[Measurement]:
    """Durable appends of `size` events by 64 producers beside a SELECT FOR UPDATE chain."""
    with scratch(tell):
        tell(f"appending {size:,} events")
        return benchmarks.bench_append(size, rounds)


def verify(size: int, rounds: int, tell: Tell) -> list[Measurement]:
    """Verification of `size` events beside SQL's sha256()."""
    with scratch(tell):
        tell(f"recording and verifying {size:,} events")
        return benchmarks.bench_verify(size, rounds)


def export(size: int, rounds: int, tell: Tell) -> list[Measurement]:
    """Export of `size` events beside a cursor with json.dumps."""
    with scratch(tell):
        tell(f"recording and exporting {size:,} events")
        return benchmarks.bench_export(size, rounds)
