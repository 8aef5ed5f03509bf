"""Keeping this process's memory to itself: no core dumps, no tracing by its own user, nothing swapped out."""

import ctypes
import resource

PR_SET_DUMPABLE = 4  # prctl(2)
MCL_CURRENT, MCL_FUTURE = 1, 2  # mlockall(2)


def protect() -> list[str]:
    """Do all three; returns a sentence for each that the system refused (mlockall needs RLIMIT_MEMLOCK or CAP_IPC_LOCK)."""
    refused = []
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        refused.append("The process can be dumped and traced: prctl(PR_SET_DUMPABLE) was refused.")
    if library.mlockall(MCL_CURRENT | MCL_FUTURE) != 0:
        refused.append("Memory may be swapped out: raise the limit of locked memory (LimitMEMLOCK=infinity).")
    return refused
