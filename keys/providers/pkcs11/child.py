"""The process that holds the HSM's library, so that a crash of the library takes nobody else with it.

Started as `python -m keys.providers.pkcs11.child FD`. FD is a Unix socket: over it come the settings with the PIN, in
one frame, and afterwards the ends of channels; each channel gets a thread and a session of its own. The parent's end
of the socket closed means that nobody is left to work for.
"""

import os
import resource
import socket
import sys
import threading
import time
from contextlib import suppress
from multiprocessing.connection import Connection

from keys.providers.pkcs11 import wire
from keys.providers.pkcs11.returns import named
from keys.providers.pkcs11.token import Session, Token

LAST_ANSWERS = 30  # seconds that calls under way are given when the parent has turned to another child
OPERATIONS = frozenset(
    {"check", "algorithms", "generate", "destroy", "begin_import", "finish_import", "end_import", "offer_import", "take_import", "encrypt", "decrypt",
     "decrypt_oaep", "sign", "wrap", "unwrap", "export", "set_usable", "describe", "metadata", "restore_metadata", "begin_list", "more"}
)  # fmt: skip


def main() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash leaves no PIN on the disk
    control = socket.socket(fileno=int(sys.argv[1]))
    first = Connection(os.dup(control.fileno()))
    try:
        token = Token(**wire.loads(first.recv_bytes()))
    except Exception as error:
        first.send_bytes(wire.dumps(_refusal(named(error))))
        return
    first.send_bytes(wire.dumps({"ok": True}))
    threads: list[threading.Thread] = []
    while descriptors := socket.recv_fds(control, 1, 1)[1]:
        thread = threading.Thread(target=_serve, args=(token, Connection(descriptors[0])), daemon=True)
        thread.start()
        threads = [*(running for running in threads if running.is_alive()), thread]
    deadline = time.monotonic() + LAST_ANSWERS
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    os._exit(0)  # C_Finalize while a call hangs is undefined; the kernel closes everything


def _serve(token: Token, channel: Connection) -> None:
    session: Session | None = None
    with suppress(EOFError, OSError), channel:
        while True:
            name, arguments = wire.loads(channel.recv_bytes())
            try:
                if name not in OPERATIONS:
                    raise wire.Refused(wire.FAULT, "unknown operation")
                session = session or token.session()
                answer = {"ok": getattr(session, name)(*arguments)}
            except Exception as error:
                answer = _refusal(named(error), token)
            channel.send_bytes(wire.dumps(answer))
    if session is not None:
        with suppress(Exception):
            session.close()


def _refusal(refused: wire.Refused, token: Token | None = None) -> dict[str, str]:
    if token is not None and refused.code == wire.MISSING:
        try:
            token.require_present()
        except wire.Refused as gone:
            refused = gone
    return {"refused": refused.code, "detail": refused.detail}


if __name__ == "__main__":
    main()
