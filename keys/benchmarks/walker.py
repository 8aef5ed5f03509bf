"""A re-encryption worker without a broker: reads ids of jobs, walks each until it is over, answers with its memory.

Run by the benchmark as processes of their own, so that starting Python is not part of what is measured.
"""

import resource
import sys
import time
from uuid import UUID

import django

LIVE = ("pending", "running")


def main() -> None:
    """Answer `ready`, then one line for every line: the peak of this process's memory in MiB."""
    django.setup()
    from keys.models import ReEncryptionJob
    from keys.services import reencryption

    print("ready", flush=True)  # noqa: T201  the answer on the pipe
    for line in sys.stdin:
        job_id = UUID(line.strip())
        while ReEncryptionJob.objects.filter(pk=job_id, state__in=LIVE).exists():
            if not reencryption.work(job_id, 60):
                time.sleep(0.005)  # another worker ends the last range
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{peak:.1f}", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
