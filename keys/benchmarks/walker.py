"""A re-encryption worker without a broker: reads ids of jobs, walks each until it is over, answers with its memory and
when it began to count.

Run by the benchmark as processes of their own, so that starting Python is not part of what is measured.
"""

import gc
import sys
import time
from pathlib import Path
from typing import Any
from uuid import UUID

import django

LIVE = ("pending", "running")


def peak_memory() -> float:
    """The most memory that this program ever held, in MiB: getrusage would count what its parent held at the fork."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def main() -> None:
    """Answer `ready`, then one line for every line: the peak of this process's memory in MiB, and on the machine's
    monotonic clock when all rows had moved and were durable, 0 where another worker saw the end.
    """
    django.setup()
    from keys.models import ReEncryptionJob, ReEncryptionRange
    from keys.services import census, reencryption

    moved = [0.0]
    count = census.standing

    def standing(*arguments: Any, **more: Any) -> census.Standing:
        moved.append(time.perf_counter())
        return count(*arguments, **more)

    census.standing = standing  # a probe: the count begins when the walk is over
    gc.freeze()  # as in every worker
    print("ready", flush=True)  # noqa: T201  the answer on the pipe
    for line in sys.stdin:
        job_id = UUID(line.strip())
        del moved[1:]
        live = ReEncryptionJob.objects.filter(pk=job_id, state__in=LIVE)
        free = ReEncryptionRange.objects.filter(job_id=job_id, done=False, lease_until=None)
        while live.exists():
            if not reencryption.work(job_id, 60):
                while live.exists() and not free.exists():
                    time.sleep(0.01)  # another worker ends the last range: the task of this one would be over
        print(f"{peak_memory():.1f} {moved[-1]}", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
