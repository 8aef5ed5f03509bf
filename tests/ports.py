"""Ports of the loopback address that are ours: whoever asks the kernel for any port meanwhile gets another one."""

import socket

_KEPT: list[socket.socket] = []


def reserved_port() -> int:
    """A port for a server that is told where to listen, as long as this process lives; until it listens, connections are refused.

    A port that was only found free may be gone when the server comes to it: another process listens on it, or a connection
    goes out from it. This one stays bound without listening, which keeps it from both. A server with SO_REUSEADDR gets it
    all the same, as often as it starts (socket(7): the port may be shared unless one of the two listens).
    """
    kept = socket.socket()
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    kept.bind(("127.0.0.1", 0))
    _KEPT.append(kept)
    return int(kept.getsockname()[1])
